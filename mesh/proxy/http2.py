"""HTTP/2 with prior knowledge on an HTTP chain, until there is an HTTP/2 codec.

Routing needs the headers, which are compressed. Where the destination's routes leave no choice, the connection is
relayed as it is (so gRPC to a plain service works, balanced per connection); everywhere else the client is told at
once: GOAWAY with HTTP_1_1_REQUIRED (RFC 9113 7), never silence.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mesh.model.addr import Address
from mesh.model.listener import TcpProxy
from mesh.model.match import RouteMatch
from mesh.model.route import WeightedCluster
from mesh.proxy.compiled_route import ActionKind
from mesh.proxy.observe.record import Connection
from mesh.proxy.opaque import serve_opaque
from mesh.proxy.poller import SMALL_READ, Channel, Parker
from mesh.proxy.route import RouteTable
from mesh.proxy.snapshots import HttpTerminal

if TYPE_CHECKING:
    from mesh.proxy.pipeline import Proxy

_PREFACE_START = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_ENOUGH = 16
"""Octets of it that no HTTP/1 request begins with."""
_SETTINGS, _GOAWAY = 4, 7
_HTTP_1_1_REQUIRED = 0xD


def may_be_preface(data: bytes) -> bool:
    """The client's first bytes are HTTP/2's so far (RFC 9113 3.4)."""
    return _PREFACE_START.startswith(data[:_ENOUGH])


def is_preface(data: bytes) -> bool:
    """They are HTTP/2's, and there are enough of them to say so."""
    return data.startswith(_PREFACE_START[:_ENOUGH])


async def receive_preface(channel: Channel, data: bytes) -> bytes:
    """Receive until `is_preface` knows. Args: data: the bytes so far. Returns: the bytes then; b"": the client is gone.

    Raises: OSError: as the channel.
    """
    while len(data) < _ENOUGH and may_be_preface(data):
        more = await channel.recv(SMALL_READ)
        if not more:
            return b""
        data += more
    return data


@dataclass(frozen=True, slots=True)
class _Probe:
    """A request without properties: what it matches, everything matches."""

    authority: bytes
    method: bytes = b"POST"
    target: bytes = b"/"
    path: bytes = b"/"
    query: bytes = b""
    minor: int = 1

    def get(self, name: bytes, /) -> bytes | None:
        return None

    def get_all(self, name: bytes, /) -> list[bytes]:
        return []


def only_target(table: RouteTable, destination: Address) -> str | None:
    """The cluster that every request to this destination goes to unchanged; None when it depends on the request."""
    verdicts = table.explain(_Probe(str(destination).encode()))
    if len(verdicts) != 1 or verdicts[0].failed is not None:
        return None
    route = verdicts[0].route
    if route.kind is not ActionKind.FORWARD or route.source.match != RouteMatch() or route.has_filters:
        return None
    if len(route.shares) != 1 or route.rewritten_target(_Probe(b"")) is not None or route.host_rewrite is not None:
        return None
    return route.shares[0].cluster


async def serve_http2_preface(
    proxy: Proxy,
    terminal: HttpTerminal,
    channel: Channel,
    parker: Parker,
    connection: Connection,
    destination: Address,
    first: bytes,
) -> None:
    """Relay the connection or refuse it. Args: first: the client's bytes so far, the preface at their start."""
    table = terminal.table(proxy.current)
    cluster = only_target(table, destination) if table is not None else None
    if cluster is not None:
        target = TcpProxy(terminal.manager.stat_prefix, (WeightedCluster(cluster),))
        await serve_opaque(proxy, proxy.opaque(target, terminal), channel, parker, connection, destination, first)
        return
    try:
        await channel.send_all(refusal())
    except OSError:
        return  # the client did not stay to hear it
    channel.shutdown_send()


def refusal() -> bytes:
    """The server's preface (empty SETTINGS) and a GOAWAY that names the way out."""
    text = b"this proxy routes HTTP/1.1 only here"
    payload = struct.pack(">II", 0, _HTTP_1_1_REQUIRED) + text
    return _frame(_SETTINGS, b"") + _frame(_GOAWAY, payload)


def _frame(kind: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes((kind, 0)) + b"\0\0\0\0" + payload
