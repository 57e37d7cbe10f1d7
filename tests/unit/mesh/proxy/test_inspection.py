"""What the race against a server leaves behind, and how long silence may last. The watching itself: test_detect."""

import trio
import trio.testing

from mesh.model.listener import ChainMatch, FilterChain, TcpProxy
from mesh.model.route import WeightedCluster
from tests.support.proxy import (
    Upstream,
    client,
    cluster,
    forward,
    listener,
    manager,
    read_all,
    replying,
    routes,
    running,
    serving,
    snapshot,
)

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
HTTP = FilterChain(manager(routes(forward("a"))), ChainMatch(application_protocols=("http/1.1",)))
TCP = FilterChain(TcpProxy("t", (WeightedCluster("a"),)))


async def greeting(stream: trio.SocketStream, upstream: Upstream) -> None:
    await stream.send_all(b"220 hello\r\n")
    await stream.receive_some(1)


async def test_a_server_that_speaks_first_is_served_over_the_connection_that_was_dialled() -> None:
    async with serving(greeting) as upstream:
        config = snapshot(listener(TCP.filter, chains=(HTTP, TCP)), cluster("a", upstream.port))
        async with running(config) as proxy, client(proxy) as stream:
            with trio.fail_after(5):
                assert await stream.receive_some(100) == b"220 hello\r\n"
            assert upstream.connections == 1
            assert b'verdict="server_first"' in proxy.telemetry.expose(0.0)


async def test_what_was_dialled_for_nothing_is_closed() -> None:
    async with serving(replying(OK)) as upstream:
        config = snapshot(listener(TCP.filter, chains=(HTTP, TCP)), cluster("a", upstream.port))
        async with running(config) as proxy, client(proxy) as stream:
            with trio.fail_after(5):
                while not upstream.connections:
                    await trio.testing.wait_all_tasks_blocked()
                await stream.send_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                assert await stream.receive_some(12) == b"HTTP/1.1 200"
            breaker = proxy.current.clusters["a"].breaker
            assert (upstream.connections, breaker.connections) == (2, 1)


async def test_where_no_server_can_be_first_silence_ends() -> None:
    named = FilterChain(TCP.filter, ChainMatch(server_names=("a.example",)))
    config = snapshot(listener(TCP.filter, chains=(named,), filters_timeout_seconds=0.05), cluster("a", 1))
    async with running(config) as proxy, client(proxy) as stream:
        with trio.fail_after(5):
            assert await read_all(stream) == b""
