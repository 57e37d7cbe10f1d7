from __future__ import annotations

import trio
import trio.testing

from mesh.sandbox.apiserver import relay


def test_head_keeps_names_as_written() -> None:
    assert relay.request_head("POST", "/exec?x=1", [(b"X-Stream-Version", b"v4")], "1.2.3.4:10250") == b"POST /exec?x=1 HTTP/1.1\r\nHost: 1.2.3.4:10250\r\nX-Stream-Version: v4\r\n\r\n"


async def test_bytes_go_both_ways_and_upstreams_last_words_arrive() -> None:
    client, our_client = trio.testing.memory_stream_pair()
    our_upstream, upstream = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(relay.run, our_client, our_upstream, b"head+early")
        assert await upstream.receive_some(100) == b"head+early"
        await client.send_all(b"to upstream")
        assert await upstream.receive_some(100) == b"to upstream"
        await upstream.send_all(b"last words")
        await upstream.aclose()
    data = b""
    while piece := await client.receive_some(100):
        data += piece
    assert data == b"last words"


async def test_client_that_leaves_ends_the_other_side() -> None:
    client, our_client = trio.testing.memory_stream_pair()
    our_upstream, upstream = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(relay.run, our_client, our_upstream, b"x")
        await upstream.receive_some(1)
        await client.aclose()
    assert await upstream.receive_some(1) == b""
