"""Mutual TLS between two sidecars: who is served how, who is refused, and that nobody notices a rotation."""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import trio
import trio.testing

from mesh.model.endpoint import LoadAssignment, LocalityEndpoints
from mesh.model.listener import AccessLog
from mesh.model.snapshot import Snapshot
from mesh.proxy import inspection
from mesh.proxy.pipeline import Proxy
from mesh.proxy.tls import TlsChannel
from tests.support.proxy import Upstream, client, port_of, read_all, read_response, replying, running, serving
from tests.support.proxy_mtls import (
    CLIENT,
    SERVER,
    identity,
    inbound,
    mesh_cluster,
    outbound,
    running_as,
    take,
)
from tests.support.proxy_tls import Authority, serving_tls, tls_client

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
ROOT = Authority()
ME, THEM = identity(ROOT, "client"), identity(ROOT, "server")


@asynccontextmanager
async def pair(
    app: Upstream, mode: str = "PERMISSIVE", server: str = "", wanted: str = SERVER, outgoing: str = ""
) -> AsyncIterator[tuple[Proxy, Proxy]]:
    """(client's proxy, server's). server, outgoing: what the port is declared to be, by each side."""
    async with running_as(THEM, inbound(app.port, mode, server)) as theirs:
        config = outbound(mesh_cluster(port_of(theirs), wanted), outgoing)
        async with running_as(ME, config) as mine:
            yield mine, theirs


async def greet(stream: trio.abc.Stream, upstream: Upstream) -> None:
    """MySQL's way: the server speaks first, then echoes."""
    await stream.send_all(b"8.0.33 greetings")
    while data := await stream.receive_some(1000):
        await stream.send_all(data)


async def answered(stream: trio.SocketStream, request: bytes = GET) -> tuple[int, bytes]:
    await stream.send_all(request)
    with trio.fail_after(10):
        status, _, body, _ = await read_response(stream)
    return status, body


def logging(config: Snapshot, log: AccessLog) -> Snapshot:
    (made,) = config.listeners.values()
    chains = tuple(replace(chain, filter=replace(chain.filter, access_logs=(log,))) for chain in made.chains)
    return replace(config, listeners={"test": replace(made, chains=chains)})


def metrics(proxy: Proxy, name: str) -> list[str]:
    lines = proxy.telemetry.expose(trio.current_time()).decode().splitlines()
    return [line for line in lines if line.startswith(name + "{")]


@pytest.mark.parametrize("server", ["", "http"])
@pytest.mark.parametrize("mode", ["PERMISSIVE", "STRICT"])
async def test_requests_travel_encrypted_over_one_connection_and_both_sides_know_whose(mode: str, server: str) -> None:
    async with serving(replying(OK)) as app, pair(app, mode, server) as (mine, theirs), client(mine) as stream:
        for _ in range(3):
            assert await answered(stream) == (200, b"ok")
        (pool,) = mine.current.clusters["server"].pools
        assert pool.open == 1 and theirs.tls_failures == 0
        for proxy in (mine, theirs):
            (line,) = metrics(proxy, "istio_requests_total")
            assert f'source_principal="{CLIENT}"' in line and f'destination_principal="{SERVER}"' in line
            assert 'connection_security_policy="mutual_tls"' in line and line.endswith(" 3")
    (first, *_) = app.requests
    leaf = hashlib.sha256(ssl.PEM_cert_to_DER_cert(ME.certificate.chain_pem.decode())).hexdigest()
    expected = f'By={SERVER};Hash={leaf};Subject="CN={CLIENT}";URI={CLIENT}'
    assert f"x-forwarded-client-cert: {expected}\r\n".encode() in first


