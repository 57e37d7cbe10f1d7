"""From accept to the chain that serves. Whole proxies with TLS, PROXY headers and captured traffic: tests/dataplane."""

from dataclasses import replace

import trio

from mesh.model.addr import Address
from mesh.model.listener import ChainMatch, FilterChain, ListenerFilter, TcpProxy
from mesh.model.route import WeightedCluster
from mesh.model.secret import DownstreamTls
from mesh.proxy.observe.telemetry import Telemetry, TelemetrySettings
from mesh.proxy.pipeline import Proxy
from tests.support.proxy import (
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

TCP = TcpProxy("t", (WeightedCluster("a"),))
HTTP = manager(routes(forward("a")))
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


async def ended(proxy: Proxy, data: bytes) -> bytes:
    """What the client gets until the end."""
    async with client(proxy) as stream:
        if data:
            await stream.send_all(data)
        with trio.fail_after(5):
            try:
                return await read_all(stream)
            except trio.BrokenResourceError:
                return b""  # closed with bytes unread


async def test_a_connection_no_chain_wants_is_closed_and_counted() -> None:
    picky = FilterChain(TCP, ChainMatch(server_names=("a.example",)))
    async with running(snapshot(listener(TCP, chains=(picky,)), cluster("a", 1))) as proxy:
        assert await ended(proxy, b"hello") == b""
        assert proxy.no_filter_chain == 1


async def test_a_connection_to_the_virtual_port_itself_is_a_loop() -> None:
    async with running(snapshot(listener(TCP, use_original_dst=True), cluster("a", 1))) as proxy:
        assert await ended(proxy, b"") == b""
        assert (proxy.loops, proxy.no_filter_chain) == (1, 0)


async def test_without_a_certificate_nobody_is_served() -> None:
    encrypted = replace(FilterChain(HTTP), tls=DownstreamTls(("missing",)))
    proxy = Proxy(Telemetry("sidecar~127.0.0.1~t.default~x", {}, TelemetrySettings(), "test"))
    async with trio.open_nursery() as nursery:
        await nursery.start(proxy.run)
        assert set(proxy.apply(snapshot(listener(HTTP, chains=(encrypted,)), cluster("a", 1)))) == {"missing"}
        assert await ended(proxy, b"\x16\x03\x01") == b""
        assert proxy.tls_failures == 1
        nursery.cancel_scope.cancel()


async def test_the_proxy_header_says_who_and_where_before_anything_else() -> None:
    async with serving(replying(OK)) as upstream:
        balanced = listener(HTTP, filters=frozenset((ListenerFilter.PROXY_PROTOCOL,)))
        async with running(snapshot(balanced, cluster("a", upstream.port))) as proxy:
            async with client(proxy) as stream:
                await stream.send_all(b"PROXY TCP4 203.0.113.7 198.51.100.1 4711 80\r\n" + GET)
                with trio.fail_after(5):
                    assert (await stream.receive_some(12)) == b"HTTP/1.1 200"
                (accepted,) = proxy.connections
                assert accepted.remote == Address("203.0.113.7", 4711)
            assert await ended(proxy, GET) == b""
            assert proxy.protocol_errors == 1


async def test_which_chain_is_known_from_the_beginning_or_by_the_first_bytes() -> None:
    async with serving(replying(OK)) as upstream:
        chains = (FilterChain(HTTP, ChainMatch(application_protocols=("http/1.1",))), FilterChain(TCP))
        config = snapshot(listener(HTTP, chains=chains), cluster("a", upstream.port))
        async with running(config) as proxy:
            for data, chain in ((GET, chains[0]), (b"\0binary\r\n\r\n", chains[1])):
                async with client(proxy) as stream:
                    await stream.send_all(data)
                    with trio.fail_after(5):
                        assert (await stream.receive_some(12)) == b"HTTP/1.1 200"
                    (accepted,) = proxy.connections
                    assert accepted.chain == chain
                with trio.fail_after(5):
                    await proxy.drain.wait_idle()
