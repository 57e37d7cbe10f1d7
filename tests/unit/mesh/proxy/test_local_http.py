from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio

from mesh.proxy import local_http
from mesh.proxy.local_http import Answer, FetchError, Handler, Request, as_json, fetch, serve, text


async def echo(request: Request) -> Answer:
    if request.path == "/boom":
        raise RuntimeError("boom")
    body = f"{request.method} {request.path} {sorted(request.query.items())} {request.body.decode()} {request.is_local}"
    return text(body)


@asynccontextmanager
async def serving(handler: Handler = echo) -> AsyncIterator[Callable[[], Awaitable[trio.SocketStream]]]:
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(serve, await trio.open_tcp_listeners(0, host="127.0.0.1"), handler))
        port = listeners[0].socket.getsockname()[1]
        yield partial(trio.open_tcp_stream, "127.0.0.1", port)
        nursery.cancel_scope.cancel()


async def answer_to(data: bytes, handler: Handler = echo) -> bytes:
    """What a connection says that sends `data` and closes its side."""
    async with serving(handler) as connect, await connect() as stream:
        await stream.send_all(data)
        await stream.send_eof()
        return b"".join([bytes(part) async for part in stream])


async def test_a_request_is_handed_over_whole() -> None:
    found = await answer_to(b"POST /a?x=1&y=%20 HTTP/1.1\r\nhost: h\r\ncontent-length: 2\r\nconnection: close\r\n\r\nhi")
    assert found.startswith(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: 40\r\n")
    assert b"connection: close\r\n" in found
    assert found.split(b"\r\n\r\n", 1)[1] == b"POST /a [('x', '1'), ('y', ' ')] hi True"


async def test_connections_are_kept_and_requests_may_be_pipelined() -> None:
    found = await answer_to(b"GET /1 HTTP/1.1\r\nhost: h\r\n\r\nGET /2 HTTP/1.1\r\nhost: h\r\n\r\n")
    assert found.count(b"HTTP/1.1 200 OK") == 2
    assert found.index(b"GET /1") < found.index(b"GET /2")


async def test_chunked_bodies_are_put_together() -> None:
    found = await answer_to(
        b"POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"
    )
    assert b" abc " in found


async def test_head_has_no_body() -> None:
    found = await answer_to(b"HEAD / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n")
    assert found.endswith(b"\r\n\r\n") and b"content-length: 1" in found


async def test_expect_is_answered() -> None:
    found = await answer_to(
        b"POST / HTTP/1.1\r\nhost: h\r\nexpect: 100-continue\r\ncontent-length: 1\r\nconnection: close\r\n\r\nx"
    )
    assert found.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK")


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", b"400"),
        (b"\x16\x03\x01\x00\x00", b"400"),
        (b"GET / HTTP/2.0\r\nhost: h\r\n\r\n", b"505"),
        (b"GET / HTTP/1.1\r\nhost: h\r\nx: " + b"y" * 20_000 + b"\r\n\r\n", b"431"),
        (b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 70000\r\n\r\n", b"413"),
        (b"POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n11800\r\n" + b"x" * 71_680, b"413"),
        (b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 5\r\n\r\nab", b"400"),
    ],
)
async def test_bad_requests_are_told_so_and_end(data: bytes, status: bytes) -> None:
    found = await answer_to(data)
    assert found.startswith(b"HTTP/1.1 " + status) and b"connection: close\r\n" in found
    assert len(found.split(b"\r\n\r\n", 1)[1]) > 3


async def test_a_failing_handler_is_a_500_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    found = await answer_to(b"GET /boom HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n")
    assert found.startswith(b"HTTP/1.1 500 ") and b"boom" not in found
    assert "GET /boom failed" in caplog.text and "RuntimeError: boom" in caplog.text


async def test_silent_connections_are_closed(autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    # A memory stream: the mock clock may only jump while nothing real is under way.
    client, server = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(local_http._serve_requests, server, echo, "127.0.0.1")
        await client.send_all(b"GET / HT")
        found = await client.receive_some()
    assert bytes(found).startswith(b"HTTP/1.1 408 ")
    assert trio.current_time() >= 10.0


async def test_connections_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_http, "_MAX_CONNECTIONS", 1)
    async with serving() as connect:
        first = await connect()
        await first.send_all(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n")
        assert bytes(await first.receive_some()).startswith(b"HTTP/1.1 200")
        async with await connect() as second:
            assert bytes(await second.receive_some()).startswith(b"HTTP/1.1 503")
        await first.aclose()


async def fetched(answer: bytes, max_body_bytes: int = 100) -> local_http.Fetched:
    client, server = trio.testing.memory_stream_pair()
    await server.send_all(answer)
    await server.send_eof()
    return await fetch(client, "h:1", "/p", b"x: y\r\n", max_body_bytes)


async def test_fetch_asks_politely() -> None:
    client, server = trio.testing.memory_stream_pair()
    await server.send_all(b"HTTP/1.1 200 OK\r\ncontent-type: a/b\r\ncontent-length: 2\r\n\r\nok")
    found = await fetch(client, "h:1", "/p", b"x: y\r\n")
    assert (found.status, found.content_type, found.body) == (200, "a/b", b"ok")
    assert bytes(await server.receive_some()) == b"GET /p HTTP/1.1\r\nhost: h:1\r\nconnection: close\r\nx: y\r\n\r\n"


async def test_fetch_reads_bodies_of_every_framing() -> None:
    bodies = [
        b"HTTP/1.1 200 OK\r\n\r\nuntil close",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nuntil\r\n6\r\n close\r\n0\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\nuntil close",
    ]
    assert [(await fetched(body)).body for body in bodies] == [b"until close"] * 3


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"", "closed without an answer"),
        (b"SSH-2.0-x\r\n", "malformed answer"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab", "malformed answer"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 101, "more than 100 bytes"),
    ],
)
async def test_bad_answers_are_errors_with_words(answer: bytes, words: str) -> None:
    with pytest.raises(FetchError, match=words):
        await fetched(answer)


def test_json_is_readable() -> None:
    assert as_json({"a": 1}) == Answer(200, b'{\n "a": 1\n}\n', "application/json")
