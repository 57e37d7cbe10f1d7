"""The demo's load, against a real server."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from mesh.cli.load import Client


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.answer(200, f"hello {self.headers.get('Cookie', '')}".encode())

    def do_POST(self) -> None:
        sent = self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(302 if b"username=jason" in sent else 401, b"", ("Set-Cookie", "session=abc; HttpOnly") if b"jason" in sent else None)

    def answer(self, status: int, body: bytes, header: tuple[str, str] | None = None) -> None:
        self.send_response(status)
        if header:
            self.send_header(*header)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing on stderr."""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    made = Client(url, 4)
    yield made
    made.pool.clear()


def test_many_sends_as_many_as_asked(client: Client) -> None:
    assert [answer.status for answer in client.many("/", 20)] == [200] * 20


def test_login_gives_the_session_without_following_the_redirect(client: Client) -> None:
    session = client.login("jason")
    assert session == {"Cookie": "session=abc"}
    assert client.send("GET", "/", session).body == "hello session=abc"


def test_a_refused_login_gives_no_session(client: Client) -> None:
    assert client.login("nobody") == {}


def test_a_server_that_is_gone_is_an_answer_with_status_0() -> None:
    answer = Client("http://127.0.0.1:1").send("GET", "/")
    assert answer.status == 0 and "refused" in answer.body
