"""The handshake with a client over a socket pair. Whole proxies: tests/dataplane/test_tls_downstream."""

from __future__ import annotations

import socket
import ssl

import pytest
import trio

from mesh.model.listener import CertificateDetail, ClientCertificate
from mesh.proxy.chains import NOTHING, Inspected
from mesh.proxy.deadlines import Deadlines
from mesh.proxy.detect import Detected
from mesh.proxy.observe.record import CertificateRule, Connection
from mesh.proxy.poller import Parker, Poller
from mesh.proxy.termination import begin_tls, note_certificate, shake_hands
from mesh.proxy.tls import TlsChannel, TlsError
from mesh.proxy.tls_context import TlsContext
from tests.support.proxy import forward, manager, routes
from tests.support.proxy_tls import Authority

ROOT = Authority()


def mutual(server: ssl.SSLContext) -> ssl.SSLContext:
    server.verify_mode = ssl.CERT_OPTIONAL
    server.load_verify_locations(cadata=ROOT.pem.decode())
    return server


async def terminated(context: TlsContext, client: ssl.SSLContext) -> tuple[Connection, TlsChannel]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    poller, connection = Poller(), Connection()
    raw = trio.SocketStream(trio.socket.from_stdlib_socket(theirs))
    peer = trio.SSLStream(raw, client, server_hostname="a.example.com")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(poller.run)
        channel = begin_tls(poller.open(ours, Parker()), context, Detected(NOTHING))
        try:
            with trio.fail_after(10):
                async with trio.open_nursery() as both:
                    both.start_soon(peer.do_handshake)
                    both.start_soon(shake_hands, channel, context, b"", connection, Deadlines())
        finally:
            channel.close()
            await trio.aclose_forcefully(peer)
            nursery.cancel_scope.cancel()
    poller.close()
    return connection, channel


async def test_a_client_with_a_certificate_is_known_by_it() -> None:
    server = mutual(ROOT.server_context("a.example.com"))
    context = TlsContext(server, principal="spiffe://mesh/ns/d/sa/me")
    connection, channel = await terminated(context, ROOT.client_context(ROOT.issue("spiffe://mesh/ns/d/sa/bob")))
    assert (connection.peer_principal, connection.local_principal, connection.is_mutual_tls, connection.tls_version) == (
        "spiffe://mesh/ns/d/sa/bob",
        "spiffe://mesh/ns/d/sa/me",
        True,
        "TLSv1.3",
    )
    policy = manager(
        routes(forward("a")),
        client_certificate=ClientCertificate.APPEND,
        certificate_details=frozenset((CertificateDetail.URI,)),
    )
    note_certificate(connection, channel, policy)
    assert connection.certificate_rule is CertificateRule.APPEND
    element = connection.client_certificate
    assert element.startswith(b"By=spiffe://mesh/ns/d/sa/me;Hash=")
    assert element.endswith(b";URI=spiffe://mesh/ns/d/sa/bob")


async def test_a_client_without_one_is_encrypted_and_nobody() -> None:
    context = TlsContext(ROOT.server_context("a.example.com"), principal="spiffe://mesh/ns/d/sa/me")
    connection, channel = await terminated(context, ROOT.client_context())
    assert (connection.peer_principal, connection.is_mutual_tls) == ("", False)
    note_certificate(connection, channel, manager(routes(forward("a")), client_certificate=ClientCertificate.APPEND))
    assert (connection.certificate_rule, connection.client_certificate) == (CertificateRule.REMOVE, b"")


async def test_a_certificate_for_somebody_else_is_refused() -> None:
    names = (lambda _kind, value: value == b"spiffe://mesh/ns/d/sa/alice",)
    context = TlsContext(mutual(ROOT.server_context("a.example.com")), names=names)
    with pytest.RaisesGroup(pytest.RaisesGroup(pytest.RaisesExc(TlsError, match="SAN list"))):
        await terminated(context, ROOT.client_context(ROOT.issue("spiffe://mesh/ns/d/sa/bob")))


def test_the_clients_first_choice_decides_what_answers() -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    poller = Poller()
    plain, answer = ROOT.server_context("a.example.com"), ROOT.server_context("b.example.com")
    detected = Detected(Inspected("tls", protocols=("istio",)))
    channel = begin_tls(poller.open(ours, Parker()), TlsContext(plain, answers={"istio": answer}), detected)
    assert channel.tls.context is answer
    channel.close()
    theirs.close()
    poller.close()
