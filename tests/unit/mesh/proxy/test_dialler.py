"""Which way of speaking a host gets, and what a failure is called. Connecting itself: test_connect."""

from __future__ import annotations

import ssl
from dataclasses import replace

import pytest
import trio

from mesh.model.addr import Address
from mesh.model.cluster import Cluster, Discovery, TlsMatch
from mesh.model.endpoint import Endpoint, Locality
from mesh.model.secret import UpstreamTls
from mesh.proxy.balance import Host
from mesh.proxy.connect import Secure
from mesh.proxy.dialler import Dialler
from mesh.proxy.failures import CONNECT_FAILED, CONNECT_TIMEOUT, TLS_NOT_READY, UpstreamFailed
from mesh.proxy.poller import Parker, Poller
from mesh.proxy.tls_context import TlsContext

PLAIN = Cluster("a", Discovery.EDS, connect_timeout_seconds=5.0)
MESH, OWN = UpstreamTls(sni="mesh"), UpstreamTls(auto_sni=True)
MIXED = replace(PLAIN, tls=OWN, tls_matches=(TlsMatch("mtls", "istio", MESH), TlsMatch("plain", "", None)))


def host(port: int = 1, **fields: str) -> Host:
    return Host(Endpoint(Address("127.0.0.1", port), **fields), Locality(), 0, 0.0)  # type: ignore[arg-type]


def test_the_first_match_decides_and_then_the_cluster() -> None:
    dialler = Dialler(Poller(), MIXED)
    assert (dialler.tls_of(host(tls_mode="istio")), dialler.tls_of(host())) == (MESH, None)
    dialler.take_model(replace(MIXED, tls_matches=MIXED.tls_matches[:1]))
    assert (dialler.tls_of(host(tls_mode="istio")), dialler.tls_of(host())) == (MESH, OWN)


def test_what_must_be_encrypted_is_or_is_not_sent_at_all() -> None:
    dialler = Dialler(Poller(), MIXED)
    assert dialler.secure(host(), True) is None
    with pytest.raises(UpstreamFailed) as caught:
        dialler.secure(host(tls_mode="istio"), True)
    assert caught.value.failure is TLS_NOT_READY
    context = TlsContext(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    dialler.contexts = {MESH: context, OWN: context}
    assert dialler.secure(host(tls_mode="istio"), True) == Secure(context, "mesh", True)
    dialler.take_model(replace(PLAIN, tls=OWN))
    assert dialler.secure(host(host_name="b.example"), False) == Secure(context, "b.example", False)


@pytest.mark.parametrize("is_begun", [False, True])
async def test_a_refused_connection_is_counted_and_told(is_begun: bool) -> None:
    poller, parker = Poller(), Parker()
    with trio.socket.socket() as unused:
        await unused.bind(("127.0.0.1", 0))
        there = host(unused.getsockname()[1])
        dialler = Dialler(poller, PLAIN)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(poller.run)
            with trio.fail_after(5), pytest.raises(UpstreamFailed) as caught:
                if is_begun:
                    opening = dialler.begin(parker, there, None)
                    try:
                        await dialler.finish(opening, there)
                    finally:
                        opening.channel.close()
                else:
                    await dialler.dial(parker, there, False)
            nursery.cancel_scope.cancel()
    assert (caught.value.failure, caught.value.reason) == (CONNECT_FAILED, "Connection refused")
    assert there.connect_failures == 1
    poller.close()


async def test_who_does_not_answer_in_time_is_told_apart() -> None:
    poller, parker = Poller(), Parker()
    with trio.socket.socket() as full:
        await full.bind(("127.0.0.1", 0))
        full.listen(0)
        there = host(full.getsockname()[1])
        # It accepts nobody, so that no TLS handshake is answered.
        context = TlsContext(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
        context.ssl.check_hostname = False
        dialler = Dialler(poller, replace(PLAIN, connect_timeout_seconds=0.05, tls=MESH))
        dialler.contexts = {MESH: context}
        async with trio.open_nursery() as nursery:
            nursery.start_soon(poller.run)
            with trio.fail_after(5), pytest.raises(UpstreamFailed) as caught:
                await dialler.dial(parker, there, False)
            nursery.cancel_scope.cancel()
    assert (caught.value.failure, there.connect_failures) == (CONNECT_TIMEOUT, 1)
    poller.close()
