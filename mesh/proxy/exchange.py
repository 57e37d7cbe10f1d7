"""Exchange: one request on one page. route -> filters -> balance -> connect -> forward -> observe.

Every decision is asked of a module that does no I/O; what is awaited here is the network. The routing table and the
clusters are read once, from the snapshot that is current when the request begins.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import trio

from mesh.codec.events import Framing as HeadFraming
from mesh.codec.h1 import RequestHead, ResponseHead, encode_request, encode_response
from mesh.model.failure import Failure, Flag
from mesh.proxy.balance import Host
from mesh.proxy.clusters import ClusterRuntime
from mesh.proxy.failures import (
    OVERFLOW,
    PER_TRY_TIMEOUT,
    TERMINATED_UNSENT,
    DownstreamGone,
    UpstreamFailed,
    reply_for,
)
from mesh.proxy.faults import Draw
from mesh.proxy.filters import before_forward
from mesh.proxy.forwarded import INTERNAL, forwarded_lines, scheme_of
from mesh.proxy.observe.record import Record
from mesh.proxy.paths import BadPath, normalize, with_path
from mesh.proxy.relay import RelayBroken, relay
from mesh.proxy.reply import NO_HEALTHY_UPSTREAM, NO_ROUTE, LocalReply, no_cluster
from mesh.proxy.retry import is_idempotent
from mesh.proxy.route import ActionKind, CompiledRoute, Share
from mesh.proxy.transfer import Download, Framing, Upload, pump, receive_head
from mesh.proxy.upstream_h1 import UpstreamConnection

if TYPE_CHECKING:
    from mesh.proxy.downstream_h1 import Downstream

_random = random.random
_BAD_PATH = LocalReply(400, b"bad path\n", details="path_normalization_failed")
_NO_CONNECT = LocalReply(405, b"CONNECT is not supported\n", b"allow: GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH\r\n", details="connect_not_supported")
_NO_UPGRADE = LocalReply(403, b"this upgrade is not allowed\n", details="upgrade_failed")


async def exchange(down: Downstream, head: RequestHead) -> bool:
    """Serve one request. Returns: the connection can serve another one.

    Raises: DownstreamGone: the client left. ProtocolError: malformed request body. Both before the record is finished.
    """
    proxy, terminal = down.proxy, down.terminal
    manager = terminal.manager
    now = proxy.deadlines.now()
    snapshot = proxy.current
    record = down.record = Record(head, down.connection, now)
    down.head = head
    if not head.minor:
        record.protocol = "HTTP/1.0"
    record.scheme = scheme_of(head, down.is_tls, manager.use_remote_address)
    if manager.stream_idle_timeout_seconds:
        down.idle.arm(now + manager.stream_idle_timeout_seconds)
    else:
        down.idle.lift()
    if manager.request_timeout_seconds and head.has_body:
        down.overall.arm(now + manager.request_timeout_seconds)
    if manager.normalize_path:
        try:
            path = normalize(head.path, manager.merge_slashes)
        except BadPath:
            return await _answer(down, record, _BAD_PATH)
        if path is not head.path:
            head = with_path(head, path)
            record.head = head
    terminal.observer.begin(record)
    table = terminal.table(snapshot)
    route = table.find(head, record.scheme) if table is not None else None
    if route is None:
        return await _answer(down, record, NO_ROUTE)
    record.route = route
    if route.kind is not ActionKind.FORWARD:
        return await _answer(down, record, _direct_reply(route, record))
    if head.method == b"CONNECT":
        return await _answer(down, record, _NO_CONNECT)
    if head.upgrade and head.upgrade != b"h2c" and head.upgrade.decode("latin-1") not in manager.upgrades:
        return await _answer(down, record, _NO_UPGRADE)
    if route.has_filters:
        stop = before_forward(route, head, _random)
        if isinstance(stop, Draw):
            stop = await _delay(down, record, stop)
        if stop is not None:
            return await _answer(down, record, stop)
    share = route.pick(_random)
    cluster = snapshot.clusters.get(share.cluster)
    if cluster is None:
        return await _answer(down, record, no_cluster(route.missing_cluster_status))
    record.share = share
    record.cluster = cluster.model
    if route.idle_timeout_seconds is not None:
        if route.idle_timeout_seconds:
            down.idle.arm(now + route.idle_timeout_seconds)
        else:
            down.idle.lift()
    if route.timeout_seconds:
        down.timeout.arm(now + route.timeout_seconds)
    if not cluster.breaker.try_request():
        return await _answer(down, record, reply_for(OVERFLOW))
    if route.mirrors and not head.has_body:
        proxy.mirrors.start(terminal, route, record, head, b"")
    try:
        return await _Forwarding(down, record, head, route, share, cluster).run(now)
    finally:
        cluster.breaker.end_request()
        down.timeout.lift()
        down.overall.lift()


def _direct_reply(route: CompiledRoute, record: Record) -> LocalReply:
    if route.kind is ActionKind.REDIRECT:
        return route.redirect(record.head, record.scheme)
    if route.direct is not None:
        return route.direct
    return NO_ROUTE  # NON_FORWARDING is for proxyless gRPC servers alone


async def _delay(down: Downstream, record: Record, draw: Draw) -> LocalReply | None:
    if draw.delay_seconds:
        record.flag(Flag.DELAY_INJECTED)
        await trio.sleep(draw.delay_seconds)
    return draw.abort


async def _answer(down: Downstream, record: Record, reply: LocalReply) -> bool:
    # An answer of our own. A request body that is still to come is not worth waiting for.
    assert down.head is not None
    keep = down.head.keep_alive and down.parser.is_complete
    route = record.route
    if route is not None and (edits := route.response_edits):
        reply = LocalReply(
            reply.status,
            reply.body,
            reply.headers + edits.lines(record),
            reply.flags,
            reply.details,
            reply.grpc_status,
            reply.content_type,
        )
    keep = await down.answer(record, reply, keep)
    down.finish(record)
    if keep:
        down.parser.next()
    return keep


class _Forwarding:
    """One request on its way upstream, over as many attempts as it takes."""

    __slots__ = ("_cluster", "_down", "_head", "_host", "_record", "_route", "_share", "_tried", "_upload")

    def __init__(
        self, down: Downstream, record: Record, head: RequestHead, route: CompiledRoute, share: Share, cluster: ClusterRuntime
    ) -> None:
        self._down = down
        self._record = record
        self._head = head
        self._route = route
        self._share = share
        self._cluster = cluster
        self._upload: Upload = Upload(down.channel, down.parser, head.has_body)
        self._host: Host | None = None
        self._tried: tuple[Host, ...] = ()

    async def run(self, now: float) -> bool:
        """Attempts until one is answered, or none is left."""
        record, cluster, retry = self._record, self._cluster, self._route.retry
        hash_key = self._route.hash.of(self._head, _ip(record), random.getrandbits) if self._route.hash is not None else None
        needs_fresh = False
        retrying = False
        try:
            while True:
                host = cluster.pick(now, hash_key.value if hash_key is not None else None, self._tried, self._down.destination)
                if host is None:
                    return await _answer(self._down, record, NO_HEALTHY_UPSTREAM)
                record.host = self._host = host
                record.attempts += 1
                host.active += 1
                pause: float | None
                try:
                    connection, response = await self._attempt(host, now, needs_fresh)
                except UpstreamFailed as exc:
                    now = self._down.proxy.deadlines.now()
                    record.transport_failure = exc.reason
                    cluster.on_failure(host, now)
                    if exc.reused and not needs_fresh and self._may_repeat(exc.failure):
                        # The idle race: that connection was dead before it had our request. Not the host's fault,
                        # and not one of the policy's attempts.
                        needs_fresh = True
                        record.attempts -= 1
                        continue
                    pause = None
                    if retry is not None and self._upload.can_replay:
                        pause = retry.after_failure(exc.failure, record.attempts, is_idempotent(self._head), _random)
                    if pause is None or not (retrying or cluster.breaker.try_retry()):
                        return await self._give_up(exc)
                else:
                    pause = None
                    if retry is not None and self._upload.can_replay and (response.status >= 400 or record.is_grpc):
                        pause = retry.after_response(response.status, response, record.attempts, _random)
                    if pause is None or not (retrying or cluster.breaker.try_retry()):
                        lines = hash_key.set_cookie if hash_key is not None else b""
                        return await self._respond(connection, response, lines)
                    cluster.on_response(host, response.status, self._down.proxy.deadlines.now())
                    cluster.discard(host, connection)
                finally:
                    host.active -= 1
                retrying = True
                needs_fresh = False
                if retry is not None and retry.excludes_tried_hosts:
                    self._tried = (*self._tried, host)
                self._upload.restart()
                await trio.sleep(pause)
                now = self._down.proxy.deadlines.now()
        finally:
            if retrying:
                cluster.breaker.end_retry()
            if self._route.mirrors and self._head.has_body:
                self._down.proxy.mirrors.start(
                    self._down.terminal, self._route, record, self._head, self._upload.copy()
                )

    def _may_repeat(self, failure: Failure) -> bool:
        if not self._upload.can_replay or failure.flag is not Flag.UPSTREAM_CONNECTION_TERMINATION:
            return False
        if not (failure.surely_unprocessed or is_idempotent(self._head)):
            return False
        self._upload.restart()
        return True

    async def _attempt(self, host: Host, now: float, fresh: bool) -> tuple[UpstreamConnection, ResponseHead]:
        seconds = self._route.retry.per_try_timeout_seconds if self._route.retry is not None else 0.0
        if not seconds:
            return await self._try_once(host, now, fresh)
        with trio.move_on_after(seconds):
            return await self._try_once(host, now, fresh)
        raise UpstreamFailed(PER_TRY_TIMEOUT)

    async def _try_once(self, host: Host, now: float, fresh: bool) -> tuple[UpstreamConnection, ResponseHead]:
        down, record, cluster = self._down, self._record, self._cluster
        connection = await cluster.acquire(down.parker, host, now, down.channel, fresh)
        channel = connection.channel
        channel.parker = down.parker
        record.upstream_local = connection.local_address
        if not record.upstream_started_at:
            record.upstream_started_at = now
        try:
            await self._send_head(connection, host)
            while True:
                response = await receive_head(down.parker, self._upload, connection, down.channel, self._head.method)
                if not response.is_interim:
                    return connection, response
                await self._forward_interim(connection, response)
        except UpstreamFailed as exc:
            exc.reused = connection.served > 1
            cluster.discard(host, connection)
            raise
        except BaseException:
            cluster.discard(host, connection)
            raise

    async def _send_head(self, connection: UpstreamConnection, host: Host) -> None:
        down, record, route, head, share = self._down, self._record, self._route, self._head, self._share
        terminal = down.terminal
        remove, lines = forwarded_lines(record, terminal.manager)
        observer = terminal.observer
        remove += observer.removals(record) + INTERNAL
        lines += observer.lines(record)
        edits = share.request_edits
        if edits:
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
        data = encode_request(head, target, authority, remove, lines, upgrade)
        channel = connection.channel
        try:
            sent = channel.try_send(data)
            if sent < len(data):
                await channel.send_all(data[max(sent, 0) :])
        except OSError as exc:
            # The peer cannot have acted on a head that was never complete.
            raise UpstreamFailed(TERMINATED_UNSENT, str(exc.strerror or "")) from exc

    async def _forward_interim(self, connection: UpstreamConnection, response: ResponseHead) -> None:
        connection.parser.next()
        if self._head.minor:
            try:
                await self._down.channel.send_all(encode_response(response))
            except OSError as exc:
                raise DownstreamGone(str(exc)) from exc

    async def _respond(self, connection: UpstreamConnection, response: ResponseHead, lines: bytes) -> bool:
        # Forward the response; from its first byte on nothing can be repeated any more.
        down, record, head, cluster, host = self._down, self._record, self._head, self._cluster, self._host
        assert host is not None
        channel, parser = down.channel, connection.parser
        now = down.proxy.deadlines.now()
        record.response = response
        record.response_started_at = now
        record.status = response.status
        record.details = "via_upstream"
        cluster.on_response(host, response.status, now)
        if response.status == 101:
            return await self._tunnel(connection, response, lines)
        upload = self._upload
        keep = head.keep_alive and not down.must_close and not down.is_draining
        keep = keep and (upload.is_done or upload.is_read)
        framing, head_framing = Framing.RAW, HeadFraming.KEEP
        if not head.minor and response.is_chunked and response.has_body:
            framing, head_framing, keep = Framing.DATA, HeadFraming.NONE, False
        elif response.is_until_close:
            if head.minor:
                framing, head_framing = Framing.CHUNKS, HeadFraming.CHUNKED
            else:
                keep = False
        edits = self._share.response_edits
        remove: tuple[bytes, ...] = ()
        if edits:
            remove = edits.remove
            lines += edits.lines(record)
        if self._route.cors is not None:
            lines += self._route.cors.response_lines(head)
        if keep:
            closing = b"" if head.minor else b"keep-alive"
        else:
            closing = b"close"
        data = encode_response(response, remove, lines, False, closing, head_framing)
        down.has_started = True
        is_whole = False
        try:
            if framing is Framing.RAW and upload.is_done:
                body = parser.body_raw()
                if isinstance(body, bytes):
                    data += body
                    record.bytes_sent = len(body)
                if parser.is_complete:
                    sent = self._send_some(data)
                    is_whole = sent == len(data)
                    data = data[sent:]
            if not is_whole:
                download = Download(connection, channel, framing, data)
                try:
                    await pump(down.parker, upload, download, connection.channel, channel, down.idle, down.idle_seconds(self._route))
                finally:
                    record.bytes_sent += download.sent
        except UpstreamFailed as exc:
            cluster.discard(host, connection)
            cluster.on_failure(host, down.proxy.deadlines.now())
            record.flag(exc.failure.flag)
            record.details = exc.failure.details
            record.transport_failure = exc.reason
            record.bytes_received = upload.received
            down.finish(record)
            channel.abort()
            return False
        except BaseException:
            cluster.discard(host, connection)
            record.bytes_received = upload.received
            raise
        record.trailers = parser.trailers
        record.bytes_received = upload.received
        now = down.proxy.deadlines.now()
        if response.keep_alive and upload.is_done and not upload.is_broken and not parser.buffered:
            parser.next()
            connection.learn_idle_limit(response.get(b"keep-alive"), now)
            cluster.release(host, connection, now)
        else:
            cluster.discard(host, connection)
        down.finish(record)
        if not upload.is_read:
            keep = False
        if keep:
            down.parser.next()
        else:
            await down.end(keep)
        return keep

    def _send_some(self, data: bytes) -> int:
        try:
            return max(0, self._down.channel.try_send(data))
        except OSError as exc:
            raise DownstreamGone(str(exc)) from exc

    async def _tunnel(self, connection: UpstreamConnection, response: ResponseHead, lines: bytes) -> bool:
        # RFC 9110 7.8: after 101 both sides speak something else; what was read too far belongs to it.
        down, record, host = self._down, self._record, self._host
        assert host is not None
        down.timeout.lift()
        edits = self._share.response_edits
        if edits:
            lines += edits.lines(record)
        data = encode_response(response, edits.remove if edits else (), lines, True)
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
        finally:
            self._cluster.discard(host, connection)
        record.bytes_sent = max(0, record.bytes_sent - len(data))
        down.finish(record)
        return False

    async def _give_up(self, failed: UpstreamFailed) -> bool:
        record = self._record
        if self._route.retry is not None and record.attempts > self._route.retry.attempts and record.attempts > 1:
            record.flag(Flag.UPSTREAM_RETRY_LIMIT)
        record.bytes_received = self._upload.received
        return await _answer(self._down, record, reply_for(failed.failure, failed.reason, record.attempts > 1))


def _ip(record: Record) -> str:
    return record.connection.remote.rpartition(":")[0].strip("[]")


