import select
import socket
import struct
from unittest.mock import Mock

import pytest

from samples.bookinfo.acceptor import Acceptor
from samples.bookinfo.web import Request, Response, Service
from tests.support.injector_bookinfo import fetch, serving


def echo(request: Request) -> Response:
    if request.path == "/bug":
        raise ZeroDivisionError
    return Response(200, f"{request.method} {request.path} {sorted(request.query.items())} {request.body!r}".encode(), "text/plain")


def talk(port: int, data: bytes) -> bytes:
    """Send, close our side, and read to the end."""
    with socket.create_connection(("127.0.0.1", port), 5) as client:
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: client.recv(65536), b""))


@pytest.mark.parametrize(
    ("data", "bodies"),
    [
        (b"GET /a?x=1&y=%20 HTTP/1.1\r\nHost: h\r\n\r\n", [b"GET /a [('x', '1'), ('y', ' ')] b''"]),
        (b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n" * 3, [b"GET /a [] b''"] * 3),
        (b"POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabcGET /b HTTP/1.1\r\nHost: h\r\n\r\n", [b"POST /p [] b'abc'", b"GET /b [] b''"]),
        (b"POST /p HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nab\r\n1\r\nc\r\n0\r\nT: 1\r\n\r\n", [b"POST /p [] b'abc'"]),
        (b"\r\nGET /%C3%BC HTTP/1.0\r\n\r\n", ["GET /ü [] b''".encode()]),
    ],
)
def test_requests_are_answered_in_order(data: bytes, bodies: list[bytes]) -> None:
    with serving(echo) as port:
        answer = talk(port, data)
    assert [part.partition(b"\r\n\r\n")[2] for part in answer.split(b"HTTP/1.1 200 OK")[1:]] == bodies


def test_head_has_the_length_and_no_body() -> None:
    with serving(echo) as port:
        answer = talk(port, b"HEAD /a HTTP/1.1\r\nHost: h\r\n\r\n")
    assert b"content-length: 14\r\n" in answer
    assert answer.endswith(b"\r\n\r\n")


def test_expect_is_answered_before_the_body() -> None:
    with serving(echo) as port, socket.create_connection(("127.0.0.1", port), 5) as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n")
        assert client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b"x")
        assert b"b'x'" in client.recv(1000)


@pytest.mark.parametrize(
    ("head", "kept"),
    [("HTTP/1.1\r\n", True), ("HTTP/1.1\r\nConnection: close\r\n", False), ("HTTP/1.0\r\n", False), ("HTTP/1.0\r\nConnection: keep-alive\r\n", True)],
)
def test_connection_is_kept_as_the_version_and_the_client_wish(head: str, kept: bool) -> None:
    with serving(echo) as port:
        answer = talk(port, f"GET / {head}\r\n".encode() * 2)
    assert answer.count(b"HTTP/1.1 200") == (2 if kept else 1)
    assert (b"connection: keep-alive" in answer) == kept


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\n\r\n", 400),
        (b"G(T / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nName : x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 2000000\r\n\r\n", 413),
        (b"GET / HTTP/1.1\r\n" + b"A: " + b"x" * 40000 + b"\r\n\r\n", 431),
    ],
)
def test_what_is_no_request_is_refused_and_the_connection_closed(data: bytes, status: int) -> None:
    with serving(echo) as port:
        answer = talk(port, data)
        assert answer.startswith(f"HTTP/1.1 {status} ".encode())
        assert b"connection: close" in answer
        assert fetch(port, "/")[0] == 200


class Abandoned(socket.socket):
    """A connection whose client resets it as soon as it has an answer."""

    client: socket.socket

    def sendall(self, data: bytes, flags: int = 0) -> None:  # type: ignore[override]
        super().sendall(data, flags)
        self.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.client.close()
        poll = select.poll()
        poll.register(self, select.POLLHUP)
        assert poll.poll(5000)


def test_client_that_resets_after_a_bad_request_ends_the_session_quietly() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname(), 5)
        accepted, _ = listener.accept()
        with Abandoned(fileno=accepted.detach()) as connection:
            connection.client = client
            client.sendall(b"nonsense\r\n")
            acceptor = Mock(spec=Acceptor)
            Service("test", echo).session(connection, acceptor)
            acceptor.mark.assert_called_once_with(connection, True)


def test_bug_in_a_handler_is_500_and_the_service_lives_on() -> None:
    with serving(echo) as port:
        assert fetch(port, "/bug") == (500, b'{"error": "internal error"}')
        assert fetch(port, "/")[0] == 200


def test_idle_connection_is_closed() -> None:
    with serving(echo, idle_seconds=0.05) as port, socket.create_connection(("127.0.0.1", port), 5) as client:
        assert client.recv(10) == b""


def test_cookies_and_forms_are_read() -> None:
    request = Request("POST", "/", {}, {"cookie": "a=1; b=x=y;junk"}, b"u=j%C3%BC&p=")
    assert request.cookies() == {"a": "1", "b": "x=y"}
    assert request.form() == {"u": "jü", "p": ""}


def test_repeated_headers_are_joined() -> None:
    seen: list[Request] = []

    def keep(request: Request) -> Response:
        seen.append(request)
        return Response(204)

    with serving(keep) as port:
        talk(port, b"GET / HTTP/1.1\r\nA: 1\r\na: 2\r\nCookie: x=1\r\nCookie: y=2\r\n\r\n")
    assert dict(seen[0].headers) == {"a": "1,2", "cookie": "x=1; y=2"}
