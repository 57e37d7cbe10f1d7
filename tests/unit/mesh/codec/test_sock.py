"""Socket calls against real sockets, in both forms."""

import select
import socket
from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    left, right = socket.socketpair()
    left.setblocking(False)
    right.setblocking(False)
    with left, right:
        yield left, right


Pair = tuple[socket.socket, socket.socket]


def test_recv_says_nothing_there_data_and_end(sock: Any, pair: Pair) -> None:
    left, right = pair
    assert sock.try_recv(left.fileno(), 10) is None
    right.send(b"abcdef")
    assert sock.try_recv(left.fileno(), 4) == b"abcd"
    assert sock.try_recv(left.fileno(), 4) == b"ef"
    right.close()
    assert sock.try_recv(left.fileno(), 4) == b""


def test_recv_is_bounded(sock: Any, pair: Pair) -> None:
    left, right = pair
    right.send(b"x" * 100_000)
    assert sock.try_recv(left.fileno(), 10**9) == b"x" * 100_000
    assert left.fileno() >= 0


def test_send_from_an_offset_until_full(sock: Any, pair: Pair) -> None:
    left, right = pair
    assert sock.try_send(left.fileno(), b"abcdef", 2) == 4
    assert right.recv(10) == b"cdef"
    assert sock.try_send(left.fileno(), b"abc", 3) == 0
    while sock.try_send(left.fileno(), b"x" * 65536) > 0:
        pass
    assert sock.try_send(left.fileno(), b"x") == -1


@pytest.mark.parametrize("offset", [-1, 4])
def test_send_checks_its_offset(sock: Any, pair: Pair, offset: int) -> None:
    with pytest.raises(ValueError, match="offset"):
        sock.try_send(pair[0].fileno(), b"abc", offset)


def test_errors_are_os_errors(sock: Any, pair: Pair) -> None:
    left, right = pair
    right.close()
    with pytest.raises(BrokenPipeError):
        sock.try_send(left.fileno(), b"x")
    left.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        sock.try_recv(2**20, 1)


def test_a_reset_is_reported(sock: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        accepted, _ = server.accept()
        with accepted:
            accepted.send(b"unread data makes close send RST")
            client.close()
            poll = select.poll()
            poll.register(accepted, select.POLLERR)
            assert poll.poll(5000)
            with pytest.raises(ConnectionResetError):
                sock.try_recv(accepted.fileno(), 10)


def test_quiet_until_anything_arrives(sock: Any, pair: Pair) -> None:
    left, right = pair
    assert sock.is_quiet(left.fileno())
    right.send(b"a")
    assert not sock.is_quiet(left.fileno())
    assert left.recv(10) == b"a"
    assert sock.is_quiet(left.fileno())
    right.close()
    assert not sock.is_quiet(left.fileno())
    assert not sock.is_quiet(2**20)


def test_short_read_skips_the_next_until_an_edge(sock: Any, pair: Pair) -> None:
    left, right = pair
    reader = sock.Sock(left.fileno())
    right.send(b"abc")
    assert reader.recv(10) == b"abc"
    assert reader.is_drained
    right.send(b"d")
    assert reader.recv(10) is None  # no edge was reported yet: the call is skipped
    reader.on_events(select.EPOLLOUT)
    assert reader.recv(10) is None
    reader.on_events(select.EPOLLIN)
    assert reader.recv(1) == b"d"
    assert not reader.is_drained  # as much as asked for: there may be more


def test_end_is_seen_after_a_short_read(sock: Any, pair: Pair) -> None:
    left, right = pair
    reader = sock.Sock(left.fileno())
    right.send(b"abc")
    right.close()
    reader.on_events(select.EPOLLIN | select.EPOLLRDHUP)
    assert reader.is_hung_up
    assert reader.recv(10) == b"abc"
    assert reader.recv(10) == b""
    assert reader.recv(10) == b""


def test_sock_sends(sock: Any, pair: Pair) -> None:
    left, right = pair
    writer = sock.Sock(left.fileno())
    assert writer.send(b"abc", 1) == 2
    assert right.recv(10) == b"bc"


@pytest.mark.parametrize(("family", "address"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_original_dst_of_a_direct_connection_is_none(sock: Any, family: socket.AddressFamily, address: str) -> None:
    with socket.create_server((address, 0), family=family) as server:
        with socket.create_connection(server.getsockname()[:2]):
            accepted, _ = server.accept()
            with accepted:
                assert sock.original_dst(accepted.fileno(), family) is None
                accepted.getpeername()  # the descriptor is still open
