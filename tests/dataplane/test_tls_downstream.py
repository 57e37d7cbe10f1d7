"""TLS termination: which certificate, which versions, whose clients; and that connections outlive a rotation."""

from __future__ import annotations

import hashlib
import ssl
from dataclasses import replace

import pytest
import trio

from mesh.model.listener import (
    CertificateDetail,
    ChainMatch,
    ClientCertificate,
    FilterChain,
    ListenerFilter,
    TcpProxy,
)
from mesh.model.match import StringKind, StringMatch
from mesh.model.route import WeightedCluster
from mesh.model.secret import DownstreamTls, Secret, TlsCertificate, TrustBundle
from mesh.model.snapshot import Snapshot
from mesh.proxy.pipeline import Proxy
from tests.support.proxy import (
    Upstream,
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
ROOT = Authority()
CLIENTS = Authority("clients")
A = ROOT.secret("a", "a.example.com")


def chain(tls: DownstreamTls, *names: str, target: str = "a", **changes: object) -> FilterChain:
    match = ChainMatch(server_names=names, transport_protocol="tls")
    return FilterChain(manager(routes(forward(target)), **changes), match, tls=tls)


def config(upstream: Upstream, chains: tuple[FilterChain, ...], *secrets: Secret) -> Snapshot:
    made = snapshot(
        listener(chains[0].filter, chains=chains, filters=frozenset((ListenerFilter.TLS_INSPECTOR,))),
        cluster("a", upstream.port),
        cluster("b", upstream.port),
    )
    return replace(made, secrets={secret.name: secret for secret in secrets})


async def served(proxy: Proxy, name: str, root: Authority = ROOT) -> bytes:
    """The leaf that a client of `name` is shown; it gets an answer, too."""
    async with tls_client(port_of(proxy), root.client_context(), name) as stream:
        await stream.send_all(GET)
        assert (await read_response(stream))[0] == 200  # type: ignore[arg-type]
        leaf = stream.getpeercert(binary_form=True)
        assert leaf is not None
        return leaf


def der(secret: Secret) -> bytes:
    assert secret.certificate is not None
    return ssl.PEM_cert_to_DER_cert(secret.certificate.chain_pem.decode())


async def test_requests_arrive_decrypted_and_say_https() -> None:
    async with serving(replying(OK)) as upstream:
        edge = chain(DownstreamTls(("a",), alpn=("h2", "http/1.1")), use_remote_address=True)
        async with running(config(upstream, (edge,), A)) as proxy:
            context = ROOT.client_context(alpn=("h2", "http/1.1"))
            async with tls_client(port_of(proxy), context, "a.example.com") as stream:
                assert stream.selected_alpn_protocol() == "http/1.1"  # HTTP/2 cannot be served
                for _ in range(3):
                    await stream.send_all(GET)
                    assert (await read_response(stream))[0] == 200  # type: ignore[arg-type]
    assert len(upstream.requests) == 3 and upstream.connections == 1
    assert b"x-forwarded-proto: https\r\n" in upstream.requests[0]


async def test_the_server_name_chooses_the_chain_and_its_certificate() -> None:
    star = ROOT.secret("star", "*.example.org", "example.org")
    chains = (chain(DownstreamTls(("a",)), "a.example.com"), chain(DownstreamTls(("star",)), "*.example.org"))
    async with serving(replying(OK)) as upstream, running(config(upstream, chains, A, star)) as proxy:
        assert await served(proxy, "a.example.com") == der(A)
        assert await served(proxy, "x.example.org") == der(star)
        with pytest.raises(trio.BrokenResourceError):
            await served(proxy, "nobody.example.net")
        assert proxy.no_filter_chain == 1


async def test_several_certificates_of_one_chain_are_chosen_by_their_names() -> None:
    b = ROOT.secret("b", "b.example.com", "*.b.example.com")
    chains = (chain(DownstreamTls(("a", "b"))),)
    async with serving(replying(OK)) as upstream, running(config(upstream, chains, A, b)) as proxy:
        assert await served(proxy, "a.example.com") == der(A)
        assert await served(proxy, "b.example.com") == der(b)
        assert await served(proxy, "x.b.example.com") == der(b)
        context = ROOT.client_context()
        context.check_hostname = False
        async with tls_client(port_of(proxy), context, "unknown.example.com") as stream:
            assert stream.getpeercert(binary_form=True) == der(A)


async def test_a_rotated_certificate_serves_new_connections_and_old_ones_live_on() -> None:
    renewed = ROOT.secret("a", "a.example.com")
    chains = (chain(DownstreamTls(("a",))),)
    async with serving(replying(OK)) as upstream, running(config(upstream, chains, A)) as proxy:
        async with tls_client(port_of(proxy), ROOT.client_context(), "a.example.com") as stream:
            await stream.send_all(GET)
            await read_response(stream)  # type: ignore[arg-type]
            assert proxy.apply(config(upstream, chains, renewed)) == {}
            assert await served(proxy, "a.example.com") == der(renewed)
            await stream.send_all(GET)
            assert (await read_response(stream))[0] == 200  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (TlsCertificate(b"rubbish", b"rubbish"), "there is no certificate (PEM)"),
        (TlsCertificate(A.certificate.chain_pem, b""), "there is no private key (PEM)"),  # type: ignore[union-attr]
        (
            TlsCertificate(A.certificate.chain_pem, ROOT.issue("x").key_pem),  # type: ignore[union-attr]
            "the private key does not belong to the certificate",
        ),
    ],
)
async def test_a_bad_secret_is_named_and_the_last_good_one_serves(bad: TlsCertificate, why: str) -> None:
    chains = (chain(DownstreamTls(("a",))),)
    async with serving(replying(OK)) as upstream, running(config(upstream, chains, A)) as proxy:
        problems = proxy.apply(config(upstream, chains, Secret("a", certificate=bad)))
        assert list(problems) == ["a"] and problems["a"].startswith("secret a: ") and why in problems["a"]
        assert await served(proxy, "a.example.com") == der(A)


