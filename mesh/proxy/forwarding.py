"""Forwarding: one request on its way upstream and its response on the way back, over as many attempts as it takes.

Its steps are synchronous where nothing has to be waited for, so that the plain request (no body, a pooled connection, an
answer that arrives in one piece) is driven by the poller's callbacks alone: `begin`, `_on_response`, and what they put
off to the end of the poller's batch. Whatever is not plain wakes the connection's task, which goes on from the very
same state with `run`. A task switch costs more than all decisions together.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import trio

from mesh.codec.events import END, ProtocolError
from mesh.codec.events import Framing as HeadFraming
from mesh.codec.h1 import RequestHead, ResponseHead, encode_request, encode_response
from mesh.model.failure import Failure, Flag
from mesh.proxy.balance import HashKey, Host
from mesh.proxy.clusters import ClusterRuntime
from mesh.proxy.cors import RESPONSE_NAMES as CORS_NAMES
from mesh.proxy.edits import NO_EDITS
from mesh.proxy.failures import (
    OVERFLOW,
    PER_TRY_TIMEOUT,
    TERMINATED_UNSENT,
    DownstreamGone,
    UpstreamFailed,
    reply_for,
)
from mesh.proxy.forwarded import forwarded_lines
from mesh.proxy.observe.record import Record
from mesh.proxy.poller import SMALL_READ
from mesh.proxy.relay import RelayBroken, relay
from mesh.proxy.reply import NO_HEALTHY_UPSTREAM
from mesh.proxy.retry import is_idempotent
from mesh.proxy.route import CompiledRoute, Share
from mesh.proxy.transfer import NO_UPLOAD, Download, Framing, Upload, pump, receive_head
from mesh.proxy.upstream_h1 import UpstreamConnection

if TYPE_CHECKING:
    from mesh.proxy.downstream_h1 import Downstream

_random = random.random


class Forwarding:
    """One request on its way upstream, over as many attempts as it takes.

    Holds what has to be given back: the cluster's request slot from `_enter` to `_leave`, the host's active count and
    a connection while `_host` and `_connection` are set.
    """

    __slots__ = (
        "_cluster",
        "_connection",
        "_down",
        "_framing",
        "_hash_key",
        "_head",
        "_host",
        "_is_inside",
        "_is_retrying",
        "_keep",
        "_needs_fresh",
        "_now",
        "_out",
        "_record",
        "_response",
        "_route",
        "_share",
        "_tried",
        "_unsent",
        "_upload",
    )

    def __init__(
        self,
        down: Downstream,
        record: Record,
        head: RequestHead,
        route: CompiledRoute,
        share: Share,
        cluster: ClusterRuntime,
        now: float,
    ) -> None:
        self._down = down
        self._record = record
        self._head = head
        self._route = route
        self._share = share
        self._cluster = cluster
        self._now = now
        self._upload = Upload(down.channel, down.parser) if head.has_body else NO_UPLOAD
        self._host: Host | None = None
        self._connection: UpstreamConnection | None = None
        self._response: ResponseHead | None = None
        self._unsent = self._out = b""
        self._framing = Framing.RAW
        self._keep = False
        self._hash_key: HashKey | None = None
        self._tried: tuple[Host, ...] = ()
        self._needs_fresh = self._is_retrying = self._is_inside = False

    def begin(self) -> bool:
        """Send the request on a pooled connection. Returns: callbacks will do the rest, as long as nothing must wait.

        Otherwise (False) `run` goes on from whatever was reached. Only for requests without a body. What is sent is
        sent at the end of the poller's batch: waking a sleeping peer costs more than all of the request's Python,
        and one wake-up serves the whole batch.
        """
        if not self._enter():
            return False
        host = self._pick()
        if host is None:
            return False
        connection = self._cluster.take(host, self._now)
        if connection is None:
            return False
        self._connection = connection
        connection.channel.parker = self._down.parker
        self._unsent = self._encode_head(connection, host)
        connection.channel.on_idle = self._on_response
        self._down.proxy.poller.after_batch.append(self._send_deferred)
        return True

    def abandon(self) -> None:
        """The exchange ends here, unanswered. Idempotent."""
        self._give_up_connection()
        self._leave()

    async def run(self) -> bool:
        """Go on until the request is answered. Returns: the connection can serve another one."""
        if self._connection is not None:
            self._connection.channel.on_idle = None
        try:
            if self._connection is not None and self._response is not None and self._down.has_started:
                return await self._stream(self._connection, self._response)
            if not self._enter():
                return await self._down.conclude(self._record, reply_for(OVERFLOW))
            return await self._attempts()
        finally:
            self.abandon()
            if self._route.mirrors and self._head.has_body:
                self._mirror(self._upload.copy())

    async def _attempts(self) -> bool:
        record, cluster, retry = self._record, self._cluster, self._route.retry
        while True:
            host = self._host or self._pick()
            if host is None:
                return await self._down.conclude(record, NO_HEALTHY_UPSTREAM)
            try:
                connection, response = await self._attempt(host)
            except UpstreamFailed as exc:
                self._give_up_connection()
                self._now = self._down.proxy.deadlines.now()
                record.transport_failure = exc.reason
                cluster.on_failure(host, self._now)
                if exc.reused and not self._needs_fresh and self._may_repeat(exc.failure):
                    # The idle race: that connection was dead before it had our request. Not the host's fault, and
                    # not one of the policy's attempts.
                    self._needs_fresh = True
                    record.attempts -= 1
                    continue
                pause = None
                if retry is not None and self._upload.can_replay:
                    pause = retry.after_failure(exc.failure, record.attempts, is_idempotent(self._head), _random)
                if pause is None or not self._may_retry():
                    return await self._fail(exc)
            else:
                pause = self._pause_after(response)
                if pause is None or not self._may_retry():
                    return await self._respond(connection, response)
                cluster.on_response(host, response.status, self._now)
                self._give_up_connection()
            self._needs_fresh = False
            if retry is not None and retry.excludes_tried_hosts:
                self._tried = (*self._tried, host)
            self._upload.restart()
            await trio.sleep(pause)
            self._now = self._down.proxy.deadlines.now()

    def _enter(self) -> bool:
        # Take the cluster's request slot and start the clock. False: the circuit breaker is open.
        if self._is_inside:
            return True
        if not self._cluster.breaker.try_request():
            return False
        self._is_inside = True
        route, down = self._route, self._down
        if route.idle_timeout_seconds is not None:
            if route.idle_timeout_seconds:
                down.idle.arm(self._now + route.idle_timeout_seconds)
            else:
                down.idle.lift()
        if route.timeout_seconds:
            down.timeout.arm(self._now + route.timeout_seconds)
        if route.hash is not None:
            self._hash_key = route.hash.of(self._head, _ip(self._record), random.getrandbits)
        if route.mirrors and not self._head.has_body:
            self._mirror(b"")
        return True

    def _leave(self) -> None:
        if self._is_inside:
            self._is_inside = False
            self._cluster.breaker.end_request()
            if self._is_retrying:
                self._cluster.breaker.end_retry()

    def _pick(self) -> Host | None:
        key = self._hash_key
        host = self._cluster.pick(
            self._now, key.value if key is not None else None, self._tried, self._down.destination
        )
        if host is not None:
            self._host = host
            host.active += 1
            self._record.host = host
            self._record.attempts += 1
        return host

    def _give_up_connection(self) -> None:
        # End of an attempt that does not leave its connection fit for the next one.
        host, connection = self._host, self._connection
        if host is None:
            return
        self._host = None
        host.active -= 1
        if connection is not None:
            self._connection = None
            connection.channel.on_idle = None
            self._cluster.discard(host, connection)

    def _mirror(self, body: bytes | None) -> None:
        down = self._down
        down.proxy.mirrors.start(down.terminal, self._route, self._record, self._head, body)

    def _may_repeat(self, failure: Failure) -> bool:
        if not self._upload.can_replay or failure.flag is not Flag.UPSTREAM_CONNECTION_TERMINATION:
            return False
        if not (failure.surely_unprocessed or is_idempotent(self._head)):
            return False
        self._upload.restart()
        return True

    def _may_retry(self) -> bool:
        if not self._is_retrying:
            self._is_retrying = self._cluster.breaker.try_retry()
        return self._is_retrying

    def _pause_after(self, response: ResponseHead) -> float | None:
        # Seconds before the next attempt; None: this response is the answer.
        retry = self._route.retry
        if retry is None or (response.status < 400 and not self._record.is_grpc) or not self._upload.can_replay:
            return None
        return retry.after_response(response.status, response, self._record.attempts, _random)

    async def _attempt(self, host: Host) -> tuple[UpstreamConnection, ResponseHead]:
        seconds = self._route.retry.per_try_timeout_seconds if self._route.retry is not None else 0.0
        if not seconds:
            return await self._try_once(host)
        with trio.move_on_after(seconds):
            return await self._try_once(host)
        raise UpstreamFailed(PER_TRY_TIMEOUT)

    async def _try_once(self, host: Host) -> tuple[UpstreamConnection, ResponseHead]:
        # Goes on where `begin` stopped, if it got anywhere.
        down, cluster = self._down, self._cluster
        connection, response, self._response = self._connection, self._response, None
        if connection is None:
            connection = await cluster.acquire(down.parker, host, self._now, down.channel, self._needs_fresh)
            self._connection = connection
            connection.channel.parker = down.parker
            self._unsent = self._encode_head(connection, host)
        try:
            if self._unsent:
                await self._send_rest(connection)
            while True:
                if response is None:
                    response = await receive_head(
                        down.parker, self._upload, connection, down.channel, self._head.method
                    )
                if not response.is_interim:
                    return connection, response
                await self._forward_interim(connection, response)
                response = None
        except UpstreamFailed as exc:
            exc.reused = connection.served > 1
            raise

    def _encode_head(self, connection: UpstreamConnection, host: Host) -> bytes:
        record, route, head, share = self._record, self._route, self._head, self._share
        terminal = self._down.terminal
        observer = terminal.observer
        record.upstream_local = connection.local_address
        if not record.upstream_started_at:
            record.upstream_started_at = self._now
        remove, lines = forwarded_lines(record, terminal.manager)
        remove += observer.removals(record)
        lines += observer.lines(record)
        edits = share.request_edits
        if edits is not NO_EDITS:
            remove += edits.remove
            lines += edits.lines(record)
        if host.endpoint.is_meshed and not terminal.is_inbound:
            lines += b"x-envoy-attempt-count: %d\r\n" % record.attempts
        target = route.rewritten_target(head)
        if target is not None:
            record.upstream_path = target
        authority = route.host_rewrite
        if route.auto_host_rewrite and host.endpoint.host_name:
            authority = host.endpoint.host_name.encode()
        upgrade = bool(head.upgrade) and head.upgrade != b"h2c"
        return encode_request(head, target, authority, remove, lines, upgrade)

    def _send_deferred(self) -> None:
        connection = self._connection
        assert connection is not None
        try:
            sent = connection.channel.try_send(self._unsent)
        except OSError:
            # Dead before it had a byte of the request: as if it had not been in the pool.
            self._give_up_connection()
            self._record.attempts -= 1
            self._unsent = b""
            self._down.parker.wake()
            return
        except Exception as exc:
            self._down.fail(exc)
            return
        if sent == len(self._unsent):
            self._unsent = b""
        else:
            self._unsent = self._unsent[max(sent, 0) :]
            self._down.parker.wake()

    async def _send_rest(self, connection: UpstreamConnection) -> None:
        rest, self._unsent = self._unsent, b""
        try:
            await connection.channel.send_all(rest)
        except OSError as exc:
            raise UpstreamFailed(TERMINATED_UNSENT, str(exc.strerror or "")) from exc

    async def _forward_interim(self, connection: UpstreamConnection, response: ResponseHead) -> None:
        connection.parser.next()
        if self._head.minor:
            try:
                await self._down.channel.send_all(encode_response(response))
            except OSError as exc:
                raise DownstreamGone(str(exc)) from exc

    def _on_response(self) -> None:
        # The poller's callback for the upstream connection, while the client's task is parked.
        down, connection = self._down, self._connection
        assert connection is not None
        if not connection.channel.is_readable:
            return
        parser = connection.parser
        try:
            data = connection.channel.try_recv(SMALL_READ)
            if data is None:
                return
            if not data:
                down.parker.wake()
                return
            parser.feed(data)
            response = parser.head(self._head.method)
            if response is None:
                down.parker.wake()
                return
            self._response = response
            if response.is_interim or response.status == 101 or self._pause_after(response) is not None:
                down.parker.wake()
                return
            self._start_response(connection, response)
            if self._framing is Framing.RAW:
                down.proxy.poller.after_batch.append(self._answer_deferred)
            else:
                down.parker.wake()
        except (OSError, ProtocolError):
            down.parker.wake()  # the task meets the same error, and knows what to do about it
        except Exception as exc:
            down.fail(exc)

    def _answer_deferred(self) -> None:
        down, connection, response = self._down, self._connection, self._response
        assert connection is not None and response is not None
        try:
            if self._flush(connection):
                down.after_exchange(self._finish(connection, response), self._now)
            else:
                down.parker.wake()
        except (ProtocolError, DownstreamGone):
            down.parker.wake()
        except Exception as exc:
            down.fail(exc)

    async def _respond(self, connection: UpstreamConnection, response: ResponseHead) -> bool:
        # Forward the response; from its first byte on nothing can be repeated any more.
        if response.status == 101:
            return await self._tunnel(connection, response)
        self._start_response(connection, response)
        if self._framing is Framing.RAW and self._upload.is_done and self._flush(connection):
            keep = self._finish(connection, response)
            if keep:
                self._down.parser.next()
            return keep
        return await self._stream(connection, response)

    def _start_response(self, connection: UpstreamConnection, response: ResponseHead) -> None:
        # Decide framing and persistence, and encode the head into `_out`.
        down, record, head = self._down, self._record, self._head
        now = self._now = down.proxy.deadlines.now()
        record.response = response
        record.response_started_at = now
        record.status = response.status
        record.details = "via_upstream"
        assert self._host is not None
        self._cluster.on_response(self._host, response.status, now)
        upload = self._upload
        keep = head.keep_alive and not down.must_close and (upload.is_done or upload.is_read) and not down.is_draining
        head_framing = HeadFraming.KEEP
        if response.is_until_close:
            if head.minor:
                self._framing, head_framing = Framing.CHUNKS, HeadFraming.CHUNKED
            else:
                keep = False
        elif not head.minor and response.is_chunked and response.has_body:
            self._framing, head_framing, keep = Framing.DATA, HeadFraming.NONE, False
        self._keep = keep
        if keep and head.minor and self._share.response_edits is NO_EDITS and not (self._route.cors or self._hash_key):
            self._out = encode_response(response, (), b"", False, b"", head_framing)
        else:
            option = b"close" if not keep else (b"" if head.minor else b"keep-alive")
            remove, lines = self._response_lines()
            self._out = encode_response(response, remove, lines, False, option, head_framing)
        down.has_started = True

    def _response_lines(self) -> tuple[tuple[bytes, ...], bytes]:
        # Names to leave out of the response's head, and lines to append.
        record = self._record
        lines = self._hash_key.set_cookie if self._hash_key is not None else b""
        remove: tuple[bytes, ...] = ()
        edits = self._share.response_edits
        if edits is not NO_EDITS:
            remove = edits.remove
            lines += edits.lines(record)
        cors = self._route.cors
        if cors is not None and (allowed := cors.response_lines(self._head)):
            remove += CORS_NAMES
            lines += allowed
        return remove, lines

    def _flush(self, connection: UpstreamConnection) -> bool:
        # Send what is there with one call. True: that was all of it. Raises: DownstreamGone.
        parser = connection.parser
        out = self._out
        body = parser.body_raw()
        if body is not END and body is not None:
            out += body
            self._record.bytes_sent = len(body)
        if parser.is_complete:
            try:
                sent = self._down.channel.try_send(out)
            except OSError as exc:
                raise DownstreamGone(str(exc)) from exc
            if sent == len(out):
                return True
            if sent > 0:
                out = out[sent:]
        self._out = out
        return False

    async def _stream(self, connection: UpstreamConnection, response: ResponseHead) -> bool:
        # Both bodies, for as long as they take.
        down, record, upload = self._down, self._record, self._upload
        download = Download(connection, down.channel, self._framing, self._out)
        try:
            await pump(
                down.parker,
                upload,
                download,
                connection.channel,
                down.channel,
                down.idle,
                down.idle_seconds(self._route),
            )
        except UpstreamFailed as exc:
            if self._host is not None:
                self._cluster.on_failure(self._host, down.proxy.deadlines.now())
            record.flag(exc.failure.flag)
            record.details = exc.failure.details
            record.transport_failure = exc.reason
            record.bytes_received = upload.received
            record.bytes_sent += download.sent
            down.finish(record)
            down.channel.abort()
            return False
        except BaseException:
            record.bytes_sent += download.sent
            record.bytes_received = upload.received
            raise
        record.bytes_sent += download.sent
        keep = self._finish(connection, response)
        if keep:
            down.parser.next()
        else:
            await down.end(keep)
        return keep

    def _finish(self, connection: UpstreamConnection, response: ResponseHead) -> bool:
        # The response is out. Returns: the client's connection can serve another request.
        down, record, upload, host = self._down, self._record, self._upload, self._host
        assert host is not None
        parser = connection.parser
        record.trailers = parser.trailers
        record.bytes_received = upload.received
        self._connection = self._host = None
        host.active -= 1
        if response.keep_alive and upload.is_done and not upload.is_broken and not parser.buffered:
            parser.next()
            keep_alive = response.get(b"keep-alive")
            if keep_alive is not None:
                connection.learn_idle_limit(keep_alive, self._now)
            self._cluster.release(host, connection, self._now)
        else:
            connection.channel.on_idle = None
            self._cluster.discard(host, connection)
        self._leave()
        down.finish(record)
        return self._keep and upload.is_read

    async def _tunnel(self, connection: UpstreamConnection, response: ResponseHead) -> bool:
        # RFC 9110 7.8: after 101 both sides speak something else; what was read too far belongs to it.
        down, record = self._down, self._record
        down.timeout.lift()
        record.response = response
        record.status = 101
        record.details = "via_upstream"
        record.response_started_at = down.proxy.deadlines.now()
        remove, lines = self._response_lines()
        data = encode_response(response, remove, lines, True)
        down.has_started = True
        try:
            await relay(
                down.parker,
                down.channel,
                connection.channel,
                record,
                down.idle,
                down.idle_seconds(self._route),
                from_down=down.parser.leftover(),
                from_up=data + connection.parser.leftover(),
            )
        except RelayBroken as exc:
            record.flag(Flag.UPSTREAM_CONNECTION_TERMINATION if exc.is_upstream else Flag.DOWNSTREAM_TERMINATION)
            down.channel.abort()
        record.bytes_sent = max(0, record.bytes_sent - len(data))
        down.finish(record)
        return False

    async def _fail(self, failed: UpstreamFailed) -> bool:
        record, retry = self._record, self._route.retry
        if retry is not None and record.attempts > retry.attempts:
            record.flag(Flag.UPSTREAM_RETRY_LIMIT)
        record.bytes_received = self._upload.received
        return await self._down.conclude(record, reply_for(failed.failure, failed.reason, record.attempts > 1))


def _ip(record: Record) -> str:
    return record.connection.remote.rpartition(":")[0].strip("[]")
