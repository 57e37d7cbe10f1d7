"""Mirror: fire-and-forget copies of requests. The original never waits for one, and never fails because of one.

A copy needs the whole body before it can be sent, so bodies up to 64 KiB are copied as they pass; larger or unbounded
ones are not mirrored, and counted. The copy's Host gets the suffix `-shadow` (Envoy), its answer is thrown away.
"""

from __future__ import annotations

import logging
import random
from copy import copy
from typing import TYPE_CHECKING

import trio

from mesh.codec.events import ProtocolError
from mesh.codec.h1 import RequestHead, encode_request
from mesh.proxy.compiled_route import CompiledMirror, CompiledRoute
from mesh.proxy.failures import NO_HEALTHY_UPSTREAM, TERMINATED, UpstreamFailed
from mesh.proxy.forwarded import forwarded_lines
from mesh.proxy.observe.record import Record
from mesh.proxy.poller import BIG_READ, Parker

if TYPE_CHECKING:
    from mesh.proxy.pipeline import Proxy
    from mesh.proxy.snapshots import HttpTerminal

_log = logging.getLogger(__name__)
_TIMEOUT_SECONDS = 15.0
_MAX_CONCURRENT = 256


class Mirrors:
    """The copies under way. sent, skipped, failed only grow: skipped are those too large or too many."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self.nursery: trio.Nursery | None = None
        self.active = 0
        self.sent = 0
        self.skipped = 0
        self.failed = 0

    def start(
        self, terminal: HttpTerminal, route: CompiledRoute, record: Record, head: RequestHead, body: bytes | None
    ) -> None:
        """Send the copies that the route draws. body: raw, with its framing; None: it was too large to be copied."""
        for mirror in route.mirrors:
            if not mirror.is_drawn(random.random):
                continue
            if body is None or self.active >= _MAX_CONCURRENT or self.nursery is None:
                self.skipped += 1
                continue
            self.active += 1
            self.nursery.start_soon(self._send, terminal, mirror, route, copy(record), head, body)

    async def _send(
        self,
        terminal: HttpTerminal,
        mirror: CompiledMirror,
        route: CompiledRoute,
        record: Record,
        head: RequestHead,
        body: bytes,
    ) -> None:
        try:
            with trio.move_on_after(_TIMEOUT_SECONDS) as scope:
                await self._exchange(terminal, mirror, route, record, head, body)
            if scope.cancelled_caught:
                self.failed += 1
            else:
                self.sent += 1
        except UpstreamFailed:
            self.failed += 1
        except Exception:
            # The boundary of a task nobody waits for.
            self.failed += 1
            _log.exception("mirror to %s", mirror.cluster)
        finally:
            self.active -= 1

    async def _exchange(
        self,
        terminal: HttpTerminal,
        mirror: CompiledMirror,
        route: CompiledRoute,
        record: Record,
        head: RequestHead,
        body: bytes,
    ) -> None:
        proxy = self._proxy
        now = proxy.deadlines.now()
        cluster = proxy.current.clusters.get(mirror.cluster)
        host = cluster.pick(now) if cluster is not None else None
        if cluster is None or host is None:
            raise UpstreamFailed(NO_HEALTHY_UPSTREAM)
        record.host = host
        remove, lines = forwarded_lines(record, terminal.manager)
        remove += terminal.observer.removals(record)
        lines += terminal.observer.lines(record)
        data = encode_request(head, route.rewritten_target(head), shadow(head.authority), remove, lines) + body
        parker = Parker()
        connection = await cluster.acquire(parker, host, now, None, False)
        channel, parser = connection.channel, connection.parser
        channel.parker = parker
        host.active += 1
        is_reusable = False
        try:
            await channel.send_all(data)
            response = None
            while response is None or not parser.is_complete:
                received = await channel.recv(BIG_READ)
                if received:
                    parser.feed(received)
                else:
                    parser.eof()
                if response is None:
                    response = parser.head(head.method)
                    if response is not None and response.is_interim:
                        parser.next()
                        response = None
                    if response is None and not received:
                        raise UpstreamFailed(TERMINATED)
                while response is not None and isinstance(parser.body_raw(), bytes):
                    pass  # an answer to a mirrored request is read only so that the connection can be used again
            is_reusable = response.keep_alive and not parser.buffered
        except (OSError, ProtocolError) as exc:
            raise UpstreamFailed(TERMINATED, str(exc)) from exc
        finally:
            host.active -= 1
            if is_reusable:
                parser.next()
                cluster.release(host, connection, proxy.deadlines.now())
            else:
                cluster.discard(host, connection)


def shadow(authority: bytes) -> bytes:
    """`reviews:9080` -> `reviews-shadow:9080`."""
    host, colon, port = authority.rpartition(b":")
    if colon and port.isdigit() and (b":" not in host or host.endswith(b"]")):
        return host + b"-shadow:" + port
    return authority + b"-shadow"
