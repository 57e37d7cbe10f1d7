"""HTTP/1.1 over TLS: one trio task per connection, h11 for the grammar.

Why not Hypercorn, which serves our other HTTPS endpoints: handlers here need the client's certificate, and exec, attach and
port-forward need the bare connection after the request head (WebSocket or SPDY, relayed without a look). ASGI has neither.
ALPN offers http/1.1 only.

A handler answers with a `Response` (complete), a `Stream` (chunked until its function returns or the client leaves) or a
`Takeover` (the connection is its own from now on).
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import parse_qs, unquote

import h11
import trio

log = logging.getLogger("mesh.sandbox.apiserver.http")

MAX_BODY_BYTES = 3 * 1024 * 1024  # kube-apiserver's limit for requests
MAX_HEAD_BYTES = 64 * 1024
IDLE_SECONDS = 300.0
REQUEST_SECONDS = 60.0  # from the first byte of a request to its last
HANDSHAKE_SECONDS = 10.0
READ_BYTES = 65536

Headers = Sequence[tuple[bytes, bytes]]
Send = Callable[[bytes], Awaitable[None]]


@dataclass(slots=True)
class Request:
    """One complete request. `headers` keys are lower case; `certificate` is what `SSLSocket.getpeercert()` says (verified)."""

    method: str
    target: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    raw_headers: list[tuple[bytes, bytes]]
    body: bytes
    certificate: dict[str, Any] | None = None
    peer: str = ""

    def arg(self, name: str, default: str = "") -> str:
        """The last value of a query parameter."""
        return self.query[name][-1] if name in self.query else default

    def flag(self, name: str) -> bool:
        """A boolean query parameter, as Go's strconv.ParseBool reads it."""
        return self.arg(name) in ("1", "t", "T", "true", "TRUE", "True")