async def test_a_chain_without_a_usable_secret_fails_alone() -> None:
    chains = (chain(DownstreamTls(("a",)), "a.example.com"), chain(DownstreamTls(("gone",)), "b.example.com"))
    async with serving(replying(OK)) as upstream, running(config(upstream, chains[:1], A)) as proxy:
        assert list(proxy.apply(config(upstream, chains, A))) == ["gone"]
        assert await served(proxy, "a.example.com") == der(A)
        with pytest.raises(trio.BrokenResourceError):
            await served(proxy, "b.example.com")


async def test_the_lowest_version_is_kept() -> None:
    chains = (chain(DownstreamTls(("a",), min_version="1.3")),)
    context = ROOT.client_context()
    async with serving(replying(OK)) as upstream, running(config(upstream, chains, A)) as proxy:
        assert await served(proxy, "a.example.com") == der(A)
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises(trio.BrokenResourceError):
            async with tls_client(port_of(proxy), context, "a.example.com"):
                raise AssertionError("TLS 1.2 was accepted")
        assert proxy.tls_failures == 1


async def test_clients_must_show_a_certificate_and_servers_hear_whose() -> None:
    trust = Secret("ca", trust=TrustBundle(CLIENTS.pem, (StringMatch(StringKind.PREFIX, "spiffe://mesh/"),)))
    tls = DownstreamTls(("a",), trust_name="ca", require_client_certificate=True)
    good = CLIENTS.issue("spiffe://mesh/ns/default/sa/bob", "bob.example.com")
    told = frozenset(CertificateDetail) - {CertificateDetail.CHAIN}
    edge = chain(tls, use_remote_address=True, client_certificate=ClientCertificate.REPLACE, certificate_details=told)
    forged = b"GET / HTTP/1.1\r\nHost: a\r\nx-forwarded-client-cert: Hash=forged\r\n\r\n"
    async with serving(replying(OK)) as upstream, running(config(upstream, (edge,), A, trust)) as proxy:
        async with tls_client(port_of(proxy), ROOT.client_context(good), "a.example.com") as stream:
            await stream.send_all(forged)
            assert (await read_response(stream))[0] == 200  # type: ignore[arg-type]
        for refused in (
            ROOT.client_context(),
            ROOT.client_context(ROOT.issue("spiffe://mesh/evil")),
            ROOT.client_context(CLIENTS.issue("spiffe://other/bob")),
        ):
            with pytest.raises(trio.BrokenResourceError):
                async with tls_client(port_of(proxy), refused, "a.example.com") as stream:
                    await stream.send_all(GET)
                    await stream.receive_some(1)
                    raise trio.BrokenResourceError  # an end without an answer is a refusal, too
        assert proxy.tls_failures == 3
    assert len(upstream.requests) == 1 and b"forged" not in upstream.requests[0]
    digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(good.chain_pem.decode())).hexdigest()
    (line,) = [line for line in upstream.requests[0].split(b"\r\n") if line.startswith(b"x-forwarded-client-cert:")]
    assert b"Hash=" + digest.encode() in line and b'Cert="-----BEGIN%20CERTIFICATE' in line
    assert b"URI=spiffe://mesh/ns/default/sa/bob;DNS=bob.example.com" in line and b"Subject=" in line


