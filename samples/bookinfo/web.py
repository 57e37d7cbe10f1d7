"""Web: a lean HTTP/1.1 server over an Acceptor, with keep-alive.

A sample should not need a framework, and http.server's header parsing through the email package costs more than
everything else that these services do. Source: RFC 9112.
"""

import errno
import socket
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from io import BufferedReader
from urllib.parse import parse_qsl, unquote, urlsplit

from samples.bookinfo.acceptor import Acceptor, run_service

# Header block and body that a bookinfo request can sensibly have; nginx's and node's defaults are alike.
_MAX_HEAD = 32 * 1024
_MAX_BODY = 1024 * 1024
_LINGER_SECONDS = 1.0


class BadRequest(Exception):
    """What came is no request that can be answered; `status` is the answer, after which the connection closes."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Request:
    """One request. Header names are lower-case; of a repeated header the values are joined by commas."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes = b""

    def cookies(self) -> dict[str, str]:
        """The cookies sent. Source: RFC 6265 section 4.2."""
        pairs = (item.split("=", 1) for item in self.headers.get("cookie", "").split(";") if "=" in item)
        return {name.strip(): value.strip() for name, value in pairs}

    def form(self) -> dict[str, str]:
        """The fields of an application/x-www-form-urlencoded body; the last one wins."""
        return dict(parse_qsl(self.body.decode("utf-8", "replace"), keep_blank_values=True))


