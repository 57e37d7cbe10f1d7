"""The host forwarder's relay, over real sockets in one namespace."""

import json
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mesh.sandbox.forward import Forwarder, HostSide
from mesh.sandbox.relay import Loop


@contextmanager
def relay(tmp_path: Path, target: str) -> Iterator[tuple[str, int]]:
    """A forwarder in a thread, listening for one port."""
    loop = Loop()
    forwarder = Forwarder(loop, HostSide().listen, tmp_path / "forwards.json")
    forwarder.apply({"ns/web": {"80": target}})
    stop, wake = socket.socketpair()

    class Stop(Exception):
        pass

    def on_stop(_events: int) -> None:
        raise Stop

    def run() -> None:
        try:
            loop.run()
        except Stop:
            forwarder.apply({})

    loop.watch(stop.fileno(), select.EPOLLIN, on_stop)
    thread = threading.Thread(target=run)
    thread.start()
    host, _, port = json.loads((tmp_path / "forwards.json").read_text())["ns/web"]["80"].rpartition(":")
    try:
        yield host, int(port)
    finally:
        wake.send(b"x")
        thread.join(10)
        stop.close()
        wake.close()
    assert json.loads((tmp_path / "forwards.json").read_text()) == {}


def listen() -> socket.socket:
    sock = socket.socket()
    sock.settimeout(10)
    sock.bind(("127.0.0.1", 0))
    sock.listen()
    return sock


def read_all(sock: socket.socket) -> bytes:
    data = b""
    while chunk := sock.recv(1 << 16):
        data += chunk
    return data


def test_each_half_closes_by_itself_and_every_byte_arrives(tmp_path: Path) -> None:
    with listen() as server, relay(tmp_path, f"127.0.0.1:{server.getsockname()[1]}") as address:
        with socket.create_connection(address, timeout=10) as client:
            up = bytes(range(256)) * 20_000  # more than the sockets and the pipe hold: the sender is held back

            sender = threading.Thread(target=lambda: (client.sendall(up), client.shutdown(socket.SHUT_WR)))
            sender.start()
            accepted, _ = server.accept()
            with accepted:
                accepted.settimeout(10)
                assert read_all(accepted) == up
                accepted.sendall(b"answer after the end of the request")
                accepted.shutdown(socket.SHUT_WR)
                assert read_all(client) == b"answer after the end of the request"
            sender.join()


def test_a_target_that_refuses_breaks_the_clients_connection(tmp_path: Path) -> None:
    with listen() as gone:
        target = f"127.0.0.1:{gone.getsockname()[1]}"
    with relay(tmp_path, target) as address, pytest.raises(ConnectionResetError):
        with socket.create_connection(address, timeout=10) as client:  # the reset may come before connect() returns
            client.recv(1)
