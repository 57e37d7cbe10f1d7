"""What happens to a connection before and beside its bytes: PROXY headers, the listener's own log, ages."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from mesh.codec.proxy_protocol import encode_v1, encode_v2
from mesh.model.listener import AccessLog, ChainMatch, FilterChain, ListenerFilter, TcpProxy
from mesh.model.route import WeightedCluster
from mesh.model.secret import DownstreamTls
from mesh.proxy.pipeline import Proxy
from tests.support.proxy import (
    client,
    cluster,
    forward,
    listener,
    manager,
    port_of,
    read_all,
    read_response,
    replying,
    routes,
    running,
    serving,
    snapshot,
)
from tests.support.proxy_tls import Authority, tls_client

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
WHO, WHERE = ("203.0.113.7", 4711), ("198.51.100.1", 443)
PROXIED = frozenset((ListenerFilter.PROXY_PROTOCOL,))


async def ends(proxy: Proxy, data: bytes) -> bytes:
    """What a client hears that sends `data` and nothing more."""
    async with client(proxy) as stream:
        with trio.fail_after(5):
            try:
                await stream.send_all(data)
                await stream.send_eof()
                return await read_all(stream)
            except (trio.BrokenResourceError, OSError):
                return b""  # reset: nothing was said either


@pytest.mark.parametrize("header", [encode_v1(WHO, WHERE), encode_v2(WHO, WHERE, ((0x20, b"x" * 200),))])
async def test_the_client_is_who_the_proxy_header_says(header: bytes) -> None:
    edge = manager(routes(forward("a")), use_remote_address=True)
    async with serving(replying(OK)) as upstream:
        async with running(snapshot(listener(edge, filters=PROXIED), cluster("a", upstream.port))) as proxy:
            async with client(proxy) as stream:
                for byte in header:
                    await stream.send_all(bytes((byte,)))
                    await trio.testing.wait_all_tasks_blocked()
                await stream.send_all(GET)
                assert (await read_response(stream))[0] == 200
            async with client(proxy) as stream:
                await stream.send_all(header + GET)
                assert (await read_response(stream))[0] == 200
    assert [b"x-forwarded-for: 203.0.113.7\r\n" in request for request in upstream.requests] == [True, True]


async def test_a_load_balancers_own_connection_keeps_its_addresses() -> None:
    edge = manager(routes(forward("a")), use_remote_address=True)
    async with serving(replying(OK)) as upstream:
        async with running(snapshot(listener(edge, filters=PROXIED), cluster("a", upstream.port))) as proxy:
            async with client(proxy) as stream:
                await stream.send_all(encode_v2(None, None) + GET)
                assert (await read_response(stream))[0] == 200
    assert b"x-forwarded-for: 127.0.0.1\r\n" in upstream.requests[0]


async def test_nobody_is_served_without_a_proxy_header() -> None:
    edge = manager(routes(forward("a")))
    async with serving(replying(OK)) as upstream:
        async with running(snapshot(listener(edge, filters=PROXIED), cluster("a", upstream.port))) as proxy:
            for data in (GET, b"PROXY TCP4 nonsense\r\n" + GET, b"PROXY TC", b""):
                assert await ends(proxy, data) == b""
            assert proxy.protocol_errors == 4
    assert upstream.requests == []


async def test_tls_follows_a_proxy_header() -> None:
    root = Authority()
    chain = FilterChain(manager(routes(forward("a"))), tls=DownstreamTls(("a",)))
    async with serving(replying(OK)) as upstream:
        config = snapshot(listener(chain.filter, chains=(chain,), filters=PROXIED), cluster("a", upstream.port))
        config = replace(config, secrets={"a": root.secret("a", "a.example.com")})
        async with running(config) as proxy:
            raw = await trio.open_tcp_stream("127.0.0.1", port_of(proxy))
            await raw.send_all(encode_v2(WHO, WHERE))
            stream = trio.SSLStream(raw, root.client_context(), server_hostname="a.example.com")
            await stream.send_all(GET)
            assert (await read_response(stream))[0] == 200  # type: ignore[arg-type]
            await trio.aclose_forcefully(stream)


async def test_the_listeners_log_tells_of_every_connection_and_why_some_were_refused(tmp_path: Path) -> None:
    root = Authority()
    log = AccessLog(
        str(tmp_path / "log"),
        json=(
            ("flags", "%RESPONSE_FLAGS%"),
            ("why", "%RESPONSE_CODE_DETAILS%"),
            ("name", "%REQUESTED_SERVER_NAME%"),
            ("from", "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"),
        ),
    )
    match = ChainMatch(server_names=("a.example.com",), transport_protocol="tls")
    chain = FilterChain(manager(routes(forward("a"))), match, tls=DownstreamTls(("a",)))
    filters = frozenset((ListenerFilter.TLS_INSPECTOR,))
    async with serving(replying(OK)) as upstream:
        made = listener(chain.filter, chains=(chain,), filters=filters, access_logs=(log,))
        config = snapshot(made, cluster("a", upstream.port))
        config = replace(config, secrets={"a": root.secret("a", "a.example.com")})
        async with running(config) as proxy:
            async with tls_client(port_of(proxy), root.client_context(), "a.example.com") as stream:
                await stream.send_all(GET)
                await read_response(stream)  # type: ignore[arg-type]
            with trio.fail_after(5):
                await proxy.drain.wait_idle()
            for context, name in (
                (root.client_context(), "b.example.com"),
                (Authority().client_context(), "a.example.com"),
            ):
                with pytest.raises(trio.BrokenResourceError):
                    async with tls_client(port_of(proxy), context, name):
                        raise AssertionError("was served")
                with trio.fail_after(5):
                    await proxy.drain.wait_idle()
            telemetry = proxy.telemetry
        await trio.to_thread.run_sync(telemetry.close)
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [line["name"] for line in lines] == ["a.example.com", "b.example.com", "a.example.com"]
    assert [line["flags"] for line in lines] == [None, "NR", None]
    assert lines[0]["why"] is None and lines[1]["why"] == "filter_chain_not_found"
    assert lines[2]["why"].startswith("TLS_error:|")
    assert {line["from"] for line in lines} == {"127.0.0.1"}


async def test_an_opaque_connection_ends_when_it_is_too_old() -> None:
    async def chat(stream: trio.SocketStream, upstream: object) -> None:
        while data := await stream.receive_some(100):
            await stream.send_all(data)

    target = TcpProxy("test", (WeightedCluster("a"),))
    async with serving(chat) as upstream:
        old = cluster("a", upstream.port, max_connection_duration_seconds=0.3)
        async with running(snapshot(listener(target), old)) as proxy, client(proxy) as stream:
            await stream.send_all(b"hello")
            assert await stream.receive_some(100) == b"hello"
            with trio.fail_after(5):
                assert await read_all(stream) == b""
