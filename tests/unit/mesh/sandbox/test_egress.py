"""The CONNECT proxy: what it lets through and how it refuses. That a real API server gets through it is shown by tests/e2e with --kube=real."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from mesh.sandbox import egress
from mesh.sandbox.egress import Egress, Refused, target_of
from mesh.sandbox.relay import Loop
from tests.support.sandbox_loop import running


def test_addresses_of_the_sandbox_are_dialled() -> None:
    assert target_of(b"CONNECT 198.18.0.1:10250 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n") == ("198.18.0.1", 10250)
    assert target_of(b"CONNECT 198.19.255.254:443 HTTP/1.0\r\n\r\n") == ("198.19.255.254", 443)


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("CONNECT 127.0.0.1:80 HTTP/1.1", "403 Forbidden"),
        ("CONNECT 198.20.0.1:80 HTTP/1.1", "403 Forbidden"),
        ("CONNECT [::1]:80 HTTP/1.1", "403 Forbidden"),
        ("CONNECT 198.18.0.1:0 HTTP/1.1", "403 Forbidden"),
        ("CONNECT 198.18.0.1:65536 HTTP/1.1", "403 Forbidden"),
        ("CONNECT injector.svc:443 HTTP/1.1", "400 Bad Request"),
        ("CONNECT 198.18.0.1 HTTP/1.1", "400 Bad Request"),
        ("GET http://198.18.0.1:80/ HTTP/1.1", "405 Method Not Allowed"),
        ("CONNECT 198.18.0.1:80", "400 Bad Request"),
        ("CONNECT 198.18.0.1:80 SMTP/1.1", "400 Bad Request"),
        ("", "400 Bad Request"),
    ],
)
def test_everything_else_is_refused(line: str, status: str) -> None:
    with pytest.raises(Refused) as caught:
        target_of(f"{line}\r\n\r\n".encode())
    assert caught.value.status == status


@pytest.fixture
def proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A proxy that takes 127.0.0.0/8 for the sandbox's network."""
    monkeypatch.setattr(egress, "SANDBOX_NETWORK", egress.ipaddress.ip_network("127.0.0.0/8"))
    loop, path = Loop(), tmp_path / "egress.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        Egress(loop, listener)
        with running(loop):
            yield path


def ask(path: Path, head: bytes) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(10)
    client.connect(str(path))
    client.sendall(head)
    return client


def test_a_tunnel_carries_bytes_both_ways_and_each_half_close(proxy: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        port = server.getsockname()[1]
        with ask(proxy, f"CONNECT 127.0.0.1:{port} HT".encode()) as client:
            client.sendall(b"TP/1.1\r\nHost: x\r\n\r\n")  # a head may come in pieces
            accepted, _ = server.accept()
            with accepted:
                assert client.recv(4096) == b"HTTP/1.1 200 Connection Established\r\n\r\n"
                client.sendall(b"there")
                client.shutdown(socket.SHUT_WR)
                accepted.settimeout(10)
                with accepted.makefile("rb") as stream:
                    assert stream.read() == b"there"
                accepted.sendall(b"and back")
                accepted.shutdown(socket.SHUT_WR)
                with client.makefile("rb") as stream:
                    assert stream.read() == b"and back"


def test_a_target_that_refuses_is_502_with_the_reason(proxy: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    with ask(proxy, f"CONNECT 127.0.0.1:{port} HTTP/1.1\r\n\r\n".encode()) as client, client.makefile("rb") as stream:
        answer = stream.read()
    assert answer.startswith(b"HTTP/1.1 502 Bad Gateway\r\n")
    assert answer.endswith(f"127.0.0.1:{port}: Connection refused\n".encode())


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"CONNECT 198.18.0.1:80 HTTP/1.1\r\n\r\n", b"403 Forbidden"),
        (b"CONNECT 127.0.0.1:80 HTTP/1.1\r\n\r\nearly", b"400 Bad Request"),
        (b"x" * 9000, b"431 Request Header Fields Too Large"),
    ],
)
def test_refusals_are_answered_and_the_connection_ends(proxy: Path, head: bytes, status: bytes) -> None:
    with ask(proxy, head) as client:
        answer = b""
        try:
            while data := client.recv(4096):
                answer += data
        except ConnectionResetError:  # what was sent beyond the bound was never read
            pass
    assert answer.split(b"\r\n")[0] == b"HTTP/1.1 " + status
