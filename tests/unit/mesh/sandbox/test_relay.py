"""Pairs of real sockets relayed in one loop."""

import socket
import threading
from functools import partial
from pathlib import Path

import pytest

from mesh.sandbox.relay import Loop, Relay, parse_address, stream_socket
from tests.support.sandbox_loop import closed_port, read_all, running, upper


def relay(loop: Loop, client: socket.socket, target: tuple[str, int], **more: object) -> None:
    client.setblocking(False)
    Relay(loop, client, stream_socket(target), target, **more)  # type: ignore[arg-type]


def ends() -> tuple[socket.socket, socket.socket]:
    """A client's socket and the one that was accepted from it, over TCP."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname(), timeout=10)
        return client, listener.accept()[0]


@pytest.mark.parametrize(
    ("text", "expected"), [("127.0.0.1:80", ("127.0.0.1", 80)), ("[::1]:80", ("::1", 80)), ("198.18.0.1:0", ("198.18.0.1", 0))]
)
def test_addresses(text: str, expected: tuple[str, int]) -> None:
    assert parse_address(text) == expected


@pytest.mark.parametrize("text", ["", "127.0.0.1", "name:80", "127.0.0.1:", "127.0.0.1:x", "1.2.3:80"])
def test_what_is_no_address_is_named(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not <ip>:<port>") as raised:
        parse_address(text)
    assert repr(text) in str(raised.value)


def test_the_end_of_the_request_travels_and_the_answer_comes_back() -> None:
    client, accepted = ends()
    with client, upper() as target, running(partial(relay, client=accepted, target=target)):
        client.sendall(b"abc" * 200_000)  # more than the pipe and the sockets hold
        client.shutdown(socket.SHUT_WR)
        assert read_all(client) == b"ABC" * 200_000


def test_an_opening_comes_before_the_first_byte_of_the_target(tmp_path: Path) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "s"))
    listener.listen()
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(10)
    client.connect(str(tmp_path / "s"))
    accepted, _ = listener.accept()
    listener.close()
    with client, upper() as target, running(partial(relay, client=accepted, target=target, opening=b"open:")):
        client.sendall(b"x")
        client.shutdown(socket.SHUT_WR)
        assert read_all(client) == b"open:X"


def test_a_target_that_is_not_there_breaks_the_client_or_is_told_in_words() -> None:
    client, accepted = ends()
    target = ("127.0.0.1", closed_port())
    with client, running(partial(relay, client=accepted, target=target)), pytest.raises(ConnectionResetError):
        client.recv(1)
    client, accepted = ends()
    with client, running(partial(relay, client=accepted, target=target, refusal=lambda why: f"no: {why}".encode())):
        assert read_all(client) == b"no: Connection refused"


def test_a_break_on_one_side_is_a_break_on_the_other() -> None:
    client, accepted = ends()
    with socket.create_server(("127.0.0.1", 0)) as listener, client:
        listener.settimeout(10)
        with running(partial(relay, client=accepted, target=listener.getsockname()[:2])):
            server, _ = listener.accept()
            server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
            server.close()
            with pytest.raises(ConnectionResetError):
                client.recv(1)


def test_one_slow_reader_holds_back_its_own_sender_only() -> None:
    slow, accepted = ends()
    fast, other = ends()
    with socket.create_server(("127.0.0.1", 0)) as flood, upper() as target, slow, fast:
        flood.settimeout(10)

        def begin(loop: Loop) -> None:
            relay(loop, accepted, flood.getsockname()[:2])
            relay(loop, other, target)

        with running(begin):
            source, _ = flood.accept()
            source.settimeout(0.2)
            sent = 0
            with pytest.raises(TimeoutError):
                while sent < 1 << 28:
                    sent += source.send(b"x" * 65536)
            fast.sendall(b"meanwhile")
            fast.shutdown(socket.SHUT_WR)
            assert read_all(fast) == b"MEANWHILE"
            received = threading.Thread(target=source.close)
            received.start()
            assert len(read_all(slow)) == sent
            received.join()
