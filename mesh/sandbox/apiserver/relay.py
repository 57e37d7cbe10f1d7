"""Relay: after an upgrade, bytes both ways, unread. WebSocket, SPDY or what else the two ends agree on is their business."""

from __future__ import annotations

from collections.abc import Iterable

import trio

RELAY_BYTES = 65536


def request_head(method: str, target: str, headers: Iterable[tuple[bytes, bytes]], host: str) -> bytes:
    """A request's head, as h1 bytes, with the client's own headers (names as it wrote them)."""
    lines = [f"{method} {target} HTTP/1.1".encode("latin-1"), b"Host: " + host.encode()]
    lines += [name + b": " + value for name, value in headers]
    return b"\r\n".join(lines) + b"\r\n\r\n"


async def run(client: trio.abc.Stream, upstream: trio.abc.Stream, first: bytes) -> None:
    """Send `first` upstream, then copy both ways until both ends are done. Closes: both.

    A client that leaves ends everything: TLS has no half-close, and an exec without a terminal must not outlive its client. When
    upstream ends, its last bytes have already been written to the client.
    """
    try:
        async with trio.open_nursery() as nursery:
            await upstream.send_all(first)
            nursery.start_soon(_copy, client, upstream, nursery.cancel_scope)
            nursery.start_soon(_copy, upstream, client, nursery.cancel_scope)
    finally:
        with trio.move_on_after(1) as scope:
            scope.shield = True
            await trio.aclose_forcefully(upstream)
            await client.aclose()


async def _copy(source: trio.abc.Stream, sink: trio.abc.Stream, scope: trio.CancelScope) -> None:
    try:
        while data := await source.receive_some(RELAY_BYTES):
            await sink.send_all(data)
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass  # either end broke off: the same as its leaving
    scope.cancel()
