"""HTTP/1 through a real proxy: what is forwarded, how it is framed, and which connections live on."""

from __future__ import annotations

import pytest
import trio

from mesh.codec.events import ProtocolError
from mesh.model.listener import Direction
from mesh.model.snapshot import Snapshot
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
    read_response,
    replying,
    routes,
    running,
    serving,
    snapshot,
)

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def to(upstream: Upstream, direction: Direction = Direction.OUTBOUND, **manager_changes: object) -> Snapshot:
    """A proxy configuration that forwards everything to one upstream."""
    config = routes(forward("a"))
    return snapshot(listener(manager(config, **manager_changes), direction), cluster("a", upstream.port))


async def test_keep_alive_connections_are_reused_on_both_sides() -> None:
    async with serving(replying(OK)) as upstream, running(to(upstream)) as proxy, client(proxy) as stream:
        for _ in range(3):
            await stream.send_all(b"GET /x?y=1 HTTP/1.1\r\nHost: a\r\nX-Two: 2\r\n\r\n")
            status, _, body, rest = await read_response(stream)
            assert (status, body, rest) == (200, b"ok", b"")
        assert upstream.connections == 1
        assert upstream.requests[0].startswith(b"GET /x?y=1 HTTP/1.1\r\nHost: a\r\nX-Two: 2\r\n")


async def test_pipelined_requests_are_answered_in_order() -> None:
    async def echo_path(stream: trio.SocketStream, upstream: Upstream) -> None:
        while True:
            head, _ = await read_head(stream)
            if not head:
                return
            path = head.split(b" ")[1]
            await stream.send_all(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(path), path))

    async with serving(echo_path) as upstream, running(to(upstream)) as proxy, client(proxy) as stream:
        await stream.send_all(b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % i for i in range(20)))
        rest = b""
        for i in range(20):
            _, _, body, rest = await read_response(stream, rest)
            assert body == b"/%d" % i


@pytest.mark.parametrize(
    ("response", "body"),
    [
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", b"abcde"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1;x=y\r\na\r\n0\r\ntrail: er\r\n\r\n", b"a"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HTTP/1.1 304 Not Modified\r\ncontent-length: 77\r\n\r\n", b""),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", b""),
        (b"HTTP/1.0 200 OK\r\ncontent-length: 1\r\nconnection: keep-alive\r\n\r\nz", b"z"),
        (b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nq", None),
    ],
)
async def test_framing_survives_and_the_connection_lives_on(response: bytes, body: bytes | None) -> None:
    async with serving(replying(response)) as upstream, running(to(upstream)) as proxy, client(proxy) as stream:
        for _ in range(2):
            await stream.send_all(GET)
            status, _, got, rest = await read_response(stream)
            if body is None:
                assert status == 103
                status, _, got, rest = await read_response(stream, rest)
                body_expected = b"q"
            else:
                body_expected = body
            assert (got, rest) == (body_expected, b"")


