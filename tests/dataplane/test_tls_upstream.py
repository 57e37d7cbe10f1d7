"""TLS origination: what is plaintext from the client is encrypted to the endpoint, verified, or refused."""

from __future__ import annotations

import hashlib
import ssl
from dataclasses import replace
from datetime import timedelta

import pytest
import trio

from mesh.model.listener import TcpProxy
from mesh.model.match import StringKind, StringMatch
from mesh.model.route import WeightedCluster
from mesh.model.secret import Secret, TrustBundle, UpstreamTls
from mesh.model.snapshot import Snapshot
from tests.support.proxy import (
    Upstream,
    client,
    cluster,
    forward,
    listener,
    manager,
    read_all,
    read_response,
    replying,
    routes,
    running,
    serving,
    snapshot,
)
from tests.support.proxy_tls import Authority, load, serving_tls

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
ROOT = Authority()
TLS = UpstreamTls(
    trust_name="roots", sni="books.example.com", subject_alt_names=(StringMatch(StringKind.EXACT, "books.example.com"),)
)


def http(tls: UpstreamTls, port: int, *secrets: Secret, **changes: object) -> Snapshot:
    config = snapshot(listener(manager(routes(forward("a")))), cluster("a", port, tls=tls, **changes))
    return replace(config, secrets={secret.name: secret for secret in secrets or (ROOT.trust("roots"),)})


def opaque(port: int) -> Snapshot:
    target = TcpProxy("test", (WeightedCluster("a"),))
    return replace(snapshot(listener(target), cluster("a", port, tls=TLS)), secrets={"roots": ROOT.trust("roots")})


async def test_requests_share_a_verified_connection_with_sni_and_alpn() -> None:
    context = ROOT.server_context("books.example.com", alpn=("h2", "http/1.1"))
    names: list[str | None] = []
    context.sni_callback = lambda _conn, name, _ctx: names.append(name)
    async with serving_tls(replying(OK), context) as upstream:
        tls = replace(TLS, alpn=("http/1.1",))
        async with running(http(tls, upstream.port)) as proxy, client(proxy) as stream:
            for _ in range(3):
                await stream.send_all(GET)
                assert (await read_response(stream))[::2] == (200, b"ok")
    assert names == ["books.example.com"] and upstream.connections == 1
    assert len(upstream.requests) == 3


@pytest.mark.parametrize(
    ("names", "settings", "reason"),
    [
        (("other.example.com",), TLS, b"verify SAN list: the certificate's names are other.example.com"),
        (("books.example.com",), replace(TLS, trust_name="others"), b"unable to get local issuer certificate"),
        (("books.example.com",), replace(TLS, trust_name="", system_roots=True), b"unable to get local issuer"),
    ],
)
async def test_who_cannot_be_verified_gets_no_byte_of_the_request(
    names: tuple[str, ...], settings: UpstreamTls, reason: bytes
) -> None:
    async with serving_tls(replying(OK), ROOT.server_context(*names)) as upstream:
        config = http(settings, upstream.port, ROOT.trust("roots"), Authority("others").trust("others"))
        async with running(config) as proxy, client(proxy) as stream:
            await stream.send_all(GET)
            status, _, body, _ = await read_response(stream)
    assert (
        status == 503 and reason in body and b"transport failure reason: TLS_error:|CERTIFICATE_VERIFY_FAILED" in body
    )
    assert upstream.requests == []


async def test_an_expired_certificate_is_refused_and_insecure_accepts_it() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    load(context, ROOT.issue("books.example.com", lifetime=timedelta(days=-1)))
    async with serving_tls(replying(OK), context) as upstream:
        async with running(http(TLS, upstream.port)) as proxy, client(proxy) as stream:
            await stream.send_all(GET)
            assert b"certificate has expired" in (await read_response(stream))[2]
        insecure = UpstreamTls(sni="books.example.com", insecure=True)
        async with running(http(insecure, upstream.port)) as proxy, client(proxy) as stream:
            await stream.send_all(GET)
            assert (await read_response(stream))[0] == 200