@dataclass(slots=True)
class Response:
    """A complete answer."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: list[tuple[str, str]] = field(default_factory=list)


@dataclass(slots=True)
class Stream:
    """An answer of unknown length: `run(send)` writes it and is cancelled when the client leaves."""

    run: Callable[[Send], Awaitable[None]]
    status: int = 200
    content_type: str = "application/json"
    headers: list[tuple[str, str]] = field(default_factory=list)


@dataclass(slots=True)
class Takeover:
    """`run(stream, rest)` owns the connection; `rest` are bytes that came after the request."""

    run: Callable[[trio.abc.Stream, bytes], Awaitable[None]]


Reply = Response | Stream | Takeover
Respond = Callable[[Request], Awaitable[Reply]]


async def serve(listeners: Sequence[trio.SocketListener], tls: ssl.SSLContext, respond: Respond, task_status: trio.TaskStatus[None]) -> None:
    """Accept on all `listeners` until cancelled. Closes: every connection."""
    async with trio.open_nursery() as nursery:
        for listener in listeners:
            nursery.start_soon(partial(trio.serve_listeners, partial(_connection, tls=tls, respond=respond), [listener]))
        task_status.started()


async def _connection(transport: trio.SocketStream, tls: ssl.SSLContext, respond: Respond) -> None:
    stream = trio.SSLStream(transport, tls, server_side=True, https_compatible=True)
    try:
        with trio.fail_after(HANDSHAKE_SECONDS):
            await stream.do_handshake()
        certificate = stream.getpeercert() or None  # type: ignore[attr-defined]
        name = transport.socket.getpeername()
        await _Connection(stream, certificate, str(name[0]) if name else "", respond).run()
    except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError, OSError) as exc:
        log.debug("connection ended: %r", exc)
    except Exception:
        log.exception("connection failed")
    finally:
        with trio.move_on_after(1) as scope:
            scope.shield = True
            await trio.aclose_forcefully(stream)


class _Connection:
    def __init__(self, stream: trio.SSLStream[trio.SocketStream], certificate: dict[str, Any] | None, peer: str, respond: Respond) -> None:
        self._stream = stream
        self._certificate = certificate
        self._peer = peer
        self._respond = respond
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)

    async def run(self) -> None:
        while True:
            try:
                request = await self._next_request()
            except h11.RemoteProtocolError as exc:
                await self._refuse(exc.error_status_hint, str(exc))
                return
            if request is None:
                return
            reply = await self._respond(request)
            if isinstance(reply, Takeover):
                await reply.run(self._stream, self._h11.trailing_data[0])
                return
            if isinstance(reply, Stream):
                await self._send_stream(reply, request.method == "HEAD")
            else:
                await self._send_response(reply)
            if self._h11.our_state is not h11.DONE or self._h11.their_state is not h11.DONE:
                return
            self._h11.start_next_cycle()

    async def _next_request(self) -> Request | None:
        with trio.move_on_after(IDLE_SECONDS) as idle:
            head = await self._event()
        if idle.cancelled_caught or not isinstance(head, h11.Request):
            return None
        body = bytearray()
        with trio.fail_after(REQUEST_SECONDS):
            while True:
                if self._h11.they_are_waiting_for_100_continue:
                    await self._stream.send_all(self._h11.send(h11.InformationalResponse(status_code=100, headers=[])) or b"")
                event = await self._event()
                if isinstance(event, h11.Data):
                    body += event.data
                    if len(body) > MAX_BODY_BYTES:
                        raise h11.RemoteProtocolError(f"request body is larger than {MAX_BODY_BYTES} bytes", error_status_hint=413)
                elif isinstance(event, h11.EndOfMessage):
                    break
                else:
                    return None
        target = head.target.decode("latin-1")
        path, _, query = target.partition("?")
        headers: dict[str, str] = {}
        for name, value in head.headers:
            key, text = name.decode("latin-1"), value.decode("latin-1")
            headers[key] = f"{headers[key]}, {text}" if key in headers else text
        return Request(head.method.decode("ascii"), target, unquote(path), parse_qs(query, keep_blank_values=True), headers,
                       list(head.headers.raw_items()), bytes(body), self._certificate, self._peer)  # fmt: skip

    async def _event(self) -> Any:
        while True:
            event = self._h11.next_event()
            if event is not h11.NEED_DATA:
                return event
            self._h11.receive_data(bytes(await self._stream.receive_some(READ_BYTES)))

    async def _send_response(self, reply: Response) -> None:
        headers = _headers(reply.content_type, reply.headers, [(b"content-length", b"%d" % len(reply.body))])
        parts = [h11.Response(status_code=reply.status, headers=headers), h11.Data(data=reply.body), h11.EndOfMessage()]
        await self._stream.send_all(b"".join(self._h11.send(part) or b"" for part in parts))

    async def _send_stream(self, reply: Stream, head_only: bool) -> None:
        headers = _headers(reply.content_type, reply.headers, [(b"transfer-encoding", b"chunked"), (b"cache-control", b"no-cache, private")])
        await self._stream.send_all(self._h11.send(h11.Response(status_code=reply.status, headers=headers)) or b"")

        async def send(data: bytes) -> None:
            if self._h11.our_state is not h11.SEND_BODY:
                await trio.sleep_forever()  # the client left in this very tick: cancellation is on its way
            if data:
                await self._stream.send_all(self._h11.send(h11.Data(data=data)) or b"")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._until_client_leaves, nursery.cancel_scope)
            if not head_only:
                await reply.run(send)
            # The reader may have been cancelled by the client's leaving; then nothing more can be said.
            nursery.cancel_scope.cancel()
        if self._h11.our_state is h11.SEND_BODY:
            await self._stream.send_all(self._h11.send(h11.EndOfMessage()) or b"")

    async def _until_client_leaves(self, scope: trio.CancelScope) -> None:
        try:
            while data := await self._stream.receive_some(READ_BYTES):
                self._h11.receive_data(bytes(data))  # the next request, sent early
                if len(self._h11.trailing_data[0]) > MAX_BODY_BYTES:
                    break
            self._h11.receive_data(b"")
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        self._h11.send_failed()  # nobody listens: no end of message
        scope.cancel()

    async def _refuse(self, code: int, why: str) -> None:
        if self._h11.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        await self._send_response(Response(code, why.encode(), "text/plain", [("connection", "close")]))


def _headers(content_type: str, headers: list[tuple[str, str]], framing: Headers) -> list[tuple[bytes, bytes]]:
    return [(b"content-type", content_type.encode()), *((k.encode(), v.encode("utf-8")) for k, v in headers), *framing]
