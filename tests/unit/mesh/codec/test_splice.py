"""Octets through a pipe between two sockets."""

import os
import socket
from collections.abc import Iterator

import pytest

from mesh.codec.splice import Splice


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket, socket.socket, socket.socket, Splice]]:
    client, source = socket.socketpair()
    target, server = socket.socketpair()
    for each in (client, source, target, server):
        each.setblocking(False)
    relay = Splice()
    with client, source, target, server:
        yield client, source, target, server, relay
    relay.close()


Ends = tuple[socket.socket, socket.socket, socket.socket, socket.socket, Splice]


def test_moves_octets_and_says_when_there_are_none(ends: Ends) -> None:
    client, source, target, server, relay = ends
    assert relay.fill(source.fileno()) is None
    assert relay.drain(target.fileno()) == 0
    client.send(b"hello")
    assert relay.fill(source.fileno()) == 5
    assert relay.pending == 5
    assert relay.drain(target.fileno()) == 5
    assert (relay.pending, relay.moved, server.recv(10)) == (0, 5, b"hello")
    client.shutdown(socket.SHUT_WR)
    assert relay.fill(source.fileno()) == 0


def test_everything_arrives_in_order_through_full_buffers(ends: Ends) -> None:
    client, source, target, server, relay = ends
    data = os.urandom(3 << 20)
    sent, received, at_end = 0, bytearray(), False
    while len(received) < len(data):
        if sent < len(data):
            try:
                sent += client.send(data[sent : sent + 65536])
            except BlockingIOError:
                pass
        relay.fill(source.fileno())
        relay.drain(target.fileno())
        try:
            received += server.recv(65536)
        except BlockingIOError:
            at_end = sent == len(data) and not relay.pending
            assert not at_end or len(received) == len(data) or relay.fill(source.fileno()) != 0
    assert bytes(received) == data
    assert relay.moved == len(data)


def test_a_target_that_takes_nothing(ends: Ends) -> None:
    client, source, target, _, relay = ends
    filler = b"x" * 65536
    with pytest.raises(BlockingIOError):
        while True:
            target.send(filler)
    client.send(b"hello")
    relay.fill(source.fileno())
    assert relay.drain(target.fileno()) is None
    assert relay.pending == 5


def test_close_is_idempotent_and_final(ends: Ends) -> None:
    relay = ends[4]
    relay.close()
    relay.close()
    with pytest.raises(OSError, match="file descriptor"):
        relay.fill(ends[1].fileno())