async def test_plaintext_behind_a_tls_cluster_is_an_error_that_says_so() -> None:
    async def refuse(stream: trio.SocketStream, upstream: Upstream) -> None:
        await stream.receive_some(1000)
        await stream.send_all(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n")

    async with serving(refuse) as upstream:
        async with running(http(TLS, upstream.port)) as proxy, client(proxy) as stream:
            await stream.send_all(GET)
            with trio.fail_after(5):
                status, _, body, _ = await read_response(stream)
    assert status == 503 and b"TLS_error:|" in body


async def test_a_silent_server_ends_with_the_connect_timeout() -> None:
    async def silent(stream: trio.SocketStream, upstream: Upstream) -> None:
        await trio.sleep_forever()

    async with serving(silent) as upstream:
        config = http(TLS, upstream.port, connect_timeout_seconds=0.2)
        async with running(config) as proxy, client(proxy) as stream:
            await stream.send_all(GET)
            with trio.fail_after(5):
                assert (await read_response(stream))[0] == 503
            assert proxy.current.clusters["a"].breaker.connections == 0


async def test_a_server_that_wants_a_certificate_gets_the_one_configured() -> None:
    context = ROOT.server_context("books.example.com")
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=ROOT.pem.decode())
    peers: list[object] = []

    async def serve(stream: trio.SSLStream[trio.SocketStream], upstream: Upstream) -> None:
        await stream.do_handshake()
        peers.append(stream.getpeercert()["subjectAltName"])
        await replying(OK)(stream, upstream)  # type: ignore[arg-type]

    async with serving_tls(serve, context) as upstream:  # type: ignore[arg-type]
        mine = replace(TLS, certificate_name="mine")
        config = http(mine, upstream.port, ROOT.trust("roots"), ROOT.secret("mine", "client.example.com"))
        async with running(config) as proxy, client(proxy) as stream:
            await stream.send_all(GET)
            assert (await read_response(stream))[0] == 200
        async with running(http(TLS, upstream.port)) as proxy, client(proxy) as stream:
            await stream.send_all(GET)
            status, _, body, _ = await read_response(stream)
            assert status == 503 and b"TLS_error:|" in body
    assert peers == [(("DNS", "client.example.com"),)]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_megabytes_go_both_ways_at_once_whole(version: ssl.TLSVersion) -> None:
    context = ROOT.server_context("books.example.com")
    context.maximum_version = context.minimum_version = version
    size = 16 << 20
    block = hashlib.sha256(b"x").digest() * 3333  # no multiple of a record
    expected = hashlib.sha256(block * (size // len(block))).hexdigest()

    async def pour(stream: trio.abc.Stream) -> None:
        for _ in range(size // len(block)):
            await stream.send_all(block)

    async def serve(stream: trio.abc.Stream, upstream: Upstream) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pour, stream)
            digest, left = hashlib.sha256(), size // len(block) * len(block)
            while left:
                data = await stream.receive_some(65536)
                digest.update(data)
                left -= len(data)
            upstream.requests.append(digest.hexdigest().encode())

    async with serving_tls(serve, context) as upstream:
        async with running(opaque(upstream.port)) as proxy, client(proxy) as stream:
            digest = hashlib.sha256()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(pour, stream)
                while data := await stream.receive_some(1 << 20):
                    digest.update(data)
    assert digest.hexdigest() == expected and upstream.requests == [expected.encode()]


async def test_a_slow_reader_slows_the_encrypted_sender_down() -> None:
    sent = 0

    async def pour(stream: trio.abc.Stream, upstream: Upstream) -> None:
        nonlocal sent
        while True:
            await stream.send_all(b"x" * 65536)
            sent += 65536

    async with serving_tls(pour, ROOT.server_context("books.example.com")) as upstream:
        async with running(opaque(upstream.port)) as proxy, client(proxy) as stream:
            await stream.receive_some(1)
            before = -1
            while sent != before:  # until everything on the way is full
                before = sent
                await trio.sleep(0.1)
            assert sent < 64 << 20


async def test_an_upload_is_answered_over_tls() -> None:
    async def count(stream: trio.abc.Stream, upstream: Upstream) -> None:
        data = b""
        while b"\r\n\r\n" not in data:
            data += await stream.receive_some(65536)
        total = len(data.partition(b"\r\n\r\n")[2])
        while total < 5_000_000:
            total += len(await stream.receive_some(65536))
        await stream.send_all(b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n%d" % total)

    async with serving_tls(count, ROOT.server_context("books.example.com")) as upstream:
        async with running(http(TLS, upstream.port)) as proxy, client(proxy) as stream:
            await stream.send_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5000000\r\n\r\n" + b"y" * 5_000_000)
            with trio.fail_after(20):
                assert (await read_response(stream))[::2] == (200, b"5000000")


async def test_half_closes_travel_as_close_notify() -> None:
    async def serve(stream: trio.SSLStream[trio.SocketStream], upstream: Upstream) -> None:
        data = b""
        while more := await stream.receive_some(100):
            data += more
        upstream.requests.append(data)

    async with serving_tls(serve, ROOT.server_context("books.example.com")) as upstream:  # type: ignore[arg-type]
        async with running(opaque(upstream.port)) as proxy, client(proxy) as stream:
            await stream.send_all(b"abc")
            await stream.send_eof()
            with trio.fail_after(5):
                assert await read_all(stream) == b""
    assert upstream.requests == [b"abc"]


async def test_a_body_until_close_that_ends_without_close_notify_is_not_complete() -> None:
    async def cut(stream: trio.SSLStream[trio.SocketStream], upstream: Upstream) -> None:
        await stream.receive_some(1000)
        await stream.send_all(b"HTTP/1.1 200 OK\r\n\r\npart")
        await stream.transport_stream.aclose()

    async with serving_tls(cut, ROOT.server_context("books.example.com")) as upstream:  # type: ignore[arg-type]
        async with running(http(TLS, upstream.port)) as proxy, client(proxy) as stream:
            await stream.send_all(GET)
            with trio.fail_after(5), pytest.raises(trio.BrokenResourceError):
                await read_response(stream)


async def test_a_secret_that_is_not_there_or_bad_stops_that_cluster_alone() -> None:
    async with serving_tls(replying(OK), ROOT.server_context("books.example.com")) as upstream:
        good = http(TLS, upstream.port)
        bad = replace(good, secrets={"roots": Secret("roots", trust=TrustBundle(b"rubbish"))})
        async with running(good) as proxy, client(proxy) as stream:
            await stream.send_all(GET)
            assert (await read_response(stream))[0] == 200
            problems = proxy.apply(bad)
            assert list(problems) == ["roots"] and "roots" in problems["roots"]
            proxy.current.clusters["a"].update(replace(good.clusters["a"], max_requests_per_connection=1), None)
            await stream.send_all(GET)  # by the pooled connection, then by a new one: the last good roots
            assert (await read_response(stream))[0] == 200
            await stream.send_all(GET)
            assert (await read_response(stream))[0] == 200
