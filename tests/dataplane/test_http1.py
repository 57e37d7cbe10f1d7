"""HTTP/1 through a real proxy: byte tables for what is forwarded, framed and kept alive."""

from __future__ import annotations

from tests.support.proxy import (
    client,
    cluster,
    forward,
    listener,
    manager,
    read_response,
    replying,
    routes,
    running,
    serving,
    snapshot,
)

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


async def test_keep_alive_connections_are_reused_on_both_sides() -> None:
    async with serving(replying(OK)) as upstream:
        config = snapshot(listener(manager(routes(forward("a")))), cluster("a", upstream.port))
        async with running(config) as proxy, client(proxy) as stream:
            for _ in range(3):
                await stream.send_all(b"GET /x?y=1 HTTP/1.1\r\nHost: a\r\nX-Two: 2\r\n\r\n")
                status, head, body, rest = await read_response(stream)
                assert (status, body, rest) == (200, b"ok", b"")
            assert upstream.connections == 1
            assert upstream.requests[0].startswith(b"GET /x?y=1 HTTP/1.1\r\nHost: a\r\nX-Two: 2\r\n")
