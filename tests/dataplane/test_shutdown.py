"""A server's pod that stops: its application is gone before its endpoint is. Two real proxies, and clients of all kinds."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
import trio

from mesh.model.addr import Address
from mesh.model.cluster import CircuitBreaker, Cluster
from mesh.model.endpoint import Endpoint, LoadAssignment, LocalityEndpoints
from mesh.model.listener import Direction
from mesh.model.route import RetryPolicy
from mesh.model.snapshot import Snapshot
from mesh.proxy.pipeline import Proxy
from tests.support.proxy import (
    Upstream,
    client,
    cluster,
    forward,
    listener,
    manager,
    port_of,
    read_head,
    read_response,
    replying,
    routes,
    running,
    serving,
    snapshot,
)

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
POST = b"POST /pay HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nmoney"
HEADER = b"x-triomesh-unprocessed"


async def paid(stream: trio.SocketStream, upstream: Upstream) -> None:
    """Takes POSTs of five bytes, and keeps those."""
    while True:
        head, body = await read_head(stream)
        if not head:
            return
        while len(body) < 5:
            body += await stream.receive_some(5)
        upstream.requests.append(body)
        await stream.send_all(OK)


async def free_port() -> int:
    """Where nobody listens: as an application that has stopped."""
    with trio.socket.socket() as sock:
        await sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def inbound(app_port: int) -> Snapshot:
    model = listener(manager(routes(forward("app"))), Direction.INBOUND)
    return snapshot(model, cluster("app", app_port))


def outbound(*ports: int, is_meshed: bool = True, route: dict[str, object] | None = None, **changes: object) -> Snapshot:
    endpoints = tuple(Endpoint(Address("127.0.0.1", port), is_meshed=is_meshed) for port in ports)
    servers: Cluster = replace(cluster("a"), assignment=LoadAssignment("a", (LocalityEndpoints(endpoints),)), **changes)
    return snapshot(listener(manager(routes(forward("a", **(route or {}))))), servers)


@asynccontextmanager
async def half_stopped() -> AsyncIterator[tuple[Upstream, Proxy, Proxy]]:
    """A living application, its proxy, and the proxy of one that has stopped."""
    async with serving(paid) as app, running(inbound(app.port)) as alive, running(inbound(await free_port())) as stopped:
        yield app, alive, stopped


async def posts(proxy: Proxy, count: int) -> list[int]:
    statuses = []
    async with client(proxy) as stream:
        for _ in range(count):
            await stream.send_all(POST)
            status, headers, _, _ = await read_response(stream)
            assert HEADER not in headers
            statuses.append(status)
    return statuses


async def test_no_request_is_lost_to_an_application_that_stopped_first() -> None:
    async with half_stopped() as (app, alive, stopped):
        async with running(outbound(port_of(alive), port_of(stopped))) as proxy:
            assert await posts(proxy, 40) == [200] * 40
            assert app.requests == [b"money"] * 40
            assert b'response_code="503"' in stopped.telemetry.expose(1.0)  # it was asked, too


@pytest.mark.parametrize("is_draining", [False, True])
async def test_the_servers_proxy_may_be_draining_or_not_know_it_yet(is_draining: bool) -> None:
    async with half_stopped() as (_app, alive, stopped):
        if is_draining:
            stopped.drain.begin()
        policy = RetryPolicy((), attempts=0)
        async with running(outbound(port_of(stopped), port_of(alive), route={"retry": policy})) as proxy:
            assert await posts(proxy, 20) == [200] * 20


async def test_with_no_other_endpoint_the_client_gets_the_answer_without_the_header() -> None:
    async with running(inbound(await free_port())) as stopped, running(outbound(port_of(stopped))) as proxy:
        assert await posts(proxy, 3) == [503] * 3


async def test_the_retry_budget_is_kept() -> None:
    async with half_stopped() as (app, alive, stopped):
        none = CircuitBreaker(max_retries=0)
        async with running(outbound(port_of(stopped), port_of(alive), circuit_breaker=none)) as proxy:
            statuses = await posts(proxy, 30)
            assert 503 in statuses and statuses.count(200) == len(app.requests)


@pytest.mark.parametrize("lines", [b"", b"x-envoy-peer-metadata: CgA=\r\n"], ids=["a stranger", "another mesh's proxy"])
async def test_strangers_do_not_see_the_header(lines: bytes) -> None:
    async with running(inbound(await free_port())) as stopped, client(stopped) as stream:
        await stream.send_all(POST.replace(b"\r\n\r\n", b"\r\n" + lines + b"\r\n", 1))
        status, headers, _, _ = await read_response(stream)
        assert (status, HEADER in headers) == (503, False)


@pytest.mark.parametrize("is_meshed", [True, False])
async def test_what_applications_say_about_it_is_not_believed(is_meshed: bool) -> None:
    lie = b"HTTP/1.1 503 No\r\nx-triomesh-unprocessed: true\r\ncontent-length: 2\r\n\r\nno"
    async with serving(replying(lie)) as first, serving(replying(lie)) as second:
        async with running(inbound(first.port)) as one, running(inbound(second.port)) as two:
            ports = (port_of(one), port_of(two)) if is_meshed else (first.port, second.port)
            async with running(outbound(*ports, is_meshed=is_meshed)) as proxy:
                assert await posts(proxy, 4) == [503] * 4
    assert len(first.requests) + len(second.requests) == 4


async def test_a_request_that_the_application_may_have_seen_is_not_repeated() -> None:
    async def die(stream: trio.SocketStream, upstream: Upstream) -> None:
        upstream.requests.append(await stream.receive_some(65536))

    async with serving(die) as first, serving(die) as second:
        async with running(inbound(first.port)) as one, running(inbound(second.port)) as two:
            async with running(outbound(port_of(one), port_of(two))) as proxy:
                assert await posts(proxy, 4) == [503] * 4
    assert len(first.requests) + len(second.requests) == 4
