"""Outgoing HTTP/1.1: to webhooks, kubelets and pods. One exchange per connection, streamed, over any trio stream."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

import h11
import trio

READ_BYTES = 65536


class ExchangeError(Exception):
    """The peer broke off or broke the protocol."""


@dataclass(slots=True)
class Answer:
    """Status and headers; `body()` streams the rest. Closes: nothing; the stream belongs to the caller."""

    status: int
    headers: list[tuple[str, str]]
    _connection: h11.Connection
    _stream: trio.abc.Stream

    async def body(self) -> AsyncGenerator[bytes, None]:
        """The body in pieces as they come. Raises: ExchangeError."""
        while True:
            event = await _next(self._connection, self._stream)
            if isinstance(event, h11.Data):
                yield bytes(event.data)
            else:
                return

    async def read(self, limit: int) -> bytes:
        """The whole body. Raises: ExchangeError: longer than `limit` bytes."""
        data = bytearray()
        async with aclosing(self.body()) as pieces:
            async for piece in pieces:
                data += piece
                if len(data) > limit:
                    raise ExchangeError(f"the answer is longer than {limit} bytes")
        return bytes(data)

    def header(self, name: str) -> str:
        """One header, "" when absent."""
        return next((value for key, value in self.headers if key == name), "")


async def connect(host: str, port: int, tls: ssl.SSLContext | None = None, server_name: str = "") -> trio.abc.Stream:
    """A connection, with TLS if a context is given. Raises: OSError, trio.BrokenResourceError."""
    transport = await trio.open_tcp_stream(host, port)
    if tls is None:
        return transport
    stream = trio.SSLStream(transport, tls, server_hostname=server_name or host, https_compatible=True)
    try:
        await stream.do_handshake()
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    return stream


async def exchange(stream: trio.abc.Stream, method: str, target: str, headers: Sequence[tuple[str, str]], body: bytes = b"") -> Answer:
    """Send one request and read the answer's head. Raises: ExchangeError."""
    connection = h11.Connection(h11.CLIENT)
    sent = [(k.encode(), v.encode()) for k, v in headers] + [(b"connection", b"close"), (b"content-length", b"%d" % len(body))]
    parts = [h11.Request(method=method.encode(), target=target.encode("latin-1"), headers=sent), h11.Data(data=body), h11.EndOfMessage()]
    await stream.send_all(b"".join(connection.send(part) or b"" for part in parts))
    event = await _next(connection, stream)
    while isinstance(event, h11.InformationalResponse):
        event = await _next(connection, stream)
    if not isinstance(event, h11.Response):
        raise ExchangeError(f"connection ended before an answer ({event!r})")
    found = [(k.decode("latin-1"), v.decode("latin-1")) for k, v in event.headers]
    return Answer(event.status_code, found, connection, stream)


async def _next(connection: h11.Connection, stream: trio.abc.Stream) -> object:
    try:
        while (event := connection.next_event()) is h11.NEED_DATA:
            connection.receive_data(bytes(await stream.receive_some(READ_BYTES)))
        return event
    except (h11.RemoteProtocolError, trio.BrokenResourceError) as exc:
        raise ExchangeError(str(exc)) from exc
