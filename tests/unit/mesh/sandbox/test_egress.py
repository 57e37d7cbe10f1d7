"""The CONNECT proxy into the sandbox."""

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mesh.sandbox import egress
from mesh.sandbox.egress import Egress, Refused, target_of
from tests.support.sandbox_loop import read_all, running


def head(line: str) -> bytes:
    return f"{line}\r\nHost: x\r\n\r\n".encode()


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_addresses_of_the_sandbox_are_served(version: str) -> None:
    assert target_of(head(f"CONNECT 198.18.0.1:10250 HTTP/{version}")) == ("198.18.0.1", 10250)


@pytest.mark.parametrize(
    ("line", "status", "words"),
    [
        ("CONNECT", "400 Bad Request", "not a request line: 'CONNECT'"),
        ("CONNECT 198.18.0.1:1 HTTP/2", "400 Bad Request", "not a request line"),
        ("GET http://198.18.0.1/ HTTP/1.1", "405 Method Not Allowed", "only CONNECT is served here, not GET"),
        ("CONNECT kubernetes.default:443 HTTP/1.1", "400 Bad Request", "names are not resolved here"),
        ("CONNECT 127.0.0.1:22 HTTP/1.1", "403 Forbidden", "127.0.0.1:22 is not an address of the sandbox"),
        ("CONNECT [::1]:22 HTTP/1.1", "403 Forbidden", "not an address of the sandbox"),
        ("CONNECT 198.20.0.1:80 HTTP/1.1", "403 Forbidden", "198.18.0.0/15"),
        ("CONNECT 198.18.0.1:0 HTTP/1.1", "403 Forbidden", "198.18.0.1:0"),
        ("CONNECT 198.18.0.1:65536 HTTP/1.1", "403 Forbidden", "198.18.0.1:65536"),
    ],
)
def test_everything_else_is_refused_in_words(line: str, status: str, words: str) -> None:
    with pytest.raises(Refused) as raised:
        target_of(head(line))
    assert raised.value.status == status and words in str(raised.value)


@contextmanager
def proxy(directory: Path) -> Iterator[socket.socket]:
    """A client connected to a running proxy."""
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as client:
        listener.bind(str(directory / "s"))
        listener.listen()
        with running(lambda loop: Egress(loop, listener)):
            client.settimeout(10)
            client.connect(str(directory / "s"))
            yield client


def test_a_refusal_is_an_answer_with_a_body_and_the_end(tmp_path: Path) -> None:
    with proxy(tmp_path) as client:
        client.sendall(head("GET / HTTP/1.1"))
        text, _, body = read_all(client).partition(b"\r\n\r\n")
        assert text.startswith(b"HTTP/1.1 405 Method Not Allowed\r\n") and f"Content-Length: {len(body)}".encode() in text


def test_a_head_may_come_in_pieces_and_has_an_end(tmp_path: Path) -> None:
    with proxy(tmp_path) as client:
        for byte in head("CONNECT 127.0.0.1:22 HTTP/1.1"):
            client.sendall(bytes([byte]))
        assert read_all(client).startswith(b"HTTP/1.1 403 ")
    (tmp_path / "s").unlink()
    with proxy(tmp_path) as client:
        client.sendall(b"CONNECT 198.18.0.1:1 HTTP/1.1\r\nX: " + b"x" * 8192)
        assert client.recv(1000).startswith(b"HTTP/1.1 431 ")


def test_bytes_before_the_tunnel_are_refused_and_silence_is_an_end(tmp_path: Path) -> None:
    with proxy(tmp_path) as client:
        client.sendall(head("CONNECT 198.18.0.1:1 HTTP/1.1") + b"early")
        assert read_all(client).startswith(b"HTTP/1.1 400 ")
    (tmp_path / "s").unlink()
    with proxy(tmp_path) as client:
        client.shutdown(socket.SHUT_WR)
        assert read_all(client) == b""


@pytest.mark.parametrize("listening", [True, False])
def test_a_tunnel_is_opened_or_the_reason_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listening: bool) -> None:
    # Addresses of the sandbox exist in its namespaces only: for this test its network is the loopback's.
    monkeypatch.setattr(egress, "SANDBOX_NETWORK", egress.ipaddress.ip_network("127.0.0.0/8"))
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        if not listening:
            server.close()
        with proxy(tmp_path) as client:
            client.sendall(head(f"CONNECT 127.0.0.1:{port} HTTP/1.1"))
            if not listening:
                answer = read_all(client)
                assert answer.startswith(b"HTTP/1.1 502 ") and f"127.0.0.1:{port}: {os.strerror(errno.ECONNREFUSED)}".encode() in answer
                return
            accepted, _ = server.accept()
            with accepted:
                assert client.recv(1000) == b"HTTP/1.1 200 Connection Established\r\n\r\n"
                client.sendall(b"through")
                assert accepted.recv(100) == b"through"