@dataclass(frozen=True, slots=True)
class Response:
    """An answer; the framing headers are the server's business."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = field(default=())


Handler = Callable[[Request], Response]


class Service:
    """Answers the requests of a connection with `handler`; `session` is what an Acceptor runs.

    Args: name: for the log. idle_seconds: how long a kept-alive connection may say nothing.
    Concurrency: `handler` is called from many threads at once.
    """

    def __init__(self, name: str, handler: Handler, idle_seconds: float = 30.0) -> None:
        self._name, self._handler, self._idle_seconds = name, handler, idle_seconds

    def session(self, connection: socket.socket, acceptor: Acceptor) -> None:
        """Serve one connection to its end."""
        connection.settimeout(self._idle_seconds)
        with connection.makefile("rb") as stream:
            while self._serve_one(connection, stream, acceptor):
                pass

    def _serve_one(self, connection: socket.socket, stream: BufferedReader, acceptor: Acceptor) -> bool:
        """Answer one request. Returns: whether the connection stays open."""
        try:
            line = _read_line(stream)
            if not line:
                return False
            acceptor.mark(connection, True)
            request, keep = _read_request(line, connection, stream)
        except BadRequest as exc:
            connection.sendall(_encode(Response(exc.status, f'{{"error": "{exc}"}}'.encode()), "GET", False))
            _linger(connection, stream)
            return False
        started = time.monotonic()
        response = self._answer(request)
        keep = keep and not acceptor.is_stopping
        connection.sendall(_encode(response, request.method, keep))
        milliseconds = (time.monotonic() - started) * 1000
        print(f"{self._name} {request.method} {request.path} {response.status} {milliseconds:.1f} ms", flush=True)
        acceptor.mark(connection, False)
        return keep

    def _answer(self, request: Request) -> Response:
        try:
            return self._handler(request)
        except Exception:  # the one boundary: a bug in a handler answers 500 and is logged, the service lives on
            traceback.print_exc()
            return Response(500, b'{"error": "internal error"}')


def serve(name: str, handler: Handler, idle_seconds: float = 30.0) -> None:
    """Run a service on port 9080 until SIGTERM or SIGINT (see acceptor.run_service)."""
    run_service(name, 9080, Service(name, handler, idle_seconds).session)


def _linger(connection: socket.socket, stream: BufferedReader) -> None:
    """Read what the client is still sending, within reason: closing over it would reset away our answer (RFC 9112 9.6)."""
    try:
        connection.shutdown(socket.SHUT_WR)
    except OSError as exc:
        if exc.errno != errno.ENOTCONN:
            raise
        return  # the client has reset the connection already
    connection.settimeout(_LINGER_SECONDS)
    left = _MAX_BODY
    while left > 0 and (data := stream.read1(65536)):
        left -= len(data)


def _read_line(stream: BufferedReader) -> bytes:
    line = stream.readline(_MAX_HEAD)
    if line in (b"\r\n", b"\n"):  # RFC 9112 2.2: an empty line before a request is to be ignored
        line = stream.readline(_MAX_HEAD)
    return line


def _read_request(line: bytes, connection: socket.socket, stream: BufferedReader) -> tuple[Request, bool]:
    """(the request that begins with this line, whether the client wants to go on). Raises: BadRequest."""
    words = line.rstrip(b"\r\n").split(b" ")
    if len(words) != 3 or not words[2].startswith(b"HTTP/1.") or not words[0].isalpha():
        raise BadRequest(400, "malformed request line")
    headers = _read_headers(stream, _MAX_HEAD - len(line))
    body = _read_body(connection, stream, headers)
    version, wish = words[2], headers.get("connection", "").lower()
    keep = "close" not in wish if version >= b"HTTP/1.1" else "keep-alive" in wish
    target = urlsplit(words[1].decode("latin-1"))
    query = dict(parse_qsl(target.query, keep_blank_values=True))
    return Request(words[0].decode(), unquote(target.path), query, headers, body), keep


def _read_headers(stream: BufferedReader, budget: int) -> dict[str, str]:
    headers: dict[str, str] = {}
    while True:
        line = stream.readline(budget)
        budget -= len(line)
        if budget <= 0:
            raise BadRequest(431, "the headers are too large")
        if line in (b"\r\n", b"\n"):
            return headers
        name, colon, value = line.partition(b":")
        if not colon or not name or name != name.strip():
            raise BadRequest(400, "malformed header")
        key, text = name.decode("latin-1").lower(), value.strip().decode("latin-1")
        if key in ("content-length", "host") and headers.get(key, text) != text:
            raise BadRequest(400, f"two different {key} headers")
        separator = "; " if key == "cookie" else ","
        headers[key] = text if key not in headers or key in ("content-length", "host") else headers[key] + separator + text


def _read_body(connection: socket.socket, stream: BufferedReader, headers: Mapping[str, str]) -> bytes:
    chunked, length = headers.get("transfer-encoding", "").lower(), headers.get("content-length", "0")
    if not chunked and length == "0":
        return b""
    if chunked and (chunked != "chunked" or "content-length" in headers):
        raise BadRequest(400, "unsupported transfer-encoding")
    if not (length.isascii() and length.isdigit()):
        raise BadRequest(400, "malformed content-length")
    if int(length) > _MAX_BODY:
        raise BadRequest(413, "the body is too large")
    if headers.get("expect", "").lower() == "100-continue":
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    if chunked:
        return b"".join(_chunks(stream))
    return _exactly(stream, int(length))


def _chunks(stream: BufferedReader) -> Iterator[bytes]:
    """Source: RFC 9112 section 7.1; trailers are read and dropped."""
    total = 0
    while True:
        word = stream.readline(1024).split(b";", 1)[0].strip()
        try:
            size = int(word, 16)
        except ValueError:
            raise BadRequest(400, "malformed chunk size") from None
        total += size
        if total > _MAX_BODY or size < 0:
            raise BadRequest(413, "the body is too large")
        if size == 0:
            _read_headers(stream, _MAX_HEAD)
            return
        yield _exactly(stream, size)
        if stream.readline(8).strip():
            raise BadRequest(400, "malformed chunk")


def _exactly(stream: BufferedReader, count: int) -> bytes:
    data: bytes = stream.read(count)
    if len(data) < count:
        raise ConnectionResetError("the client went away in the middle of a body")
    return data


def _encode(response: Response, method: str, keep: bool) -> bytes:
    try:
        phrase = HTTPStatus(response.status).phrase
    except ValueError:
        phrase = ""
    lines = [f"HTTP/1.1 {response.status} {phrase}", f"date: {_date()}", f"content-length: {len(response.body)}"]
    if response.body:
        lines.append(f"content-type: {response.content_type}")
    lines += [f"{name}: {value}" for name, value in response.headers]
    lines.append("connection: keep-alive" if keep else "connection: close")
    head = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"
    return head if method == "HEAD" else head + response.body


def _date() -> str:
    """IMF-fixdate, in English whatever the locale. Source: RFC 9110 section 5.6.7."""
    now = time.gmtime()
    day = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")[now.tm_wday]
    month = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")[now.tm_mon - 1]
    return f"{day}, {now.tm_mday:02} {month} {now.tm_year} {now.tm_hour:02}:{now.tm_min:02}:{now.tm_sec:02} GMT"
