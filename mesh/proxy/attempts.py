"""Attempts: a request that has to wait for something: its body, a connection, a slow answer, another try.

Runs in the connection's task and goes on from whatever step of `Forwarding` was reached. Nothing is decided here that
is not asked of Forwarding, the retry policy or the clusters.
"""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING

import trio

from mesh.codec.h1 import ResponseHead, encode_response
from mesh.model.failure import Flag
from mesh.proxy.balance import Host
from mesh.proxy.failures import (
    OVERFLOW,
    PER_TRY_TIMEOUT,
    TERMINATED_UNSENT,
    DownstreamGone,
    UpstreamFailed,
    reply_for,
)
from mesh.proxy.forwarding import Forwarding
from mesh.proxy.relay import RelayBroken, relay
from mesh.proxy.reply import NO_HEALTHY_UPSTREAM
from mesh.proxy.retry import is_idempotent
from mesh.proxy.transfer import Download, Framing, pump, receive_head
from mesh.proxy.unprocessed import LINE as UNPROCESSED_LINE
from mesh.proxy.upstream_h1 import UpstreamConnection

if TYPE_CHECKING:
    from mesh.proxy.downstream_h1 import Downstream

_random = random.random


class Attempts:
    """One exchange. `run` it once."""

    __slots__ = ("_down", "_is_unprocessed", "_step")

    def __init__(self, down: Downstream, step: Forwarding) -> None:
        self._down = down
        self._step = step
        self._is_unprocessed = True

    async def run(self) -> bool:
        """Go on until the request is answered. Returns: the connection can serve another one."""
        step, down = self._step, self._down
        if step.connection is not None:
            step.connection.channel.on_idle = None
        try:
            if step.connection is not None and step.response is not None and down.has_started:
                return await self._stream(step.connection, step.response)
            if not step.enter():
                return await down.conclude(step.record, reply_for(OVERFLOW))
            return await self._attempts()
        finally:
            step.abandon()
            if step.route.mirrors and step.head.has_body:
                step.mirror(step.upload.copy())

    async def _attempts(self) -> bool:
        step = self._step
        record, cluster, retry = step.record, step.cluster, step.route.retry
        while True:
            host = step.host or step.pick()
            if host is None:
                return await self._down.conclude(record, NO_HEALTHY_UPSTREAM)
            try:
                connection, response = await self._attempt(host)
            except UpstreamFailed as exc:
                step.give_up_connection()
                self._is_unprocessed &= exc.failure.surely_unprocessed
                step.now = self._down.deadlines.now()
                record.transport_failure = exc.reason
                cluster.on_failure(host, step.now)
                if exc.reused and not step.needs_fresh and step.may_repeat(exc.failure):
                    # The idle race: that connection was dead before it had our request. Not the host's fault, and
                    # not one of the policy's attempts.
                    step.needs_fresh = True
                    record.attempts -= 1
                    continue
                pause = None
                if retry is not None and step.upload.can_replay:
                    pause = retry.after_failure(exc.failure, record.attempts, is_idempotent(step.head), _random)
                if pause is None or not step.may_retry():
                    return await self._fail(exc)
            else:
                self._is_unprocessed = False
                if step.is_unprocessed(response) and step.move(response):
                    continue
                pause = step.pause_after(response)
                if pause is None or not step.may_retry():
                    return await self._respond(connection, response)
                cluster.on_response(host, step.status_of(response), step.now)
                step.give_up_connection()
            step.next_attempt(host)
            await trio.sleep(pause)
            step.now = self._down.deadlines.now()

    async def _attempt(self, host: Host) -> tuple[UpstreamConnection, ResponseHead]:
        retry = self._step.route.retry
        seconds = retry.per_try_timeout_seconds if retry is not None else 0.0
        if not seconds:
            return await self._try_once(host)
        with trio.move_on_after(seconds):
            return await self._try_once(host)
        raise UpstreamFailed(PER_TRY_TIMEOUT)

    async def _try_once(self, host: Host) -> tuple[UpstreamConnection, ResponseHead]:
        # Goes on where `begin` stopped, if it got anywhere.
        step, down = self._step, self._down
        connection, response, step.response = step.connection, step.response, None
        if connection is None:
            connection = await step.cluster.acquire(down.parker, host, step.now, down.channel, step.needs_fresh)
            step.use(connection, host)
        try:
            if step.unsent:
                await self._send_rest(connection)
            while True:
                if response is None:
                    response = await receive_head(
                        down.parker, step.upload, connection, down.channel, step.head.method
                    )
                if not response.is_interim:
                    return connection, response
                await self._forward_interim(connection, response)
                response = None
        except UpstreamFailed as exc:
            exc.reused = connection.served > 1
            raise

    async def _send_rest(self, connection: UpstreamConnection) -> None:
        step = self._step
        rest, step.unsent = step.unsent, b""
        try:
            await connection.channel.send_all(rest)
        except OSError as exc:
            raise UpstreamFailed(TERMINATED_UNSENT, str(exc.strerror or "")) from exc

    async def _forward_interim(self, connection: UpstreamConnection, response: ResponseHead) -> None:
        connection.parser.next()
        if self._step.head.minor:
            try:
                await self._down.channel.send_all(encode_response(response))
            except OSError as exc:
                raise DownstreamGone(str(exc)) from exc

    async def _respond(self, connection: UpstreamConnection, response: ResponseHead) -> bool:
        step = self._step
        if response.status == 101:
            return await self._tunnel(connection, response)
        step.start_response(connection, response)
        if step.framing is Framing.RAW and step.upload.is_done and step.flush(connection):
            keep = step.finish(connection, response)
            if keep:
                self._down.parser.next()
            return keep
        return await self._stream(connection, response)

    async def _stream(self, connection: UpstreamConnection, response: ResponseHead) -> bool:
        # Both bodies, for as long as they take.
        step, down = self._step, self._down
        record, upload = step.record, step.upload
        download = Download(connection, down.channel, step.framing, step.out)
        try:
            await pump(
                down.parker,
                upload,
                download,
                connection.channel,
                down.channel,
                down.idle,
                down.idle_seconds(step.route),
            )
        except UpstreamFailed as exc:
            if step.host is not None:
                step.cluster.on_failure(step.host, down.deadlines.now())
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
        keep = step.finish(connection, response)
        if keep:
            down.parser.next()
        else:
            await down.end(keep)
        return keep

    async def _tunnel(self, connection: UpstreamConnection, response: ResponseHead) -> bool:
        # RFC 9110 7.8: after 101 both sides speak something else; what was read too far belongs to it.
        step, down = self._step, self._down
        record = step.record
        down.timeout.lift()
        record.response = response
        record.status = 101
        record.details = "via_upstream"
        record.response_started_at = down.deadlines.now()
        remove, lines = step.response_lines(response)
        data = encode_response(response, remove, lines, True)
        down.has_started = True
        try:
            await relay(
                down.parker,
                down.channel,
                connection.channel,
                record,
                down.idle,
                down.idle_seconds(step.route),
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
        step = self._step
        record, retry = step.record, step.route.retry
        if retry is not None and record.attempts > retry.attempts:
            record.flag(Flag.UPSTREAM_RETRY_LIMIT)
        record.bytes_received = step.upload.received
        reply = reply_for(failed.failure, failed.reason, record.attempts > 1)
        if self._is_unprocessed and failed.failure.flag is Flag.UPSTREAM_CONNECT_FAILURE:
            client = record.peer
            if self._down.terminal.is_inbound and client is not None and client.is_ours:
                reply = replace(reply, headers=reply.headers + UNPROCESSED_LINE)
        return await self._down.conclude(record, reply)
