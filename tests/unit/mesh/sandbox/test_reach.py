"""Ports inside that stand for addresses outside."""

import json
import socket
from pathlib import Path

import pytest

from mesh.sandbox.reach import Reach, read, write
from mesh.sandbox.relay import Loop, stream_socket
from tests.support.sandbox_loop import closed_port, read_all, running, upper


def close(made: Reach) -> None:
    for sock in made._listeners.values():
        sock.close()


def test_a_port_leads_to_its_target_and_stays_after_a_restart(tmp_path: Path) -> None:
    file = tmp_path / "reach.json"
    made: list[Reach] = []
    with upper() as (host, port):
        target = f"{host}:{port}"

        def begin(loop: Loop) -> None:
            made.append(Reach(loop, stream_socket, file, "127.0.0.1"))
            made[0].address(target)

        with running(begin):
            address = made[0].address(target)
            name, _, inside = address.rpartition(":")
            assert json.loads(file.read_text()) == {target: int(inside)}
            with socket.create_connection((name, int(inside)), timeout=10) as client:
                client.sendall(b"up")
                client.shutdown(socket.SHUT_WR)
                assert read_all(client) == b"UP"
        close(made[0])
        again = Reach(Loop(), stream_socket, file, "127.0.0.1")
        assert again.address(target) == address
        close(again)


def test_each_target_has_a_port_of_its_own(tmp_path: Path) -> None:
    made = Reach(Loop(), stream_socket, tmp_path / "reach.json", "127.0.0.1")
    found = [made.address(target) for target in ("127.0.0.1:1", "[::1]:2", "127.0.0.1:1")]
    assert found[0] == found[2] != found[1]
    with pytest.raises(ValueError, match="'name:80' is not <ip>:<port>"):
        made.address("name:80")
    assert set(read(tmp_path / "reach.json")) == {"127.0.0.1:1", "[::1]:2"}
    close(made)


def test_a_port_that_was_asked_for_is_used_and_one_that_is_taken_is_an_error(tmp_path: Path) -> None:
    file, port = tmp_path / "reach.json", closed_port()
    assert read(file) == {}
    write(file, {"127.0.0.1:443": port})
    made = Reach(Loop(), stream_socket, file, "127.0.0.1")
    assert made.address("127.0.0.1:443") == f"127.0.0.1:{port}"
    with pytest.raises(OSError, match="Address already in use"):
        Reach(Loop(), stream_socket, file, "127.0.0.1")
    close(made)


def test_a_target_that_is_away_breaks_the_connection(tmp_path: Path) -> None:
    made: list[Reach] = []
    with running(lambda loop: made.append(Reach(loop, stream_socket, tmp_path / "reach.json", "127.0.0.1")) or made[0].address(f"127.0.0.1:{closed_port()}")):
        (sock,) = made[0]._listeners.values()
        with socket.create_connection(sock.getsockname(), timeout=10) as client, pytest.raises(ConnectionResetError):
            client.recv(1)
    close(made[0])
