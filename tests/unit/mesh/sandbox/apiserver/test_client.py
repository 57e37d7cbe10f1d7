from __future__ import annotations

import pytest
import trio
import trio.testing

from mesh.sandbox.apiserver.client import ExchangeError, connect, exchange


async def answered(answer: bytes) -> tuple[trio.abc.Stream, trio.testing.MemorySendStream]:
    """Our end of a connection whose peer has already said `answer`, and what we send."""
    ours, theirs = trio.testing.memory_stream_pair()
    await theirs.send_all(answer)
    await theirs.send_eof()
    return ours, theirs  # type: ignore[return-value]


async def test_exchange_sends_one_request_and_streams_the_answer() -> None:
    ours, theirs = await answered(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nX-A: b\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n")
    answer = await exchange(ours, "POST", "/x?y", [("host", "h")], b"body")
    assert (answer.status, answer.header("x-a"), answer.header("none")) == (200, "b", "")
    assert [piece async for piece in answer.body()] == [b"ab", b"c"]
    sent = bytes(await theirs.receive_some(4096))  # type: ignore[attr-defined]
    assert sent == b"POST /x?y HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-length: 4\r\n\r\nbody"


@pytest.mark.parametrize("said", [b"", b"rubbish\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort"])
async def test_broken_answers_are_errors(said: bytes) -> None:
    ours, _ = await answered(said)
    with pytest.raises(ExchangeError):
        await (await exchange(ours, "GET", "/", [("host", "h")])).read(100)


async def test_answer_has_a_limit() -> None:
    ours, _ = await answered(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabcde")
    answer = await exchange(ours, "GET", "/", [("host", "h")])
    with pytest.raises(ExchangeError, match="longer than 4"):
        await answer.read(4)


async def test_connect_plain() -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    stream = await connect("127.0.0.1", listeners[0].socket.getsockname()[1])
    await stream.aclose()
    for listener in listeners:
        await listener.aclose()
