"""Downstream HTTP/1: one client connection, its requests one after the other.

States: *waiting* (for a head; ends by the client closing, or by the idle timeout) -> *exchange* -> *waiting*, until
somebody says close. The poller's callbacks serve it, and there is no task, until something has to wait for the first time
(`exchange.on_client_bytes`): most connections never have one. The task then runs in one cancel scope: a deadline that fires
records why and cancels; what is to be said then is said from here, in a new scope.
"""

from __future__ import annotations

import math
from dataclasses import replace
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Protocol

import trio

from mesh.codec.events import ProtocolError
from mesh.model.addr import Address
from mesh.model.failure import Failure, Flag
from mesh.proxy.exchange import Decision, begin_request, decide, exchange, on_client_bytes
from mesh.proxy.failures import (
    DOWNSTREAM_GONE,
    HEADERS_TIMEOUT,
    REQUEST_OVERALL_TIMEOUT,
    REQUEST_TIMEOUT,
    STREAM_IDLE,
    DownstreamGone,
    reply_for,
)
from mesh.proxy.forwarding import Forwarding
from mesh.proxy.head import is_grpc
from mesh.proxy.observe.record import Connection, Record
from mesh.proxy.poller import READ, SMALL_READ, Channel, Parker
from mesh.proxy.reply import LocalReply, encode_reply
from mesh.proxy.seat import Seat

if TYPE_CHECKING:
    from mesh.proxy.pipeline import Proxy
    from mesh.proxy.snapshots import HttpTerminal

_LINGER_SECONDS = 2.0
_LINGER_BYTES = 16 << 20
_REPLY_SECONDS = 5.0


class Expired(Enum):
    """Which deadline ended the scope."""

    NONE = 0
    IDLE = 1
    TIMEOUT = 2
    OVERALL = 3


class Keeper(Protocol):
    """Whose connection it is: `connection.Accepted`."""

    def serve(self) -> None:
        """Run `Downstream.serve` in a task, and `end` after it."""
        ...

    def end(self) -> None:
        """Close the connection, and this with it."""
        ...


