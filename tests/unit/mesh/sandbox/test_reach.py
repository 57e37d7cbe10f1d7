"""Ports inside for addresses outside: one each, the same after a restart."""

import json
import socket
from contextlib import closing
from pathlib import Path

import pytest

from mesh.sandbox import reach
from mesh.sandbox.reach import Reach
from mesh.sandbox.relay import Loop, parse_address, stream_socket
from tests.support.sandbox_loop import running


def make(loop: Loop, file: Path) -> "closing[Reach]":
    return closing(Reach(loop, stream_socket, file, "127.0.0.1"))


def test_a_connection_comes_out_at_the_target(tmp_path: Path) -> None:
    loop = Loop()
    with make(loop, tmp_path / "reach.json") as ways, socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        target = f"127.0.0.1:{server.getsockname()[1]}"
        address = ways.address(target)
        assert ways.address(target) == address, "a target has one way"
        with running(loop), socket.create_connection(parse_address(address), timeout=10) as client:
            accepted, _ = server.accept()
            with accepted:
                client.sendall(b"out")
                assert accepted.recv(10) == b"out"
    assert json.loads((tmp_path / "reach.json").read_text()) == {target: parse_address(address)[1]}


def test_ports_of_the_file_are_listened_on_at_once(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    reach.write(tmp_path / "reach.json", {"127.0.0.1:1": port})
    with make(Loop(), tmp_path / "reach.json") as ways:
        socket.create_connection(("127.0.0.1", port), timeout=10).close()
        assert ways.address("127.0.0.1:1") == f"127.0.0.1:{port}"


def test_what_is_no_address_is_refused(tmp_path: Path) -> None:
    with make(Loop(), tmp_path / "reach.json") as ways, pytest.raises(ValueError, match="'collector:4317' is not <ip>:<port>"):
        ways.address("collector:4317")
    assert reach.read(tmp_path / "reach.json") == {}