async def test_permissive_serves_plaintext_mesh_and_the_applications_own_tls() -> None:
    async with serving(replying(OK)) as app, pair(app) as (mine, theirs):
        async with client(mine) as stream:
            assert (await answered(stream))[0] == 200
        async with client(theirs) as stream:
            assert (await answered(stream, GET.replace(b"\r\n\r\n", b"\r\nx-forwarded-client-cert: forged\r\n\r\n")))[0] == 200
        (plain, _) = sorted(metrics(theirs, "istio_requests_total"), key=lambda line: "mutual_tls" in line)
        assert 'connection_security_policy="none"' in plain and 'source_principal="unknown"' in plain
    assert b"forged" not in app.requests[1]
    own = ROOT.server_context("app.example.com", alpn=("http/1.1",))
    async with serving_tls(replying(OK), own) as app, pair(app) as (_, theirs):  # type: ignore[arg-type]
        context = ROOT.client_context(alpn=("http/1.1",))
        async with tls_client(port_of(theirs), context, "app.example.com") as stream:
            await stream.send_all(GET)
            assert (await read_response(stream))[0] == 200  # type: ignore[arg-type]


async def test_strict_serves_the_mesh_alone() -> None:
    async with serving(replying(OK)) as app, pair(app, "STRICT") as (mine, theirs):
        async with client(mine) as stream:
            assert (await answered(stream))[0] == 200
        async with client(theirs) as stream:
            await stream.send_all(GET)
            with trio.fail_after(5):
                assert await read_all(stream) == b""
        assert theirs.no_filter_chain == 1
        foreign = identity(Authority("others"), "client").certificate
        for context in (ROOT.client_context(alpn=("istio",)), ROOT.client_context(foreign, ("istio",))):
            context.check_hostname = False
            with trio.fail_after(5), pytest.raises(trio.BrokenResourceError):
                async with tls_client(port_of(theirs), context, "x") as encrypted:
                    await encrypted.send_all(GET)
                    assert await encrypted.receive_some(1) == b""
                    raise trio.BrokenResourceError  # an end without an answer is a refusal, too
        assert theirs.tls_failures == 2
    assert len(app.requests) == 1


@pytest.mark.parametrize("server", ["", "tcp"])
@pytest.mark.parametrize("outgoing", ["", "tcp"])
@pytest.mark.parametrize("mode", ["PERMISSIVE", "STRICT"])
async def test_a_server_that_speaks_first_is_heard_through_mutual_tls(mode: str, outgoing: str, server: str) -> None:
    async with serving(greet) as app, pair(app, mode, server, outgoing=outgoing) as (mine, theirs), client(mine) as stream:
        with trio.fail_after(10):
            assert await stream.receive_some(100) == b"8.0.33 greetings"
            await stream.send_all(b"abc")
            assert await stream.receive_some(100) == b"abc"
            await stream.send_eof()
            assert await read_all(stream) == b""
        for proxy in (mine, theirs):
            (line,) = metrics(proxy, "istio_tcp_connections_opened_total")
            assert f'source_principal="{CLIENT}"' in line and f'destination_principal="{SERVER}"' in line
            assert 'connection_security_policy="mutual_tls"' in line
        assert 'source_workload_namespace="shop"' in metrics(theirs, "istio_tcp_connections_opened_total")[0]
    assert app.connections == 1