async def test_an_edge_takes_no_clients_word_for_a_certificate() -> None:
    edge = FilterChain(manager(routes(forward("a")), use_remote_address=True))
    async with serving(replying(OK)) as upstream, running(config(upstream, (edge,))) as proxy, client(proxy) as stream:
        await stream.send_all(b"GET / HTTP/1.1\r\nHost: a\r\nx-forwarded-client-cert: Hash=forged\r\n\r\n")
        assert (await read_response(stream))[0] == 200
    assert b"forged" not in upstream.requests[0]


async def test_opaque_bytes_are_decrypted_too_with_half_close() -> None:
    async def serve(stream: trio.SocketStream, upstream: Upstream) -> None:
        await stream.send_all((await read_all(stream))[::-1])

    target = FilterChain(TcpProxy("test", (WeightedCluster("a"),)), tls=DownstreamTls(("a",)))
    async with serving(serve) as upstream, running(config(upstream, (target,), A)) as proxy:
        raw = await trio.open_tcp_stream("127.0.0.1", port_of(proxy))
        answer = await trio.to_thread.run_sync(_half_close, raw.socket.detach())
    assert answer == b"cba"


def _half_close(descriptor: int) -> bytes:
    # trio's SSLStream knows no half-close: by hand, blocking, in a thread.
    import socket

    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = ROOT.client_context().wrap_bio(incoming, outgoing, server_hostname="a.example.com")
    with socket.socket(fileno=descriptor) as sock:
        sock.setblocking(True)
        sock.settimeout(10)

        def retry(act: object, *args: object) -> bytes:
            while True:
                try:
                    result = act(*args)  # type: ignore[operator]
                except ssl.SSLWantReadError:
                    sock.sendall(outgoing.read())
                    incoming.write(sock.recv(65536))
                else:
                    sock.sendall(outgoing.read())
                    return result  # type: ignore[no-any-return]

        retry(tls.do_handshake)
        tls.write(b"abc")
        with pytest.raises(ssl.SSLWantReadError):
            tls.unwrap()
        return retry(tls.read, 100)


async def test_what_is_no_tls_and_who_says_nothing_are_turned_away() -> None:
    plain = FilterChain(manager(routes(forward("a"))), tls=DownstreamTls(("a",)))
    async with serving(replying(OK)) as upstream, running(config(upstream, (plain,), A)) as proxy:
        async with client(proxy) as stream:
            await stream.send_all(GET)
            with trio.fail_after(5):
                try:
                    assert b"HTTP" not in await read_all(stream)
                except trio.BrokenResourceError:
                    pass  # reset: turned away as well
        assert proxy.tls_failures == 1 and upstream.requests == []


async def test_many_requests_at_once_over_tls() -> None:
    chains = (chain(DownstreamTls(("a",))),)
    async with serving(replying(OK)) as upstream, running(config(upstream, chains, A)) as proxy:

        async def work() -> None:
            async with tls_client(port_of(proxy), ROOT.client_context(), "a.example.com") as stream:
                for _ in range(20):
                    await stream.send_all(GET)
                    assert (await read_response(stream))[0] == 200  # type: ignore[arg-type]

        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(work)
    assert len(upstream.requests) == 400
