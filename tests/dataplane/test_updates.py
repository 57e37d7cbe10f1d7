"""Configuration that changes under open connections: routes at once, filter chains by draining, as Envoy does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
import trio
import trio.testing

from mesh.model.listener import FilterChain, TcpProxy
from mesh.model.route import WeightedCluster
from mesh.model.snapshot import Snapshot
from mesh.proxy.pipeline import Proxy
from tests.support.proxy import (
    Upstream,
    client,
    cluster,
    forward,
    listener,
    manager,
    read_head,
    read_response,
    replying,
    routes,
    running,
    serving,
    snapshot,
)

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
UPGRADE = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"


def saying(word: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n" + word


@asynccontextmanager
async def two_apps() -> AsyncIterator[tuple[Upstream, Upstream]]:
    async with serving(replying(saying(b"a"))) as first, serving(replying(saying(b"b"))) as second:
        yield first, second


def config(first: Upstream, second: Upstream, **changes: object) -> Snapshot:
    return snapshot(listener(manager(routes(forward("a")), **changes)), cluster("a", first.port), cluster("b", second.port))


def changed(before: Snapshot, **changes: object) -> Snapshot:
    """The same with another HTTP manager: a changed chain."""
    model = before.listeners["test"]
    chain = replace(model.chains[0], filter=replace(model.chains[0].filter, **changes))
    return replace(before, listeners={"test": replace(model, chains=(chain,))})


async def ask(stream: trio.SocketStream) -> tuple[bytes, bool]:
    """(body, the connection goes on)"""
    await stream.send_all(GET)
    _, head, body, _ = await read_response(stream)
    return body, b"connection: close" not in head.lower()


async def test_routes_change_under_an_open_connection() -> None:
    async with two_apps() as (first, second):
        before = config(first, second, route_config=None, route_config_name="named")
        for_a, for_b = (replace(before, routes={"named": replace(routes(forward(name)), name="named")}) for name in "ab")
        async with running(for_a) as proxy, client(proxy) as stream:
            assert await ask(stream) == (b"a", True)
            assert proxy.apply(for_b) == {}
            assert await ask(stream) == (b"b", True)


async def test_a_changed_chain_says_close_with_its_next_answer() -> None:
    async with two_apps() as (first, second):
        before = config(first, second)
        async with running(before) as proxy, client(proxy) as stream:
            assert await ask(stream) == (b"a", True)
            assert proxy.apply(changed(before, route_config=routes(forward("b")))) == {}
            assert await ask(stream) == (b"a", False)
            with trio.fail_after(2):
                assert await stream.receive_some(1) == b""
            async with client(proxy) as again:
                assert await ask(again) == (b"b", True)


async def test_a_chain_that_stays_notices_nothing_of_its_neighbours() -> None:
    async with two_apps() as (first, second):
        before = config(first, second)
        model = before.listeners["test"]
        other = FilterChain(TcpProxy("other", (WeightedCluster("b"),)), replace(model.chains[0].match, destination_port=1))
        async with running(before) as proxy, client(proxy) as stream:
            assert await ask(stream) == (b"a", True)
            assert proxy.apply(replace(before, listeners={"test": replace(model, chains=(*model.chains, other))})) == {}
            assert await ask(stream) == (b"a", True)
            assert proxy.apply(before) == {}
            assert await ask(stream) == (b"a", True)


async def test_a_removed_listener_lets_its_connections_end() -> None:
    async with two_apps() as (first, second):
        before = config(first, second)
        async with running(before) as proxy, client(proxy) as stream, client(proxy) as silent:
            await ask(stream)
            assert proxy.apply(replace(before, listeners={})) == {}
            assert await ask(stream) == (b"a", False)
            with trio.fail_after(2):  # accepted before, first heard after it
                assert await ask(silent) == (b"a", False)


async def test_idle_connections_are_cut_after_the_drain_time() -> None:
    async with two_apps() as (first, second):
        before = config(first, second)
        async with running(before) as proxy, client(proxy) as used, client(proxy) as silent:
            proxy.drain.seconds = 0.05
            await ask(used)
            assert proxy.apply(changed(before, stat_prefix="other")) == {}
            with trio.fail_after(2):
                assert (await used.receive_some(1), await silent.receive_some(1)) == (b"", b"")


async def test_a_request_under_way_is_finished_whatever_the_drain_time() -> None:
    go_on = trio.Event()

    async def slow(stream: trio.SocketStream, upstream: Upstream) -> None:
        await read_head(stream)
        await go_on.wait()
        await stream.send_all(saying(b"a"))

    async with serving(slow) as first:
        before = config(first, first)
        async with running(before) as proxy, client(proxy) as stream:
            proxy.drain.seconds = 0.0
            await stream.send_all(GET)
            with trio.fail_after(2):
                while not first.connections:
                    await trio.testing.wait_all_tasks_blocked()
            assert proxy.apply(changed(before, stat_prefix="other")) == {}
            await trio.testing.wait_all_tasks_blocked(0.01)
            go_on.set()
            with trio.fail_after(2):
                status, head, body, _ = await read_response(stream)
            assert (status, body, b"connection: close" in head.lower()) == (200, b"a", True)


async def echo(stream: trio.SocketStream, _: Upstream) -> None:
    while data := await stream.receive_some(100):
        await stream.send_all(data)


async def websocket(stream: trio.SocketStream, upstream: Upstream) -> None:
    await read_head(stream)
    await stream.send_all(b"HTTP/1.1 101 Go\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
    await echo(stream, upstream)


async def cut_at_last(proxy: Proxy, stream: trio.SocketStream, after: Snapshot) -> None:
    """It lives on under the new configuration, and is cut when the drain time is over."""
    proxy.drain.seconds = 0.1
    started = trio.current_time()
    assert proxy.apply(after) == {}
    await stream.send_all(b"x")
    assert await stream.receive_some(1) == b"x"
    with trio.fail_after(2):
        try:
            assert await stream.receive_some(1) == b""
        except trio.BrokenResourceError:
            pass  # cut with RST
    assert trio.current_time() - started >= 0.1


async def test_opaque_connections_live_until_the_drain_time_is_over() -> None:
    async with serving(echo) as server:
        before = snapshot(listener(TcpProxy("t", (WeightedCluster("a"),))), cluster("a", server.port))
        after = snapshot(listener(TcpProxy("other", (WeightedCluster("a"),))), cluster("a", server.port))
        async with running(before) as proxy, client(proxy) as stream:
            await stream.send_all(b"x")
            assert await stream.receive_some(1) == b"x"
            await cut_at_last(proxy, stream, after)


@pytest.mark.parametrize("what", ["websocket"])
async def test_upgraded_connections_do_so_too(what: str) -> None:
    async with serving(websocket) as server:
        before = config(server, server, upgrades=(what,))
        async with running(before) as proxy, client(proxy) as stream:
            await stream.send_all(UPGRADE)
            assert (await read_head(stream))[0].startswith(b"HTTP/1.1 101")
            await cut_at_last(proxy, stream, changed(before, stat_prefix="other"))