async def test_only_the_first_greeting_waits_for_a_client_that_may_be_first(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(greet) as app, pair(app) as (mine, _):
        for seconds in (0.01, 3600.0):
            monkeypatch.setattr(inspection, "HEAD_START_SECONDS", seconds)
            async with client(mine) as stream:
                with trio.fail_after(10):
                    assert await stream.receive_some(100) == b"8.0.33 greetings"


@pytest.mark.parametrize("server", ["", "tcp"])
async def test_a_plaintext_client_of_a_server_that_speaks_first_waits_a_moment_only(server: str) -> None:
    async with serving(greet) as app, pair(app, server=server) as (_, theirs), client(theirs) as stream:
        began_at = trio.current_time()
        with trio.fail_after(5):
            assert await stream.receive_some(100) == b"8.0.33 greetings"
        assert trio.current_time() - began_at >= 0.05
        await stream.send_all(b"abc")
        assert await stream.receive_some(100) == b"abc"


async def test_without_mutual_tls_a_greeting_waits_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mesh.proxy.inspection.hello_seconds", lambda _: pytest.fail("waits"))
    async with serving(greet) as app, pair(app, "DISABLE", "tcp") as (_, theirs), client(theirs) as stream:
        with trio.fail_after(5):
            assert await stream.receive_some(100) == b"8.0.33 greetings"


async def test_a_mesh_client_whose_hello_is_late_is_still_served_encrypted() -> None:
    async with serving(greet) as app, pair(app, server="tcp") as (_, theirs):
        raw = await trio.open_tcp_stream("127.0.0.1", port_of(theirs))
        context = ROOT.client_context(ME.certificate, ("istio",))
        context.check_hostname = False
        while not app.connections:
            await trio.testing.wait_all_tasks_blocked()
        await trio.testing.wait_all_tasks_blocked()  # the application has greeted by now
        stream = trio.SSLStream(raw, context, server_hostname="x")
        with trio.fail_after(5):
            assert await stream.receive_some(100) == b"8.0.33 greetings"
        await trio.aclose_forcefully(stream)
    assert app.connections == 1, "what was dialled for plaintext serves"


@pytest.mark.parametrize("outgoing", ["http", "tcp", ""])
async def test_a_server_that_is_somebody_else_gets_nothing(outgoing: str, tmp_path: Path) -> None:
    path = f"{tmp_path}/log"
    async with serving(replying(OK)) as app, running_as(THEM, inbound(app.port)) as theirs:
        config = outbound(mesh_cluster(port_of(theirs), "spiffe://cluster.local/ns/shop/sa/other"), outgoing)
        log = AccessLog(path, "%RESPONSE_FLAGS% %UPSTREAM_TRANSPORT_FAILURE_REASON%\n")
        async with running_as(ME, logging(config, log)) as mine:
            async with client(mine) as stream:
                await stream.send_all(GET)
                with trio.fail_after(5):
                    if outgoing == "tcp":
                        with pytest.raises(trio.BrokenResourceError):
                            await read_all(stream)
                    else:
                        status, _, body, _ = await read_response(stream)
                        assert status == 503 and b"verify SAN list" in body and SERVER.encode() in body
            mine.telemetry.close()
    assert not app.requests
    text = await trio.Path(path).read_text()
    assert text.startswith("UF TLS_error:|CERTIFICATE_VERIFY_FAILED:verify SAN list: the certificate's names are ")


@pytest.mark.parametrize("outgoing", ["http", "tcp"])
async def test_a_server_that_does_not_want_our_certificate_says_so(outgoing: str, tmp_path: Path) -> None:
    others = Authority("others")
    stranger = identity(others, "client")
    # It trusts the server, but not the other way round.
    stranger = replace(stranger, roots_pem=ROOT.pem)
    path = tmp_path / "log"
    log = AccessLog(str(path), "%RESPONSE_FLAGS% %UPSTREAM_TRANSPORT_FAILURE_REASON%\n")
    async with serving(replying(OK)) as app, running_as(THEM, inbound(app.port)) as theirs:
        config = logging(outbound(mesh_cluster(port_of(theirs)), outgoing), log)
        async with running_as(stranger, config) as mine, client(mine) as stream:
            if outgoing == "http":
                status, body = await answered(stream)
                assert status == 503 and b"TLS_error:|TLSV1_ALERT_UNKNOWN_CA" in body
            else:
                await stream.send_all(GET)
                with trio.fail_after(5), pytest.raises(trio.BrokenResourceError):
                    assert await read_all(stream) == b""
                    raise trio.BrokenResourceError
            await stream.aclose()
            mine.telemetry.close()
        assert theirs.tls_failures >= 1
    assert not app.requests
    if outgoing == "http":
        assert path.read_text().startswith("UF TLS_error:|TLSV1_ALERT_UNKNOWN_CA")


async def test_a_rotation_loses_no_request_and_breaks_no_connection() -> None:
    rounds = 20
    async with serving(replying(OK)) as app, pair(app, outgoing="http") as (mine, theirs), client(mine) as old:
        assert (await answered(old))[0] == 200

        async def ask() -> None:
            for _ in range(rounds):
                async with client(mine) as stream:
                    for _ in range(5):
                        assert await answered(stream) == (200, b"ok")

        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(ask)
            for rotation in range(1, 6):
                while len(app.requests) < rotation * rounds * 3:  # of 20 a round
                    await trio.lowlevel.checkpoint()
                take(mine, identity(ROOT, "client"))
                take(theirs, identity(ROOT, "server"))
        assert (await answered(old))[0] == 200
        leaf = await _leaf_of(theirs)
        assert leaf == ssl.PEM_cert_to_DER_cert(theirs.current.secrets["default"].certificate.chain_pem.decode())  # type: ignore[union-attr]
        assert mine.tls_failures == theirs.tls_failures == 0
    assert len(app.requests) == 2 + 4 * rounds * 5


async def _leaf_of(proxy: Proxy) -> bytes | None:
    context = ROOT.client_context(ME.certificate, ("istio",))
    context.check_hostname = False
    async with tls_client(port_of(proxy), context, "x") as stream:
        return stream.getpeercert(binary_form=True)


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        (("istio-http/1.1", "istio"), "istio-http/1.1"),
        (("istio", "istio-http/1.1"), "istio"),
        (("istio-peer-exchange", "istio"), "istio"),
        (("h2", "istio"), "istio"),
    ],
)
@pytest.mark.parametrize("server", ["", "http", "tcp"])
async def test_the_clients_first_protocol_that_the_chain_has_is_the_answer(
    offered: tuple[str, ...], chosen: str, server: str
) -> None:
    async with serving(replying(OK)) as app, pair(app, server=server) as (_, theirs):
        context = ROOT.client_context(ME.certificate, offered)
        context.check_hostname = False
        async with tls_client(port_of(theirs), context, "x") as stream:
            assert stream.selected_alpn_protocol() == chosen


