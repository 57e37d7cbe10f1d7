"""Packets and descriptors between the runtime and a node agent."""

import json
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from mesh.sandbox.node.peer import Peer
from mesh.sandbox.node.poller import Poller

Json = dict[str, Any]


@dataclass
class Ends:
    poller: Poller
    agent: socket.socket
    asked: list[tuple[Json, list[int]]] = field(default_factory=list)
    gone: list[Peer] = field(default_factory=list)


@pytest.fixture
def ends() -> Iterator[tuple[Peer, Ends]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    made = Ends(Poller(), theirs)
    yield Peer(made.poller, ours, lambda _peer, message, fds: made.asked.append((message, fds)), made.gone.append), made
    theirs.close()
    if not made.gone:
        made.poller.poll(5)
    made.poller.close()


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def test_a_request_comes_with_its_descriptors(ends: tuple[Peer, Ends]) -> None:
    _, made = ends
    read, write = os.pipe()
    socket.send_fds(made.agent, [b'{"id": 1}'], [write])
    os.close(write)
    made.poller.poll(5)
    ((message, fds),) = made.asked
    assert message == {"id": 1}
    os.write(fds[0], b"through")
    assert os.read(read, 10) == b"through"
    for fd in (read, fds[0]):
        os.close(fd)


def test_a_descriptor_that_is_sent_is_closed_here(ends: tuple[Peer, Ends]) -> None:
    peer, made = ends
    read, write = os.pipe()
    peer.send({"ok": 1}, [write])
    assert not is_open(write)
    data, fds, _, _ = socket.recv_fds(made.agent, 100, 3)
    assert json.loads(data) == {"ok": 1}
    os.write(fds[0], b"x")
    assert os.read(read, 1) == b"x"
    for fd in (read, fds[0]):
        os.close(fd)


def test_what_the_agent_does_not_take_at_once_is_kept_in_order(ends: tuple[Peer, Ends]) -> None:
    peer, made = ends
    count = 2000
    for number in range(count):
        peer.send({"number": number, "filler": "x" * 200})
    found = []
    while len(found) < count:
        found.append(json.loads(made.agent.recv(1000))["number"])
        made.poller.poll(0)
    assert found == list(range(count))


def test_nothing_is_said_to_an_agent_that_has_gone(ends: tuple[Peer, Ends]) -> None:
    peer, made = ends
    for _ in range(2000):
        peer.send({"filler": "x" * 200})  # the last of them wait
    made.agent.close()
    made.poller.poll(5)
    assert made.gone == [peer]
    read, write = os.pipe()
    peer.send({"late": True}, [write])
    assert not is_open(write)
    os.close(read)


def test_an_agent_that_goes_between_two_polls_is_noticed_by_the_second(ends: tuple[Peer, Ends]) -> None:
    peer, made = ends
    made.agent.close()
    peer.send({"into": "the void"})
    assert made.gone == []
    made.poller.poll(5)
    assert made.gone == [peer]
