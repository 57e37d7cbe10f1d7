"""Local HTTP: the small server behind admin, status and metrics ports, and a client for probes and scrapes.

Whole messages only, bounded in every dimension: head and body sizes, time for a request, connections at once. Not for
mesh traffic: ordinary trio streams, no poller.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl

import trio

from mesh.codec.events import END, ProtocolError
from mesh.codec.h1 import Limits, RequestHead, RequestParser, ResponseParser

_log = logging.getLogger(__name__)

_LIMITS = Limits(16 << 10, 100)
_MAX_BODY_BYTES = 64 << 10
_MAX_CONNECTIONS = 64
_REQUEST_SECONDS = 10.0
_IDLE_SECONDS = 60.0
_ANSWER_SECONDS = 60.0
_READ_BYTES = 64 << 10


@dataclass(frozen=True, slots=True)
class Request:
    """One request, its body whole. query: the last value of each parameter, decoded. peer: the client's IP address."""

    method: str
    path: str
    query: Mapping[str, str]
    head: RequestHead
    body: bytes
    peer: str

    @property
    def is_local(self) -> bool:
        """Sent from this pod's own loopback."""
        return self.peer.startswith("127.") or self.peer in ("::1", "::ffff:127.0.0.1")


@dataclass(frozen=True, slots=True)
class Answer:
    """headers: further whole lines."""

    status: int = 200
    body: bytes = b""
    content_type: str = "text/plain; charset=utf-8"
    headers: bytes = b""


Handler = Callable[[Request], Awaitable[Answer]]


def text(body: str, status: int = 200) -> Answer:
    return Answer(status, body.encode())


def as_json(value: Any, status: int = 200) -> Answer:
    return Answer(status, json.dumps(value, indent=1).encode() + b"\n", "application/json")


def method_not_allowed(allowed: str) -> Answer:
    return Answer(405, f"method not allowed, use {allowed}\n".encode(), headers=f"allow: {allowed}\r\n".encode())