async def test_opaque_bytes_are_not_announced_as_http(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[str | None] = []
    handshake = TlsChannel.handshake

    async def spy(self: TlsChannel, first: bytes = b"") -> None:
        await handshake(self, first)
        chosen.append(self.tls.selected_alpn_protocol())

    monkeypatch.setattr(TlsChannel, "handshake", spy)
    async with serving(replying(OK)) as app, pair(app) as (mine, _):
        async with client(mine) as stream:
            assert (await answered(stream))[0] == 200
        async with client(mine) as stream:
            await stream.send_all(b"\x00opaque\r\n\r\n")
            with trio.fail_after(5):
                assert (await stream.receive_some(10000)).startswith(b"HTTP/1.1 200")
    assert chosen == ["istio-http/1.1", "istio"]


async def test_plaintext_endpoints_and_changes_of_mind_have_connections_of_their_own() -> None:
    async with serving(replying(OK)) as app, running_as(THEM, inbound(app.port)) as theirs:
        plain = mesh_cluster(port_of(theirs), tls_mode="")
        async with running_as(ME, outbound(plain, "http")) as mine, client(mine) as stream:
            assert (await answered(stream))[0] == 200
            assert mine.apply(outbound(mesh_cluster(port_of(theirs)), "http")) == {}
            assert (await answered(stream))[0] == 200
            policies = ["mutual_tls" in line for line in metrics(theirs, "istio_requests_total")]
            assert sorted(policies) == [False, True] and theirs.listeners.accepted == {"test": 2}


async def test_a_server_that_greets_before_it_hears_us_is_asked_again() -> None:
    calls = 0

    async def hasty(stream: trio.SocketStream, upstream: Upstream) -> None:
        # Once like a sidecar that took us for a plaintext client, then like one that did not.
        nonlocal calls
        calls += 1
        if calls == 1:
            await stream.send_all(b"8.0.33 greetings")
            await read_all(stream)
            return
        async with await trio.open_tcp_stream("127.0.0.1", port_of(theirs)) as onward, trio.open_nursery() as nursery:
            nursery.start_soon(_copy, stream, onward)
            nursery.start_soon(_copy, onward, stream)

    for outgoing in ("tcp", ""):
        calls = 0
        async with serving(greet) as app, running_as(THEM, inbound(app.port, "STRICT")) as theirs, serving(hasty) as relay:
            async with running_as(ME, outbound(mesh_cluster(relay.port), outgoing)) as mine, client(mine) as stream:
                with trio.fail_after(10):
                    assert await stream.receive_some(100) == b"8.0.33 greetings"
        assert calls == 2


async def _copy(source: trio.SocketStream, target: trio.SocketStream) -> None:
    while data := await source.receive_some(65536):
        await target.send_all(data)
    await target.send_eof()


async def test_a_proxy_without_an_identity_speaks_plaintext_with_the_same_server() -> None:
    async with serving(replying(OK)) as app, running_as(THEM, inbound(app.port)) as theirs:
        plain = replace(mesh_cluster(port_of(theirs)), tls_matches=())
        assert isinstance(plain.assignment, LoadAssignment) and isinstance(plain.assignment.localities[0], LocalityEndpoints)
        async with running(outbound(plain, "http")) as mine, client(mine) as stream:
            assert (await answered(stream))[0] == 200


async def test_megabytes_through_both_arrive_whole_with_half_close() -> None:
    block = hashlib.sha256(b"x").digest() * 2048
    count = 128

    async def count_bytes(stream: trio.SocketStream, upstream: Upstream) -> None:
        digest = hashlib.sha256()
        while data := await stream.receive_some(1 << 18):
            digest.update(data)
        await stream.send_all(digest.hexdigest().encode())

    async with serving(count_bytes) as app, pair(app, "STRICT", "tcp", outgoing="tcp") as (mine, _), client(mine) as stream:
        for _ in range(count):
            await stream.send_all(block)
        await stream.send_eof()
        with trio.fail_after(20):
            assert (await read_all(stream)).decode() == hashlib.sha256(block * count).hexdigest()


@pytest.mark.parametrize("server", ["", "tcp"])
async def test_under_strict_a_plaintext_client_hears_no_greeting(server: str) -> None:
    async with serving(greet) as app, running_as(THEM, inbound(app.port, "STRICT", server)) as theirs:
        (made,) = theirs.current.source.listeners.values()
        impatient = replace(theirs.current.source, listeners={"test": replace(made, filters_timeout_seconds=0.1)})
        assert theirs.apply(impatient) == {}
        async with client(theirs) as stream:
            with trio.fail_after(5):
                assert await read_all(stream) == b""
    assert app.connections == 0


@pytest.mark.parametrize("server", ["", "http"])
async def test_http2_with_prior_knowledge_is_relayed_within_mutual_tls(server: str) -> None:
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"

    async def echo(stream: trio.SocketStream, upstream: Upstream) -> None:
        while data := await stream.receive_some(1000):
            upstream.requests.append(data)
            await stream.send_all(data)

    async with serving(echo) as app, pair(app, "STRICT", server, outgoing="http") as (mine, theirs), client(mine) as stream:
        await stream.send_all(preface)
        got = b""
        with trio.fail_after(5):
            while len(got) < len(preface):
                got += await stream.receive_some(1000)
        assert got == preface
        (line,) = metrics(theirs, "istio_tcp_connections_opened_total")
        assert 'connection_security_policy="mutual_tls"' in line
