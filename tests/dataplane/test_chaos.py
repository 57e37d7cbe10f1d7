"""Peers that die: at every byte of a response, while idle, while connecting. Nothing is sent twice that must not be."""

from __future__ import annotations

import socket
import struct

import pytest
import trio

from mesh.codec.events import ProtocolError
from mesh.model.route import RetryPolicy
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

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody"
ALL = RetryPolicy(frozenset(("connect-failure", "refused-stream")), attempts=2, backoff_base_seconds=0.001)


def reset(stream: trio.SocketStream) -> None:
    """Close with RST."""
    stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream.socket.close()


@pytest.mark.parametrize("with_reset", [False, True])
@pytest.mark.parametrize("answer", [OK, CHUNKED])
async def test_a_post_is_seen_once_wherever_the_response_is_cut(answer: bytes, with_reset: bool) -> None:
    cut = 0

    async def serve(stream: trio.SocketStream, upstream: Upstream) -> None:
        head, rest = await read_head(stream)
        if not head:
            return
        while len(rest) < 4:
            rest += await stream.receive_some(100)
        upstream.requests.append(rest)
        if cut:
            await stream.send_all(answer[:cut])
        if with_reset:
            reset(stream)

    async with serving(serve) as upstream:
        config = snapshot(listener(manager(routes(forward("a", retry=ALL)))), cluster("a", upstream.port))
        async with running(config) as proxy:
            for cut in range(len(answer) + 1):
                upstream.requests.clear()
                async with client(proxy) as stream:
                    await stream.send_all(POST)
                    try:
                        with trio.fail_after(5):
                            status, _, body, _ = await read_response(stream)
                    except (ProtocolError, EOFError, trio.BrokenResourceError):
                        status, body = 0, b""
                if not with_reset:
                    # A reset may overtake bytes that were sent before it.
                    assert (status, body) == (200, b"ok") if cut == len(answer) else status in (0, 502, 503)
                assert upstream.requests == [b"body"], cut


async def test_a_get_survives_the_idle_race() -> None:
    """Every connection is closed right after its answer, but kept alive by its words."""

    async def serve(stream: trio.SocketStream, upstream: Upstream) -> None:
        await read_head(stream)
        await stream.send_all(OK)

    async with serving(serve) as upstream:
        config = snapshot(listener(manager(routes(forward("a")))), cluster("a", upstream.port))
        async with running(config) as proxy, client(proxy) as stream:
            for _ in range(200):
                await stream.send_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                assert (await read_response(stream))[0] == 200


async def test_a_server_that_closes_on_the_second_request_gets_a_post_once_and_a_get_again() -> None:
    async def serve(stream: trio.SocketStream, upstream: Upstream) -> None:
        for turn in range(2):
            head, _ = await read_head(stream)
            if not head:
                return
            upstream.requests.append(head[:4])
            if turn == 0:
                await stream.send_all(OK)

    async with serving(serve) as upstream:
        config = snapshot(listener(manager(routes(forward("a")))), cluster("a", upstream.port))
        async with running(config) as proxy, client(proxy) as stream:
            await stream.send_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert (await read_response(stream))[0] == 200
            await stream.send_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert (await read_response(stream))[0] == 200
            assert upstream.requests == [b"GET ", b"GET ", b"GET "] and upstream.connections == 2
            upstream.requests.clear()
            await stream.send_all(POST)
            status, _, body, _ = await read_response(stream)
            assert status == 503 and b"connection termination" in body
            assert upstream.requests == [b"POST"]


async def test_retries_go_to_other_hosts() -> None:
    with socket.socket() as dead:
        dead.bind(("127.0.0.1", 0))  # bound, not listening: refused
        async with serving(replying(OK)) as upstream:
            the_cluster = cluster("a", dead.getsockname()[1], upstream.port)
            config = snapshot(listener(manager(routes(forward("a", retry=ALL)))), the_cluster)
            async with running(config) as proxy, client(proxy) as stream:
                for _ in range(50):
                    await stream.send_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi")
                    assert (await read_response(stream))[0] == 200


async def test_a_body_that_is_replayed_is_whole() -> None:
    async def flaky(stream: trio.SocketStream, upstream: Upstream) -> None:
        head, rest = await read_head(stream)
        size = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        while len(rest) < size:
            rest += await stream.receive_some(65536)
        upstream.requests.append(rest)
        status = b"503 No" if len(upstream.requests) < 3 else b"200 OK"
        await stream.send_all(b"HTTP/1.1 %b\r\ncontent-length: 0\r\n\r\n" % status)

    policy = RetryPolicy(frozenset(("5xx",)), attempts=3, backoff_base_seconds=0.001)
    body = bytes(range(256)) * 200
    async with serving(flaky) as upstream:
        config = snapshot(listener(manager(routes(forward("a", retry=policy)))), cluster("a", upstream.port))
        async with running(config) as proxy, client(proxy) as stream:
            await stream.send_all(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            assert (await read_response(stream))[0] == 200
            assert upstream.requests == [body] * 3


@pytest.mark.parametrize("cut", range(0, 40, 3))
async def test_clients_that_die_leave_nothing_behind(cut: int) -> None:
    async with serving(replying(OK)) as upstream:
        config = snapshot(listener(manager(routes(forward("a")))), cluster("a", upstream.port))
        async with running(config) as proxy:
            async with client(proxy) as stream:
                await stream.send_all((b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 2)[:cut])
                if cut % 2:
                    reset(stream)
            with trio.fail_after(5):
                await proxy.drain.wait_idle()
            assert proxy.downstreams == set()