class Downstream(Seat):
    """One HTTP/1 client connection, and its task if it has one. Concurrency: that task, and callbacks of poller and deadlines."""

    __slots__ = ("_expired", "_keeper", "_scope")

    def __init__(
        self,
        proxy: Proxy,
        terminal: HttpTerminal,
        channel: Channel,
        parker: Parker,
        connection: Connection,
        destination: Address,
        keeper: Keeper,
        is_tls: bool = False,
    ) -> None:
        expiries = (Expired.IDLE, Expired.TIMEOUT, Expired.OVERALL)
        idle, timeout, overall = (partial(self._expire, expired) for expired in expiries)
        super().__init__(
            proxy, terminal, channel, parker, connection, destination, is_tls, (idle, timeout, overall)
        )
        self._keeper = keeper
        self._expired = Expired.NONE
        self._scope: trio.CancelScope | None = None

    def begin(self, first: bytes) -> None:
        """Serve by callbacks from here on. Args: first: bytes already read."""
        self.proxy.downstreams.add(self)
        self.channel.on_idle = partial(on_client_bytes, self)
        begin_request(self, first)

    async def serve(self) -> None:
        """Go on in a task, until the connection is over. Closes: nothing; the caller does."""
        while True:
            with trio.CancelScope() as scope:
                self._scope = scope
                if self._expired is not Expired.NONE:
                    scope.cancel()  # a deadline was faster than this task
                await self._serve()
                return
            if not await self._after_expiry():
                return

    def close(self) -> None:
        """Give back what an exchange holds, and forget the connection, which its owner closes."""
        self.proxy.downstreams.discard(self)
        self._abandon()
        self.idle.close()
        self.timeout.close()
        self.overall.close()

    def start_task(self) -> None:
        self._keeper.serve()

    def hang_up(self) -> None:
        self._keeper.end()

    def close_if_idle(self) -> None:
        """End the connection unless a request is going on, and after it if one is."""
        self.must_close = True
        if self.record is None and self.parser.is_idle:
            self._expire(Expired.IDLE)

    async def conclude(self, record: Record, reply: LocalReply) -> bool:
        """End the exchange with an answer of our own. Returns: the connection can serve another request.

        A request body that is still to come is not worth waiting for: the connection ends with the answer.
        """
        assert self.head is not None
        keep = self.head.keep_alive and self.parser.is_complete
        route = record.route
        if route is not None and (edits := route.response_edits):
            reply = replace(reply, headers=reply.headers + edits.lines(record))
        keep = await self.answer(record, reply, keep)
        self.finish(record)
        if keep:
            self.parser.next()
        return keep

    async def answer(self, record: Record, reply: LocalReply, keep: bool) -> bool:
        """Send an answer of our own. Returns: the connection can serve another request."""
        head = record.head
        record.status = reply.status
        record.details = reply.details
        for flag in reply.flags:
            if flag not in record.flags:
                record.flag(flag)
        if is_grpc(head):
            reply = reply.for_grpc()
            record.status = reply.status
            record.grpc_status = reply.grpc_status if reply.grpc_status is not None else -1
        keep = keep and not self.must_close and not self.is_draining()
        data = encode_reply(reply, self.terminal.server, head.method, head.minor, keep)
        record.response_started_at = self.proxy.deadlines.now()
        if head.method != b"HEAD":
            record.bytes_sent = len(reply.body)
        self.has_started = True
        try:
            await self.channel.send_all(data)
        except OSError as exc:
            raise DownstreamGone(str(exc)) from exc
        if not keep:
            await self._linger()
        return keep

    async def _serve(self) -> None:
        parser, channel = self.parser, self.channel
        headers_seconds = self.terminal.manager.request_headers_timeout_seconds
        if not await self._go_on():
            return
        while True:
            try:
                head = parser.head()
            except ProtocolError as exc:
                await self._refuse(exc)
                return
            if head is not None:
                if headers_seconds:
                    self.timeout.lift()
                if not await self._exchange(decide(self, head)):
                    return
                continue
            try:
                data = channel.try_recv(SMALL_READ)
            except OSError:
                return
            if data:
                parser.feed(data)
            elif data is not None:
                if not parser.is_idle:
                    self._note_gone("closed inside a request's head")
                return
            elif not await self._wait():
                return

    async def _exchange(self, decision: Decision) -> bool:
        try:
            return await exchange(self, decision)
        except ProtocolError as exc:  # in the request's body
            await self._refuse(exc)
        except DownstreamGone as exc:
            self._note_gone(str(exc))
        return False

    async def _wait(self) -> bool:
        # Until the client says something that the callbacks cannot deal with. Returns: the connection goes on.
        manager = self.terminal.manager
        if not self.parser.is_idle:
            if manager.request_headers_timeout_seconds and self.timeout.at == math.inf:
                self.timeout.arm(self.proxy.deadlines.now() + manager.request_headers_timeout_seconds)
            await self.channel.wait(READ)
            return True
        if self.must_close:
            return False
        if manager.idle_timeout_seconds:
            self.idle.arm(self.proxy.deadlines.now() + manager.idle_timeout_seconds)
        else:
            self.idle.lift()  # the last exchange's
        self.channel.on_idle = partial(on_client_bytes, self)
        try:
            await self.parker.park()
        except BaseException:
            self._abandon()
            raise
        finally:
            self.channel.on_idle = None
        return await self._go_on()

    async def _go_on(self) -> bool:
        # With what callbacks left to the task. Returns: the connection goes on.
        if self._expired is not Expired.NONE:
            self._abandon()
            await trio.lowlevel.checkpoint_if_cancelled()
        if self.error is not None:
            raise self.error
        decision: Decision | None = self.forwarding or self.decision
        self.forwarding = self.decision = None
        if decision is not None:
            return await self._exchange(decision)
        return not self.is_over

    def _abandon(self) -> None:
        # The exchange that callbacks began.
        for begun in (self.forwarding, self.decision):
            if isinstance(begun, Forwarding):
                begun.abandon()
        self.forwarding = self.decision = None

    def _expire(self, expired: Expired) -> None:
        self._expired = expired
        if self._scope is not None:
            self._scope.cancel()
        elif not self.has_task:
            if self.record is None:
                self.leave()
            else:
                self.resume()

    async def _after_expiry(self) -> bool:
        # Returns: whether the connection goes on.
        expired, self._expired = self._expired, Expired.NONE
        self.idle.lift()
        self.timeout.lift()
        self.overall.lift()
        record = self.record
        if record is None or self.is_over:
            if expired is Expired.TIMEOUT and not self.parser.is_idle:
                await self._send_reply(HEADERS_TIMEOUT)
            return False
        failure = self._failure_of(expired)
        record.fail(failure)
        if self.has_started:
            record.details = "response_timeout" if expired is Expired.TIMEOUT else failure.details
            self.finish(record)
            self.channel.abort()
            return False
        keep = self.head is not None and self.head.keep_alive and self.parser.is_complete
        try:
            with trio.move_on_after(_REPLY_SECONDS):
                keep = await self.answer(record, reply_for(failure, retried=record.attempts > 1), keep)
                self.finish(record)
                if keep:
                    self.parser.next()
                return keep
        except DownstreamGone as exc:
            self._note_gone(str(exc))
            return False
        self.finish(record)
        return False

    def _failure_of(self, expired: Expired) -> Failure:
        if expired is Expired.TIMEOUT:
            return REQUEST_TIMEOUT
        if expired is Expired.OVERALL:
            return REQUEST_OVERALL_TIMEOUT
        if self.parser.is_complete:
            return STREAM_IDLE
        return Failure(STREAM_IDLE.flag, STREAM_IDLE.side, 408, STREAM_IDLE.details)

    def _note_gone(self, why: str) -> None:
        record = self.record
        if record is not None:
            record.flag(Flag.DOWNSTREAM_TERMINATION)
            if not self.has_started:
                record.status = 0
            record.details = record.details or DOWNSTREAM_GONE.details
            record.termination_details = why
            self.finish(record)
        self.channel.abort()

    async def _refuse(self, error: ProtocolError) -> None:
        # Malformed bytes: say what is wrong with them, unless an answer is already on its way.
        self.proxy.count_protocol_error(self.terminal)
        record = self.record
        if self.has_started:
            if record is not None:
                record.flag(Flag.DOWNSTREAM_PROTOCOL_ERROR)
                self.finish(record)
            self.channel.abort()
            return
        if record is not None:
            record.flag(Flag.DOWNSTREAM_PROTOCOL_ERROR)
            record.status = error.status
            record.details = "http1.codec_error"
            self.finish(record)
        reply = LocalReply(error.status, f"{error.message}\n".encode(), details="http1.codec_error")
        try:
            await self.channel.send_all(encode_reply(reply, self.terminal.server, b"GET", 1, False))
        except OSError:
            return
        await self._linger()

    async def _send_reply(self, failure: Failure) -> None:
        data = encode_reply(reply_for(failure), self.terminal.server, b"GET", 1, False)
        with trio.move_on_after(_REPLY_SECONDS):
            try:
                await self.channel.send_all(data)
            except OSError:
                return
            await self._linger()

    async def _linger(self) -> None:
        # Closing with unread bytes sends RST, and the client may lose the answer that it was just sent.
        self.channel.shutdown_send()
        taken = 0
        with trio.move_on_after(_LINGER_SECONDS):
            try:
                while taken < _LINGER_BYTES and (data := await self.channel.recv(SMALL_READ)):
                    taken += len(data)
            except OSError:
                return

    async def end(self, keep: bool) -> None:
        """After a response that was forwarded: linger when bytes of the request are still on their way."""
        if not keep and not self.parser.is_complete:
            await self._linger()