async def serve(
    listeners: list[trio.SocketListener],
    handler: Handler,
    *,
    task_status: trio.TaskStatus[list[trio.SocketListener]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until cancelled. Closes: the listeners and their connections."""
    limit = trio.CapacityLimiter(_MAX_CONNECTIONS)

    async def connection(stream: trio.SocketStream) -> None:
        await _serve_connection(stream, handler, limit)

    await trio.serve_listeners(connection, listeners, task_status=task_status)


async def _serve_connection(stream: trio.SocketStream, handler: Handler, limit: trio.CapacityLimiter) -> None:
    async with stream:
        try:
            limit.acquire_nowait()
        except trio.WouldBlock:
            await _send(stream, text("too many connections\n", 503), False, False)
            return
        try:
            peer = stream.socket.getpeername()[0]
            await _serve_requests(stream, handler, peer)
        except (trio.BrokenResourceError, trio.ClosedResourceError, OSError):
            pass  # the client went away: nobody is left to be told
        except Exception:
            _log.exception("a request from %s failed", peer)
        finally:
            limit.release()


async def _serve_requests(stream: trio.SocketStream, handler: Handler, peer: str) -> None:
    parser = RequestParser(_LIMITS)
    while True:
        try:
            request = await _receive(stream, parser, peer)
        except ProtocolError as exc:
            await _send(stream, text(f"{exc.message}\n", exc.status), False, False)
            return
        except trio.TooSlowError:
            await _send(stream, text("the request took too long\n", 408), False, False)
            return
        if request is None:
            return
        is_head = request.method == "HEAD"
        try:
            answer = await handler(request)
        except Exception:
            _log.exception("%s %s failed", request.method, request.path)
            answer = text("internal error, see the proxy's log\n", 500)
        keep = request.head.keep_alive
        with trio.move_on_after(_ANSWER_SECONDS) as scope:
            await _send(stream, answer, keep, is_head)
        if scope.cancelled_caught or not keep:
            return
        parser.next()


async def _receive(stream: trio.SocketStream, parser: RequestParser, peer: str) -> Request | None:
    """None: the client closed, or was idle for too long. Raises: ProtocolError; TooSlowError inside a request."""
    if parser.is_idle:
        with trio.move_on_after(_IDLE_SECONDS):
            data = await stream.receive_some(_READ_BYTES)
            if data:
                parser.feed(bytes(data))
        if parser.is_idle:
            return None
    with trio.fail_after(_REQUEST_SECONDS):
        while (head := parser.head()) is None:
            await _more(stream, parser)
        if head.content_length > _MAX_BODY_BYTES:
            raise ProtocolError(413, f"the body has more than {_MAX_BODY_BYTES} bytes")
        if head.expect_continue and head.has_body:
            await stream.send_all(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = b""
        while (run := parser.body_data()) is not END:
            if run is None:
                await _more(stream, parser)
                continue
            body += run
            if len(body) > _MAX_BODY_BYTES:
                raise ProtocolError(413, f"the body has more than {_MAX_BODY_BYTES} bytes")
    query = dict(parse_qsl(head.query.decode("latin-1"), keep_blank_values=True))
    return Request(head.method.decode("latin-1"), head.path.decode("latin-1"), query, head, body, peer)


async def _more(stream: trio.SocketStream, parser: RequestParser) -> None:
    data = await stream.receive_some(_READ_BYTES)
    if data:
        parser.feed(bytes(data))
    else:
        parser.eof()


async def _send(stream: trio.SocketStream, answer: Answer, keep: bool, is_head: bool) -> None:
    status = answer.status
    try:
        reason = HTTPStatus(status).phrase
    except ValueError:
        reason = "Unknown"
    head = f"HTTP/1.1 {status} {reason}\r\n"
    if status >= 200 and status not in (204, 304):
        head += f"content-type: {answer.content_type}\r\ncontent-length: {len(answer.body)}\r\n"
    head += "cache-control: no-cache, max-age=0\r\nx-content-type-options: nosniff\r\nserver: triomesh\r\n"
    if not keep:
        head += "connection: close\r\n"
    body = b"" if is_head or status in (204, 304) else answer.body
    await stream.send_all(head.encode("latin-1") + answer.headers + b"\r\n" + body)


class FetchError(Exception):
    """A request of ours failed: the message says how, in a few words."""


@dataclass(frozen=True, slots=True)
class Fetched:
    status: int
    content_type: str
    body: bytes


async def fetch(
    stream: trio.abc.Stream, host: str, target: str, lines: bytes = b"", max_body_bytes: int = 1 << 20
) -> Fetched:
    """GET on a fresh connection. The caller sets the time limit and closes the stream.

    Args: lines: further header lines. Raises: FetchError: a malformed, oversized or missing answer.
    """
    parser = ResponseParser(_LIMITS)
    request = f"GET {target} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n".encode("latin-1")
    try:
        await stream.send_all(request + lines + b"\r\n")
        head = None
        while head is None or head.is_interim:
            if head is not None:
                parser.next()
            while (head := parser.head(b"GET")) is None:
                await _more_answer(stream, parser)
        body = bytearray()
        while (run := parser.body_data()) is not END:
            if run is None:
                await _more_answer(stream, parser)
                continue
            body += run
            if len(body) > max_body_bytes:
                raise FetchError(f"the answer has more than {max_body_bytes} bytes")
    except ProtocolError as exc:
        raise FetchError(f"malformed answer: {exc.message}") from exc
    except (trio.BrokenResourceError, OSError) as exc:
        raise FetchError(f"connection lost: {exc}") from exc
    content_type = head.get(b"content-type") or b""
    return Fetched(head.status, content_type.decode("latin-1"), bytes(body))


async def _more_answer(stream: trio.abc.Stream, parser: ResponseParser) -> None:
    data = await stream.receive_some(_READ_BYTES)
    if data:
        parser.feed(bytes(data))
        return
    parser.eof()
    if parser.is_idle:
        raise FetchError("the connection was closed without an answer")
