"""A real data plane on 127.0.0.1 for tests: configuration by a few words, upstream servers as trio tasks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import trio

from mesh.model.addr import Address
from mesh.model.cluster import Cluster, Discovery
from mesh.model.endpoint import Endpoint, LoadAssignment, LocalityEndpoints
from mesh.model.listener import Direction, FilterChain, HttpManager, Listener, TcpProxy
from mesh.model.match import RouteMatch
from mesh.model.route import ForwardAction, Route, RouteConfig, VirtualHost, WeightedCluster
from mesh.model.snapshot import Snapshot
from mesh.proxy.observe.telemetry import Telemetry, TelemetrySettings
from mesh.proxy.pipeline import Proxy

Serve = Callable[[trio.SocketStream], Awaitable[None]]


def cluster(name: str, *ports: int, **changes: object) -> Cluster:
    """A STATIC cluster of ports on 127.0.0.1."""
    endpoints = tuple(Endpoint(Address("127.0.0.1", port)) for port in ports)
    assignment = LoadAssignment(name, (LocalityEndpoints(endpoints),))
    return replace(Cluster(name, Discovery.STATIC, assignment=assignment), **changes)  # type: ignore[arg-type]


def routes(*items: Route) -> RouteConfig:
    return RouteConfig("test", (VirtualHost("all", ("*",), items),))


def forward(name: str, **changes: object) -> Route:
    return Route(RouteMatch(), ForwardAction((WeightedCluster(name),), **changes))  # type: ignore[arg-type]


def manager(config: RouteConfig, **changes: object) -> HttpManager:
    return replace(HttpManager("test", route_config=config), **changes)  # type: ignore[arg-type]


def listener(
    terminal: HttpManager | TcpProxy, direction: Direction = Direction.OUTBOUND, **changes: object
) -> Listener:
    """A bound listener on a port of the kernel's choice."""
    plain = Listener("test", Address("127.0.0.1", 0), (FilterChain(terminal),), direction=direction)
    return replace(plain, **changes)  # type: ignore[arg-type]


def snapshot(the_listener: Listener, *clusters: Cluster) -> Snapshot:
    return Snapshot({item.name: item for item in clusters}, {}, {the_listener.name: the_listener}, {}, {})


@asynccontextmanager
async def running(config: Snapshot) -> AsyncIterator[Proxy]:
    """A proxy that serves `config`."""
    proxy = Proxy(
        Telemetry("sidecar~127.0.0.1~test.default~default.svc.cluster.local", {}, TelemetrySettings(), "test")
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(proxy.run)
        assert proxy.apply(config) == {}
        try:
            yield proxy
        finally:
            nursery.cancel_scope.cancel()
    assert proxy.crashes == 0


def port_of(proxy: Proxy, name: str = "test") -> int:
    return proxy.listeners.addresses(name)[0].port


@asynccontextmanager
async def client(proxy: Proxy, name: str = "test") -> AsyncIterator[trio.SocketStream]:
    """A client's connection to a listener."""
    async with await trio.open_tcp_stream("127.0.0.1", port_of(proxy, name)) as stream:
        yield stream


@dataclass
class Upstream:
    """A server. `requests` and `connections` count."""

    port: int
    connections: int = 0
    requests: list[bytes] = field(default_factory=list)


@asynccontextmanager
async def serving(serve: Callable[[trio.SocketStream, Upstream], Awaitable[None]]) -> AsyncIterator[Upstream]:
    """Each connection is handled by `serve`, and closed when that returns."""
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    upstream = Upstream(listeners[0].socket.getsockname()[1])

    async def handle(stream: trio.SocketStream) -> None:
        upstream.connections += 1
        try:
            await serve(stream, upstream)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the proxy closed first, which many tests want

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, handle, listeners)
        try:
            yield upstream
        finally:
            nursery.cancel_scope.cancel()


async def read_head(stream: trio.SocketStream) -> tuple[bytes, bytes]:
    """(head with its blank line, what came after it); (b"", b"") at the end of the stream."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = await stream.receive_some(65536)
        if not more:
            return b"", data
        data += more
    head, _, rest = data.partition(b"\r\n\r\n")
    return head + b"\r\n\r\n", rest


async def read_all(stream: trio.SocketStream) -> bytes:
    parts: list[bytes] = []
    while more := await stream.receive_some(65536):
        parts.append(more)
    return b"".join(parts)


def replying(response: bytes) -> Callable[[trio.SocketStream, Upstream], Awaitable[None]]:
    """A keep-alive server that answers every (body-less) request with the same bytes."""

    async def serve(stream: trio.SocketStream, upstream: Upstream) -> None:
        buffer = b""
        while True:
            while b"\r\n\r\n" in buffer:
                head, _, buffer = buffer.partition(b"\r\n\r\n")
                upstream.requests.append(head + b"\r\n\r\n")
                await stream.send_all(response)
            more = await stream.receive_some(65536)
            if not more:
                return
            buffer += more

    return serve


async def read_response(
    stream: trio.SocketStream, rest: bytes = b"", method: bytes = b"GET"
) -> tuple[int, bytes, bytes, bytes]:
    """(status, head, body without chunk framing, what came after it) of one response."""
    from mesh.codec.h1 import ResponseParser

    parser = ResponseParser()
    if rest:
        parser.feed(rest)
    while (head := parser.head(method)) is None:
        more = await stream.receive_some(65536)
        if not more:
            raise EOFError("closed before a response")
        parser.feed(more)
    body = b""
    while not parser.is_complete:
        run = parser.body_data()
        if isinstance(run, bytes):
            body += run
        elif run is None:
            more = await stream.receive_some(65536)
            if more:
                parser.feed(more)
            else:
                parser.eof()
    return head.status, head.raw, body, parser.leftover()


def many(names: Sequence[str]) -> tuple[WeightedCluster, ...]:
    return tuple(WeightedCluster(name) for name in names)
