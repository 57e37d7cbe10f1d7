"""What an API server talks to: a webhook and a kubelet, as small real TLS servers in threads."""

from __future__ import annotations

import base64
import contextlib
import json
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from mesh.sandbox import pki

Decide = Callable[[dict[str, Any]], dict[str, Any]]


class Webhook:
    """Answers AdmissionReviews with what `decide(request)` returns; remembers what it was asked."""

    def __init__(self, directory: Path, name: str) -> None:
        self.pki = pki.ensure(directory, (pki.Leaf("hook", "hook", names=(name,), server=True),))
        self.asked: list[dict[str, Any]] = []
        self.decide: Decide = lambda request: {"allowed": True}
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                review = json.loads(self.rfile.read(int(self.headers["content-length"])))
                hook.asked.append(review["request"])
                body = json.dumps({**review, "request": None, "response": {"uid": review["request"]["uid"], **hook.decide(review["request"])}}).encode()
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.pki.cert("hook"), self.pki.key("hook"))
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]

    @property
    def ca_bundle(self) -> str:
        return base64.b64encode(self.pki.ca.read_bytes()).decode()

    @contextlib.contextmanager
    def running(self) -> Iterator[Webhook]:
        with _serving(self._server):
            yield self


def json_patch(*operations: dict[str, Any]) -> dict[str, Any]:
    """An allowing answer that patches."""
    return {"allowed": True, "patchType": "JSONPatch", "patch": base64.b64encode(json.dumps(operations).encode()).decode()}


class Kubelet:
    """The wire side of a kubelet: chunked logs; after 101 whatever comes is sent back in upper case until `bye`."""

    def __init__(self, certificates: pki.Pki) -> None:
        self.heads: list[bytes] = []
        kubelet = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                data = b""
                while b"\r\n\r\n" not in data:
                    piece = self.request.recv(65536)
                    if not piece:
                        return
                    data += piece
                head, _, rest = data.partition(b"\r\n\r\n")
                kubelet.heads.append(head)
                if b" /containerLogs/default/p/gone" in head:
                    self.request.sendall(b"HTTP/1.1 404 Not Found\r\ncontent-length: 7\r\n\r\nno such")
                elif b" /containerLogs/" in head:
                    self.request.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n6\r\nline 1\r\n")
                    self.request.sendall(b"7\r\n\nline 2\r\n0\r\n\r\n")
                elif b"x-refuse" in head.lower():
                    self.request.sendall(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 3\r\n\r\nbad")
                else:
                    self.request.sendall(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n" + rest.upper())
                    while piece := self.request.recv(65536):
                        self.request.sendall(piece.upper())
                        if piece.endswith(b"bye"):
                            return

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True

        self._server = Server(("127.0.0.1", 0), Handler)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(certificates.ca))
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_cert_chain(certificates.cert("kubelet"), certificates.key("kubelet"))
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]

    @contextlib.contextmanager
    def running(self) -> Iterator[Kubelet]:
        with _serving(self._server):
            yield self


@contextlib.contextmanager
def _serving(server: socketserver.BaseServer) -> Iterator[None]:
    """Serve in a thread. Closes: `server`."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