async def test_head_has_no_body_whatever_its_length_says() -> None:
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n"
    async with serving(replying(answer)) as upstream, running(to(upstream)) as proxy, client(proxy) as stream:
        for _ in range(2):
            await stream.send_all(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
            _, head, body, rest = await read_response(stream, method=b"HEAD")
            assert b"content-length: 1000\r\n" in head and body == rest == b""
        assert upstream.connections == 1


async def test_until_close_becomes_chunked_so_that_the_client_can_go_on() -> None:
    async def serve(stream: trio.SocketStream, upstream: Upstream) -> None:
        await read_head(stream)
        await stream.send_all(b"HTTP/1.1 200 OK\r\n\r\nabc")

    async with serving(serve) as upstream, running(to(upstream)) as proxy, client(proxy) as stream:
        for _ in range(2):
            await stream.send_all(GET)
            _, head, body, rest = await read_response(stream)
            assert b"transfer-encoding: chunked" in head.lower() and (body, rest) == (b"abc", b"")


async def test_http_10_clients_get_plain_bodies_and_a_close() -> None:
    answer = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    async with serving(replying(answer)) as upstream, running(to(upstream)) as proxy, client(proxy) as stream:
        await stream.send_all(b"GET / HTTP/1.0\r\n\r\n")
        head, _, body = (await read_all(stream)).partition(b"\r\n\r\n")
        assert b"chunked" not in head.lower() and b"connection: close" in head.lower() and body == b"abc"
        assert b"HTTP/1.1\r\nHost: \r\n" in upstream.requests[0]


async def test_http_10_keep_alive_is_honoured_when_the_length_is_known() -> None:
    async with serving(replying(OK)) as upstream, running(to(upstream)) as proxy, client(proxy) as stream:
        for _ in range(2):
            await stream.send_all(b"GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n")
            _, head, body, _ = await read_response(stream)
            assert b"connection: keep-alive" in head.lower() and body == b"ok"


async def test_request_bodies_are_streamed_with_their_framing() -> None:
    received = bytearray()

    async def serve(stream: trio.SocketStream, upstream: Upstream) -> None:
        _, rest = await read_head(stream)
        received.extend(rest)
        while not received.endswith(b"0\r\nx: y\r\n\r\n"):
            received.extend(await stream.receive_some(65536))
        await stream.send_all(OK)

    async with serving(serve) as upstream, running(to(upstream)) as proxy, client(proxy) as stream:
        await stream.send_all(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        await trio.testing.wait_all_tasks_blocked(0.02)
        await stream.send_all(b"4\r\ndefg\r\n0\r\nx: y\r\n\r\n")
        assert (await read_response(stream))[2] == b"ok"
    assert bytes(received) == b"3\r\nabc\r\n4\r\ndefg\r\n0\r\nx: y\r\n\r\n"


async def test_expect_continue_is_answered_by_the_server() -> None:
    async def serve(stream: trio.SocketStream, upstream: Upstream) -> None:
        head, _ = await read_head(stream)
        assert b"expect: 100-continue" in head.lower()
        await stream.send_all(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert await stream.receive_some(100) == b"body"
        await stream.send_all(OK)

    async with serving(serve) as upstream, running(to(upstream)) as proxy, client(proxy) as stream:
        await stream.send_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
        assert (await read_response(stream))[0] == 100
        await stream.send_all(b"body")
        assert (await read_response(stream))[2] == b"ok"


async def test_an_early_answer_reaches_a_client_that_is_still_uploading() -> None:
    async def serve(stream: trio.SocketStream, upstream: Upstream) -> None:
        await read_head(stream)
        await stream.send_all(b"HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\nconnection: close\r\n\r\nbig")
        await stream.wait_send_all_might_not_block()

    async with serving(serve) as upstream, running(to(upstream)) as proxy, client(proxy) as stream:
        await stream.send_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n")
        async with trio.open_nursery() as nursery:

            async def upload() -> None:
                try:
                    while True:
                        await stream.send_all(bytes(65536))
                except trio.BrokenResourceError:
                    pass  # that is the point: nobody reads on for ever

            nursery.start_soon(upload)
            status, head, body, _ = await read_response(stream)
            assert (status, body) == (413, b"big") and b"connection: close" in head.lower()
            nursery.cancel_scope.cancel()


async def test_a_response_that_streams_while_the_request_does() -> None:
    async def echo(stream: trio.SocketStream, upstream: Upstream) -> None:
        _, rest = await read_head(stream)
        await stream.send_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n" + rest)
        for _ in range(10 - len(rest)):
            await stream.send_all(await stream.receive_some(1))

    async with serving(echo) as upstream, running(to(upstream)) as proxy, client(proxy) as stream:
        await stream.send_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n")
        head, rest = await read_head(stream)
        assert head.startswith(b"HTTP/1.1 200")
        for i in range(10):
            await stream.send_all(b"%d" % i)
            rest = rest or await stream.receive_some(1)
            assert rest == b"%d" % i
            rest = b""


async def test_upgraded_connections_carry_bytes_both_ways_and_end_with_half_closes() -> None:
    async def serve(stream: trio.SocketStream, upstream: Upstream) -> None:
        head, rest = await read_head(stream)
        assert b"upgrade: websocket\r\n" in head.lower() and b"connection: upgrade\r\n" in head.lower()
        await stream.send_all(
            b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\nhello"
        )
        data = rest + await read_all(stream)
        await stream.send_all(data.upper())

    async with serving(serve) as upstream, running(to(upstream)) as proxy, client(proxy) as stream:
        await stream.send_all(
            b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\nearly "
        )
        head, rest = await read_head(stream)
        assert head.startswith(b"HTTP/1.1 101") and b"upgrade: websocket" in head.lower()
        while rest != b"hello":
            rest += await stream.receive_some(100)
        await stream.send_all(b"late")
        await stream.send_eof()
        assert await read_all(stream) == b"EARLY LATE"


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        (b"\x00\x01\x02\x03", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"GET /" + b"a" * 70000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"x: y\r\n" * 200 + b"\r\n", 431),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nnope\r\n", 400),
        (b"GET /%00x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", 405),
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: smtp\r\n\r\n", 403),
    ],
)
async def test_malformed_requests_get_a_clear_answer(request_bytes: bytes, status: int) -> None:
    async with serving(replying(OK)) as upstream, running(to(upstream)) as proxy, client(proxy) as stream:
        await stream.send_all(request_bytes)
        got, _, body, _ = await read_response(stream)
        assert got == status and body
        assert upstream.requests == []


async def test_paths_are_normalised_before_routing() -> None:
    async with serving(replying(OK)) as upstream, running(to(upstream)) as proxy, client(proxy) as stream:
        await stream.send_all(b"GET /a/./b/%2e%2e/c%7Ed?q=%2e HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await read_response(stream))[0] == 200
        assert upstream.requests[0].startswith(b"GET /a/c~d?q=%2e HTTP/1.1\r\n")


async def test_a_refused_connection_is_a_503_that_says_so() -> None:
    dead = Upstream(1)
    async with running(to(dead)) as proxy, client(proxy) as stream:
        for _ in range(2):
            await stream.send_all(GET)
            status, head, body, _ = await read_response(stream)
            assert status == 503 and b"Connection refused" in body
            assert b"server: " in head and b"date: " in head


async def test_a_malformed_response_is_a_502() -> None:
    async with serving(replying(b"SMTP ready\r\n\r\n")) as upstream, running(to(upstream)) as proxy:
        async with client(proxy) as stream:
            await stream.send_all(GET)
            status, _, body, _ = await read_response(stream)
            assert status == 502 and b"protocol error" in body


async def test_an_upstream_that_dies_inside_a_body_cuts_the_client_too() -> None:
    async def serve(stream: trio.SocketStream, upstream: Upstream) -> None:
        await read_head(stream)
        await stream.send_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc")

    async with serving(serve) as upstream, running(to(upstream)) as proxy, client(proxy) as stream:
        await stream.send_all(GET)
        with pytest.raises((trio.BrokenResourceError, ProtocolError)):
            await read_response(stream)


async def test_a_client_that_leaves_cancels_the_upstream_request() -> None:
    gone = trio.Event()

    async def serve(stream: trio.SocketStream, upstream: Upstream) -> None:
        await read_head(stream)
        upstream.requests.append(b"")
        assert await stream.receive_some(1) == b""
        gone.set()

    async with serving(serve) as upstream, running(to(upstream)) as proxy:
        async with client(proxy) as stream:
            await stream.send_all(GET)
            while not upstream.requests:
                await trio.testing.wait_all_tasks_blocked()
        with trio.fail_after(5):
            await gone.wait()


async def test_the_edge_appends_forwarded_for_and_owns_the_scheme() -> None:
    async with serving(replying(OK)) as upstream:
        config = to(upstream, Direction.UNSPECIFIED, use_remote_address=True)
        async with running(config) as proxy, client(proxy) as stream:
            await stream.send_all(
                b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Proto: https\r\n"
                b"x-envoy-attempt-count: 9\r\nx-request-id: mine\r\n\r\n"
            )
            await read_response(stream)
            sent = upstream.requests[0].lower()
            assert b"x-forwarded-for: 1.2.3.4,127.0.0.1\r\n" in sent and b"x-forwarded-proto: http\r\n" in sent
            assert b"x-envoy" not in sent and b"x-request-id: mine" not in sent and b"x-request-id: " in sent


async def test_bodies_that_come_right_behind_their_heads_are_not_taken_for_requests() -> None:
    # The head wakes the connection's task; the body's event may be dispatched before that task runs.
    async def posts(proxy: Proxy) -> None:
        async with client(proxy) as stream:
            for _ in range(60):
                await stream.send_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 21\r\n\r\n")
                await trio.lowlevel.checkpoint()  # so that the two halves are two events
                await stream.send_all(b"username=jason&passwd")
                assert (await read_response(stream))[0] == 200

    async def serve(stream: trio.SocketStream, upstream: Upstream) -> None:
        while True:
            head, body = await read_head(stream)
            if not head:
                return
            while len(body) < 21:
                body += await stream.receive_some(100)
            assert body == b"username=jason&passwd"
            await stream.send_all(OK)

    async with serving(serve) as upstream, running(to(upstream)) as proxy:
        async with trio.open_nursery() as nursery:
            for _ in range(16):
                nursery.start_soon(posts, proxy)
