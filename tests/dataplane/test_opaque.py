"""Opaque connections and protocol detection."""

from __future__ import annotations

import hashlib

import pytest
import trio

from mesh.model.listener import ChainMatch, FilterChain, ListenerFilter, TcpProxy
from mesh.model.route import WeightedCluster
from mesh.model.snapshot import Snapshot
from tests.support.proxy import (
    Upstream,
    client,
    cluster,
    forward,
    listener,
    manager,
    read_all,
    read_response,
    replying,
    routes,
    running,
    serving,
    snapshot,
)

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


def tcp(name: str) -> TcpProxy:
    return TcpProxy("test", (WeightedCluster(name),))


def detecting(http: Upstream, opaque: Upstream) -> Snapshot:
    """HTTP/1 goes to one upstream, everything else to the other."""
    chains = (
        FilterChain(manager(routes(forward("http"))), ChainMatch(application_protocols=("http/1.0", "http/1.1"))),
        FilterChain(tcp("opaque")),
    )
    inspectors = frozenset((ListenerFilter.HTTP_INSPECTOR, ListenerFilter.TLS_INSPECTOR))
    return snapshot(
        listener(tcp("opaque"), chains=chains, filters=inspectors),
        cluster("http", http.port),
        cluster("opaque", opaque.port),
    )


async def test_half_closes_travel_one_by_one() -> None:
    async def serve(stream: trio.SocketStream, upstream: Upstream) -> None:
        data = await read_all(stream)
        await stream.send_all(data[::-1])

    async with serving(serve) as upstream:
        async with running(snapshot(listener(tcp("a")), cluster("a", upstream.port))) as proxy, client(proxy) as stream:
            await stream.send_all(b"abc")
            await stream.send_eof()
            assert await read_all(stream) == b"cba"


async def test_megabytes_arrive_whole_both_ways_at_once() -> None:
    size = 64 << 20
    block = hashlib.sha256(b"x").digest() * 8192
    expected = hashlib.sha256()
    for _ in range(size // len(block)):
        expected.update(block)

    async def pour(stream: trio.SocketStream) -> None:
        for _ in range(size // len(block)):
            await stream.send_all(block)
        await stream.send_eof()

    async def drain(stream: trio.SocketStream) -> str:
        digest = hashlib.sha256()
        while data := await stream.receive_some(1 << 20):
            digest.update(data)
        return digest.hexdigest()

    received = trio.Event()

    async def serve(stream: trio.SocketStream, upstream: Upstream) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pour, stream)
            upstream.requests.append((await drain(stream)).encode())
            received.set()

    async with serving(serve) as upstream:
        async with running(snapshot(listener(tcp("a")), cluster("a", upstream.port))) as proxy, client(proxy) as stream:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(pour, stream)
                assert await drain(stream) == expected.hexdigest()
            with trio.fail_after(5):
                await proxy.drain.wait_idle()
                await received.wait()
            assert upstream.requests == [expected.hexdigest().encode()]


async def test_a_server_that_speaks_first_is_heard_at_once() -> None:
    async def mysql(stream: trio.SocketStream, upstream: Upstream) -> None:
        await stream.send_all(b"\x4a\x00\x00\x00\x0a8.0")
        await stream.send_all(b"<" + await stream.receive_some(100) + b">")

    async with serving(mysql) as opaque, serving(replying(OK)) as http:
        async with running(detecting(http, opaque)) as proxy, client(proxy) as stream:
            with trio.fail_after(1):
                greeting = b""
                while len(greeting) < 8:
                    greeting += await stream.receive_some(100)
            assert greeting == b"\x4a\x00\x00\x00\x0a8.0"
            await stream.send_all(b"login")
            assert await stream.receive_some(100) == b"<login>"


async def test_http_is_detected_even_when_it_comes_byte_by_byte() -> None:
    async with serving(replying(b"")) as opaque, serving(replying(OK)) as http:
        async with running(detecting(http, opaque)) as proxy, client(proxy) as stream:
            for byte in b"GET / HTTP/1.1\r\nHost: a\r\n\r\n":
                await stream.send_all(bytes((byte,)))
                await trio.testing.wait_all_tasks_blocked()
            assert (await read_response(stream))[2] == b"ok"
            assert opaque.requests == []


@pytest.mark.parametrize("first", [b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", b"QUIT\n", b"\x00"])
async def test_what_is_not_http_is_relayed_from_its_first_byte(first: bytes) -> None:
    async def echo(stream: trio.SocketStream, upstream: Upstream) -> None:
        while data := await stream.receive_some(100):
            await stream.send_all(data)

    async with serving(echo) as opaque, serving(replying(OK)) as http:
        async with running(detecting(http, opaque)) as proxy, client(proxy) as stream:
            await stream.send_all(first)
            await stream.send_eof()
            assert await read_all(stream) == first


async def test_a_dead_opaque_upstream_does_not_hide_http() -> None:
    async with serving(replying(OK)) as http:
        async with running(detecting(http, Upstream(1))) as proxy, client(proxy) as stream:
            await trio.testing.wait_all_tasks_blocked(0.05)
            await stream.send_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert (await read_response(stream))[2] == b"ok"


async def test_http2_with_prior_knowledge_is_relayed_when_nothing_depends_on_the_request() -> None:
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

    async def echo(stream: trio.SocketStream, upstream: Upstream) -> None:
        await stream.send_all(await stream.receive_some(1000))

    async with serving(echo) as upstream:
        config = snapshot(listener(manager(routes(forward("a")))), cluster("a", upstream.port))
        async with running(config) as proxy, client(proxy) as stream:
            await stream.send_all(preface[:5])
            await trio.testing.wait_all_tasks_blocked(0.02)
            await stream.send_all(preface[5:])
            received = b""
            while len(received) < len(preface):
                received += await stream.receive_some(100)
            assert received == preface


async def test_http2_is_told_to_use_http1_where_routes_depend_on_the_request() -> None:
    from mesh.model.match import PathMatch, RouteMatch
    from mesh.model.route import DirectResponse, Route

    special = Route(RouteMatch(PathMatch(value="/special")), DirectResponse(200))
    async with running(snapshot(listener(manager(routes(special, forward("a")))), cluster("a", 1))) as proxy:
        async with client(proxy) as stream:
            await stream.send_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            data = await read_all(stream)
            assert data[:9] == b"\0\0\0\4\0\0\0\0\0" and data[12] == 7 and data[22:26] == b"\0\0\0\x0d"
