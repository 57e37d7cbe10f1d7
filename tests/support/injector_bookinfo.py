"""Bookinfo's services in threads of the test, on ports of 127.0.0.1."""

import http.client
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from samples.bookinfo.acceptor import Acceptor, listen
from samples.bookinfo.web import Handler, Request, Response, Service


def get(path: str, headers: Mapping[str, str] | None = None) -> Request:
    return Request("GET", path, {}, dict(headers or {}))


@contextmanager
def running(session: Callable[[socket.socket, Acceptor], None]) -> Iterator[int]:
    """The port of a session's acceptor, for the length of a `with`."""
    listener = listen(0, "127.0.0.1")
    acceptor = Acceptor(listener, session)
    thread = threading.Thread(target=acceptor.run)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        acceptor.stop()
        thread.join(10)
        assert not thread.is_alive()


@contextmanager
def serving(handler: Handler, idle_seconds: float = 30.0) -> Iterator[int]:
    with running(Service("test", handler, idle_seconds).session) as port:
        yield port


def fetch(port: int, path: str, headers: Mapping[str, str] | None = None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path, headers=dict(headers or {}))
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


class Recorder:
    """A handler that answers with a fixed response and keeps the requests."""

    def __init__(self, *responses: Response) -> None:
        self.requests: list[Request] = []
        self._responses = list(responses)

    def __call__(self, request: Request) -> Response:
        self.requests.append(request)
        return self._responses[min(len(self.requests), len(self._responses)) - 1]
