import math
import socket

import pytest

from mesh.proxy.poller import Parker, Poller
from mesh.proxy.upstream_h1 import UpstreamConnection


@pytest.fixture
def ends():
    poller = Poller()
    server = socket.create_server(("127.0.0.1", 0))
    ours = socket.create_connection(server.getsockname())
    theirs, _ = server.accept()
    ours.setblocking(False)
    connection = UpstreamConnection(poller.open(ours, Parker()), 10.0)
    yield connection, theirs
    connection.close()
    theirs.close()
    server.close()
    poller.close()


def test_an_idle_connection_is_alive_until_anything_arrives(ends) -> None:
    connection, theirs = ends
    assert connection.is_alive()
    theirs.sendall(b"x")
    connection.channel.socket.setblocking(True)
    connection.channel.socket.recv(1, socket.MSG_PEEK)  # it has arrived
    connection.channel.socket.setblocking(False)
    assert not connection.is_alive()


def test_the_peers_end_is_seen_before_the_poller_tells(ends) -> None:
    connection, theirs = ends
    theirs.shutdown(socket.SHUT_WR)
    connection.channel.socket.setblocking(True)
    assert connection.channel.socket.recv(1, socket.MSG_PEEK) == b""
    connection.channel.socket.setblocking(False)
    assert not connection.is_alive()


def test_a_closed_one_is_not_alive(ends) -> None:
    connection, _ = ends
    connection.close()
    assert not connection.is_alive()


@pytest.mark.parametrize(
    ("value", "until"),
    [
        (None, math.inf),
        (b"timeout=5", 104.5),
        (b"max=100, Timeout = 30", 129.5),
        (b"timeout=0", 100.0),
        (b"x", math.inf),
    ],
)
def test_the_peers_idle_limit_is_learnt(ends, value: bytes | None, until: float) -> None:
    connection, _ = ends
    connection.learn_idle_limit(value, 100.0)
    assert connection.usable_until == until


def test_the_local_address_is_text(ends) -> None:
    connection, theirs = ends
    assert connection.local_address == "{}:{}".format(*theirs.getpeername())
