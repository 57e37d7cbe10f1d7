import socket

import pytest
import trio

from mesh.model.addr import Address
from mesh.model.cluster import Cluster, Discovery, TcpKeepalive
from mesh.proxy.connect import (
    ConnectTimeout,
    DialOptions,
    Opening,
    Secure,
    connect_error,
    dial,
    is_connected,
    start_connect,
)
from mesh.proxy.poller import READ, Parker, Poller
from mesh.proxy.tls import NO_TLS, TlsChannel, TlsError
from mesh.proxy.tls_context import TlsContext
from tests.support.proxy_tls import Authority

ROOT = Authority()


def test_options_come_from_the_cluster() -> None:
    cluster = Cluster("a", Discovery.EDS, connect_timeout_seconds=1.5, bind_host="127.0.0.6")
    assert DialOptions.of(cluster) == DialOptions(1.5, "127.0.0.6", None)


async def test_a_dialled_channel_is_connected_and_tuned() -> None:
    poller = Poller()
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = Address("127.0.0.1", server.getsockname()[1])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(poller.run)
            options = DialOptions(5.0, "127.0.0.6", TcpKeepalive(probes=3, time_seconds=60, interval_seconds=5))
            channel = await dial(poller, Parker(), address, options)
            assert is_connected(channel) and connect_error(channel) is None
            assert channel.socket.getsockname()[0] == "127.0.0.6"
            assert channel.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert channel.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 60
            channel.close()
            nursery.cancel_scope.cancel()
    poller.close()


async def test_a_refusal_is_an_os_error() -> None:
    poller = Poller()
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # not listening
        async with trio.open_nursery() as nursery:
            nursery.start_soon(poller.run)
            with pytest.raises(ConnectionRefusedError):
                await dial(poller, Parker(), Address("127.0.0.1", bound.getsockname()[1]), DialOptions())
            nursery.cancel_scope.cancel()
    poller.close()


async def test_no_answer_is_a_timeout_of_its_own_kind() -> None:
    poller = Poller()
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        address = server.getsockname()
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:  # the backlog is full: further SYNs are dropped
            filler.setblocking(False)
            filler.connect_ex(address)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(poller.run)
            with pytest.raises(ConnectTimeout):
                await dial(poller, Parker(), Address(*address), DialOptions(timeout_seconds=0.05))
            nursery.cancel_scope.cancel()
        for filler in fillers:
            filler.close()
    poller.close()


async def test_a_source_that_is_not_there_fails_at_once() -> None:
    poller = Poller()
    with pytest.raises(OSError):
        start_connect(poller, Parker(), Address("127.0.0.1", 1), DialOptions(bind_host="192.0.2.1"))
    poller.close()


async def test_an_opening_goes_as_far_as_it_can_and_waits_for_nothing() -> None:
    poller = Poller()
    server_context = ROOT.server_context("a.example.com", alpn=("istio-http/1.1", "istio"))
    client_context = ROOT.client_context(alpn=("istio-http/1.1", "istio"))
    client_context.check_hostname = False
    opaque = ROOT.client_context(alpn=("istio",))
    opaque.check_hostname = False
    for is_opaque, protocol in ((False, "istio-http/1.1"), (True, "istio")):
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        address = Address(*listeners[0].socket.getsockname()[:2])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(poller.run)
            secure = Secure(TlsContext(client_context, opaque=opaque), "a.example.com", is_opaque)
            opening = Opening(start_connect(poller, Parker(), address, DialOptions()), secure)
            raw = await listeners[0].accept()
            assert opening.is_about_to_encrypt()
            plain = opening.channel
            assert opening.step() == READ and opening.channel is not plain
            server = trio.SSLStream(raw, server_context, server_side=True)
            async with trio.open_nursery() as both:
                both.start_soon(server.do_handshake)
                channel = await opening.finish()
            assert isinstance(channel, TlsChannel) and channel.tls.selected_alpn_protocol() == protocol
            assert opening.step() == 0 and not opening.has_bytes()
            await server.send_all(b"220 hello")
            with trio.fail_after(5):
                while not opening.has_bytes():
                    await channel.wait(READ)
            assert opening.has_bytes()
            assert channel.try_recv(100) == b"220 hello" and not opening.has_bytes()
            channel.close()
            await trio.aclose_forcefully(server)
            await listeners[0].aclose()
            nursery.cancel_scope.cancel()
    poller.close()


async def test_what_is_no_tls_fails_the_opening_and_is_closed() -> None:
    poller = Poller()
    with socket.create_server(("127.0.0.1", 0)) as server:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(poller.run)
            secure = Secure(TlsContext(ROOT.client_context()), "a.example.com")
            opening = Opening(start_connect(poller, Parker(), Address(*server.getsockname()), DialOptions()), secure)
            peer, _ = server.accept()
            peer.sendall(b"8.0.33 greetings")
            with trio.fail_after(5), pytest.raises(TlsError, match=NO_TLS):
                await opening.finish()
            assert not opening.channel.is_open
            peer.close()
            nursery.cancel_scope.cancel()
    poller.close()


@pytest.mark.parametrize(("name", "is_mesh"), [(f"outbound_.80_.{'v' * 64}_.a", True), (f"{'v' * 64}.example", False)])
async def test_a_name_that_sni_cannot_hold_stops_nobody_within_the_mesh(name: str, is_mesh: bool) -> None:
    poller = Poller()
    context = ROOT.client_context()
    context.check_hostname = False
    with socket.create_server(("127.0.0.1", 0)) as server:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(poller.run)
            channel = start_connect(poller, Parker(), Address(*server.getsockname()), DialOptions())
            opening = Opening(channel, Secure(TlsContext(context), name))
            peer, _ = server.accept()
            if is_mesh:
                assert opening.step() == READ and isinstance(opening.channel, TlsChannel)
            else:
                with pytest.raises(TlsError, match="BAD_SERVER_NAME"):
                    opening.step()
            opening.channel.close()
            peer.close()
            nursery.cancel_scope.cancel()
    poller.close()
