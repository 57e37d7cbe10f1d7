"""What the forwarder is asked, and what it means that it does not answer. A real one is asked in test_supervisor."""

import json
import socket
import threading
from pathlib import Path

import pytest

from mesh.sandbox import forwardclient
from mesh.sandbox.failure import SandboxError
from mesh.sandbox.layout import Layout, locate


@pytest.fixture
def layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    monkeypatch.setenv("TRIOMESH_STATE", str(tmp_path))
    found = locate("a")
    found.root.mkdir()
    return found


def answering(layout: Layout, answer: bytes) -> list[bytes]:
    """A forwarder that takes one request; the request arrives in the list before its answer goes out."""
    asked: list[bytes] = []
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(layout.forward_socket))
    server.listen()

    def serve() -> None:
        connection, _ = server.accept()
        with server, connection, connection.makefile("rb") as lines:
            asked.append(lines.readline())
            connection.sendall(answer)

    threading.Thread(target=serve, daemon=True).start()
    return asked


def test_nobody_answers(layout: Layout) -> None:
    assert forwardclient.forwards("a") == {}
    with pytest.raises(SandboxError, match="no host address for Service ns/web port 80 after 1 s"):
        forwardclient.wait_forward("a", "ns/web", 80, 1)
    with pytest.raises(SandboxError, match="forwarder does not answer"):
        forwardclient.reach("a", "127.0.0.1:1")


def test_an_address_is_waited_for(layout: Layout) -> None:
    asked = answering(layout, b'{"address": "127.0.0.1:40123"}\n')
    assert forwardclient.wait_forward("a", "ns/web", 80) == "127.0.0.1:40123"
    assert json.loads(asked[0]) == {"wait": ["ns/web", "80"]}


def test_what_cannot_be_reached_is_said(layout: Layout) -> None:
    asked = answering(layout, b'{"error": "not an address"}\n')
    with pytest.raises(SandboxError, match="x cannot be made reachable in the sandbox: not an address"):
        forwardclient.reach("a", "x")
    assert json.loads(asked[0]) == {"reach": "x"}


def test_published_addresses(layout: Layout) -> None:
    layout.forwards_file.write_text('{"ns/web": {"80": "127.0.0.1:1"}}')
    assert forwardclient.forwards("a") == {"ns/web": {"80": "127.0.0.1:1"}}
