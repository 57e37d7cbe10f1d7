import logging
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing

from mesh.proxy.downstream_h1 import Downstream
from mesh.proxy.pipeline import Proxy
from tests.support.proxy import (
    Upstream,
    client,
    cluster,
    forward,
    listener,
    manager,
    read_all,
    read_head,
    routes,
    running,
    serving,
    snapshot,
)


async def test_a_bug_ends_one_connection_and_is_told_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def explode(self: object) -> None:
        raise ExceptionGroup("two at once", [ValueError("a"), KeyError("b")])

    config = snapshot(listener(manager(routes(forward("a")))), cluster("a", 1))
    async with running(config) as proxy:
        with monkeypatch.context() as patch, caplog.at_level(logging.ERROR):
            patch.setattr(Downstream, "serve", explode)
            async with client(proxy) as stream:
                await stream.send_all(b"GET / HTTP/1.1\r\n")
                with trio.fail_after(2):
                    try:
                        await read_all(stream)
                    except trio.BrokenResourceError:
                        pass  # closed with bytes unread
        assert proxy.crashes == 1 and len(caplog.records) == 1
        assert "on listener test" in caplog.records[0].getMessage()
        async with client(proxy) as stream:
            await stream.send_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert (await stream.receive_some(12)) == b"HTTP/1.1 503"
        proxy.crashes = 0  # `running` wants none but this one


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


async def answering(stream: trio.SocketStream, upstream: Upstream) -> None:
    while (await read_head(stream))[0]:
        await stream.send_all(OK)


async def ask(stream: trio.SocketStream, request: bytes = GET) -> bytes:
    await stream.send_all(request)
    head, body = await read_head(stream)
    while len(body) < 2:
        body += await stream.receive_some(2)
    return head + b"|" + body


def tasks(proxy: Proxy) -> int:
    assert proxy.listeners.nursery is not None
    return len(proxy.listeners.nursery.child_tasks)


@asynccontextmanager
async def warm(serve: Any = answering, **changes: Any) -> AsyncIterator[Proxy]:
    """A proxy with one idle connection to its only server: a plain request has nothing to wait for."""
    async with serving(serve) as upstream:
        one = forward("a", **changes.pop("route", {}))
        config = snapshot(listener(manager(routes(one), **changes)), cluster("a", upstream.port))
        async with running(config) as proxy:
            async with client(proxy) as stream:
                await ask(stream)
            with trio.fail_after(2):
                await proxy.drain.wait_idle()
            assert not tasks(proxy)
            yield proxy


async def test_plain_requests_need_no_task() -> None:
    async with warm() as proxy, client(proxy) as stream:
        for _ in range(3):
            assert (await ask(stream)).startswith(b"HTTP/1.1 200")
        assert (tasks(proxy), len(proxy.connections), len(proxy.downstreams)) == (0, 1, 1)
    assert (proxy.connections, proxy.downstreams) == (set(), set())


async def test_a_connection_for_one_request_needs_no_task_either() -> None:
    async with warm() as proxy, client(proxy) as stream:
        assert (await ask(stream, GET[:-2] + b"Connection: close\r\n\r\n")).endswith(b"|ok")
        with trio.fail_after(2):
            assert await stream.receive_some(1) == b""
        assert (tasks(proxy), proxy.connections, proxy.drain.outbound) == (0, set(), 0)


async def test_what_has_to_wait_gets_a_task_and_keeps_it() -> None:
    async with warm() as proxy, client(proxy) as stream:
        await stream.send_all(GET[:5])
        with trio.fail_after(2):
            while not tasks(proxy):
                await trio.testing.wait_all_tasks_blocked()
            assert (await ask(stream, GET[5:])).endswith(b"|ok")
            assert (await ask(stream)).endswith(b"|ok")
        assert tasks(proxy) == 1


async def test_an_idle_connection_without_a_task_is_closed() -> None:
    async with warm(idle_timeout_seconds=0.05) as proxy, client(proxy) as stream, client(proxy) as silent:
        assert (await ask(stream)).endswith(b"|ok")
        with trio.fail_after(2):
            assert (await stream.receive_some(1), await silent.receive_some(1)) == (b"", b"")
        assert (tasks(proxy), proxy.connections) == (0, set())


@pytest.mark.parametrize("has_task", [False, True])
async def test_without_an_idle_timeout_the_one_of_the_last_stream_is_over(has_task: bool) -> None:
    async with warm(idle_timeout_seconds=0.0, stream_idle_timeout_seconds=0.05) as proxy, client(proxy) as stream:
        if has_task:
            await stream.send_all(GET[:5])
            with trio.fail_after(2):
                while not tasks(proxy):
                    await trio.testing.wait_all_tasks_blocked()
        assert (await ask(stream, GET[5:] if has_task else GET)).endswith(b"|ok")
        (down,) = proxy.downstreams
        assert down.idle.at == math.inf and down.has_task is has_task
        assert (await ask(stream)).endswith(b"|ok")


async def test_a_deadline_finds_an_exchange_without_a_task() -> None:
    async def once(stream: trio.SocketStream, upstream: Upstream) -> None:
        await read_head(stream)
        await stream.send_all(OK)
        await read_head(stream)
        await stream.receive_some(1)

    async with warm(once, route={"timeout_seconds": 0.05}) as proxy, client(proxy) as stream:
        with trio.fail_after(2):
            await stream.send_all(GET)
            assert (await read_head(stream))[0].startswith(b"HTTP/1.1 504")
        (pool,) = proxy.current.clusters["a"].pools or (None,)
        assert pool is None or pool.open == 0
