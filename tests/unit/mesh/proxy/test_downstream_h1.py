"""One client connection over its requests. Who gets a task, and when: test_connection; whole exchanges: tests/dataplane."""

import pytest
import trio
import trio.testing

from mesh.model.match import RouteMatch
from mesh.model.route import DirectResponse, Route
from mesh.proxy.pipeline import Proxy
from tests.support.proxy import (
    client,
    cluster,
    forward,
    listener,
    manager,
    read_all,
    read_head,
    routes,
    running,
    snapshot,
)

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
TEA = snapshot(listener(manager(routes(Route(RouteMatch(), DirectResponse(418, b"tea"))))), cluster("a", 1))


async def end(proxy: Proxy, *pieces: bytes) -> bytes:
    async with client(proxy) as stream:
        for piece in pieces:
            await stream.send_all(piece)
        with trio.fail_after(5):
            return await read_all(stream)


async def test_requests_are_answered_one_after_the_other_on_one_connection() -> None:
    async with running(TEA) as proxy:
        answers = await end(proxy, GET + GET, GET[:-2] + b"Connection: close\r\n\r\n")
        assert answers.count(b"HTTP/1.1 418 ") == answers.count(b"tea") == 3
        assert answers.count(b"connection: close\r\n") == 1


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", b"nonsense\r\n\r\n"])
async def test_malformed_bytes_are_told_and_end_the_connection(data: bytes) -> None:
    async with running(TEA) as proxy:
        answer = await end(proxy, data)
        assert answer.startswith(b"HTTP/1.1 400 ") and b"connection: close\r\n" in answer
        assert proxy.protocol_errors == 1


async def test_a_head_that_does_not_end_in_time_is_told_so() -> None:
    config = snapshot(listener(manager(routes(forward("a")), request_headers_timeout_seconds=0.05)), cluster("a", 1))
    async with running(config) as proxy:
        assert (await end(proxy, GET[:-2])).startswith(b"HTTP/1.1 408 ")


async def test_an_idle_connection_can_be_closed_and_a_busy_one_only_after_its_answer() -> None:
    async with running(TEA) as proxy, client(proxy) as idle, client(proxy) as busy:
        for stream in (idle, busy):
            await stream.send_all(GET)
            assert (await read_head(stream))[0].startswith(b"HTTP/1.1 418 ")
        await busy.send_all(GET[:10])
        with trio.fail_after(5):
            while all(down.parser.is_idle for down in proxy.downstreams):
                await trio.testing.wait_all_tasks_blocked()
            for down in tuple(proxy.downstreams):
                down.close_if_idle()
            assert await read_all(idle) in (b"", b"tea")
            await busy.send_all(GET[10:])
            assert b"HTTP/1.1 418 " in await read_all(busy)
