import socket

import pytest
import trio

from mesh.model.addr import Address
from mesh.model.cluster import Cluster, Discovery, TcpKeepalive
from mesh.proxy.connect import ConnectTimeout, DialOptions, connect_error, dial, is_connected, start_connect
from mesh.proxy.poller import Parker, Poller


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
