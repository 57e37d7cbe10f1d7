"""Streams over one connection: what exec, attach and port-forward see, whichever protocol carries them (trio).

    SpdyConnection   SPDY/3.1, directly or inside WebSocket messages: the client opens streams with headers
    ChannelSocket    WebSocket v4/v5.channel.k8s.io: the first byte of each message is a fixed channel's number
"""

from collections.abc import AsyncIterator, Callable
from typing import Protocol

import trio
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Message, Ping, Pong, TextMessage
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from mesh.sandbox.node import spdy

_CHUNK_BYTES = 32 * 1024
_QUEUE = 16
"""Chunks that wait for a slow reader before the whole connection is held back."""
CLOSE_CHANNEL = 255
"""v5.channel.k8s.io: [255, channel] = the client has closed the channel."""


class Channel(Protocol):
    """One stream."""

    async def receive(self) -> bytes:
        """Some bytes, or b"" at the end."""

    async def send(self, data: bytes) -> None:
        """Raises: trio.BrokenResourceError: the connection or the stream is gone."""

    async def close(self) -> None:
        """Send the end."""


class ByteStream(Protocol):
    """A connection after its upgrade."""

    async def receive(self) -> bytes: ...
    async def send(self, data: bytes) -> None: ...


class TransportBytes:
    """The bytes of the connection itself; `rest` came together with the request's head."""

    def __init__(self, stream: trio.abc.Stream, rest: bytes) -> None:
        self._stream, self._rest = stream, rest

    async def receive(self) -> bytes:
        if self._rest:
            rest, self._rest = self._rest, b""
            return rest
        return bytes(await self._stream.receive_some(65536))

    async def send(self, data: bytes) -> None:
        await self._stream.send_all(data)


class WebSocket:
    """The server's end of a WebSocket. As a ByteStream it carries bytes in binary messages (SPDY tunnelled)."""

    def __init__(self, raw: ByteStream) -> None:
        self._raw = raw
        self._connection = Connection(ConnectionType.SERVER)
        self._lock = trio.Lock()

    async def messages(self) -> AsyncIterator[bytes]:
        """Whole messages, text as UTF-8, until the peer closes."""
        parts: list[bytes] = []
        while data := await self._raw.receive():
            try:
                self._connection.receive_data(data)
                events = list(self._connection.events())
            except RemoteProtocolError:
                return
            for event in events:
                if isinstance(event, Message):
                    parts.append(event.data.encode() if isinstance(event, TextMessage) else bytes(event.data))
                    if event.message_finished:
                        yield b"".join(parts)
                        parts = []
                elif isinstance(event, Ping):
                    await self._send(event.response())
                elif isinstance(event, CloseConnection):
                    await self.finish(event.code)
                    return

    async def receive(self) -> bytes:
        if not hasattr(self, "_iterator"):
            self._iterator = self.messages()
        async for message in self._iterator:
            if message:
                return message
        return b""

    async def send(self, data: bytes) -> None:
        await self._send(BytesMessage(data=data))

    async def finish(self, code: int = 1000) -> None:
        """Send a close frame, once."""
        try:
            await self._send(CloseConnection(code=code))
        except LocalProtocolError:
            pass  # it is closed already

    async def _send(self, event: BytesMessage | CloseConnection | Pong) -> None:
        async with self._lock:
            await self._raw.send(self._connection.send(event))


class _Queue:
    """Chunks from the connection's reader to one channel's."""

    def __init__(self) -> None:
        self._send, self._receive = trio.open_memory_channel[bytes](_QUEUE)

    async def put(self, data: bytes) -> None:
        try:
            await self._send.send(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # nobody reads this channel any more

    def end(self) -> None:
        self._send.close()

    async def get(self) -> bytes:
        try:
            return await self._receive.receive()
        except (trio.EndOfChannel, trio.ClosedResourceError):
            return b""

    def abandon(self) -> None:
        self._receive.close()


class _SocketChannel:
    """One channel number of a ChannelSocket."""

    def __init__(self, socket: "ChannelSocket", number: int) -> None:
        self._socket, self._number = socket, number
        self.queue = _Queue()

    async def receive(self) -> bytes:
        return await self.queue.get()

    async def send(self, data: bytes) -> None:
        for start in range(0, max(1, len(data)), _CHUNK_BYTES):
            await self._socket.web.send(bytes([self._number]) + data[start : start + _CHUNK_BYTES])

    async def close(self) -> None:
        if self._socket.half_close:
            await self._socket.web.send(bytes([CLOSE_CHANNEL, self._number]))


class ChannelSocket:
    """Fixed channels over a WebSocket. Concurrency: `run` in one task, each channel in another."""

    def __init__(self, web: WebSocket, *, half_close: bool) -> None:
        self.web, self.half_close = web, half_close
        self._channels: dict[int, _SocketChannel] = {}

    def channel(self, number: int) -> _SocketChannel:
        return self._channels.setdefault(number, _SocketChannel(self, number))

    async def run(self) -> None:
        """Hand messages to their channels until the client is gone."""
        try:
            async for message in self.web.messages():
                if not message:
                    continue
                if message[0] == CLOSE_CHANNEL and self.half_close:
                    if len(message) > 1 and message[1] in self._channels:
                        self._channels[message[1]].queue.end()
                elif (channel := self._channels.get(message[0])) is not None and len(message) > 1:
                    await channel.queue.put(message[1:])
        finally:
            for channel in self._channels.values():
                channel.queue.end()


class SpdyStream:
    """One SPDY stream that the client opened."""

    def __init__(self, connection: "SpdyConnection", number: int, headers: dict[str, str]) -> None:
        self._connection, self.number, self.headers = connection, number, headers
        self.queue = _Queue()
        self.closed = False

    async def receive(self) -> bytes:
        return await self.queue.get()

    async def send(self, data: bytes) -> None:
        for start in range(0, len(data), spdy.DATA_BYTES):
            await self._connection.write(self._connection.codec.data(self.number, data[start : start + spdy.DATA_BYTES]))

    async def close(self) -> None:
        if not self.closed:
            self.closed = True
            await self._connection.write(self._connection.codec.data(self.number, b"", fin=True))

    async def reset(self) -> None:
        """Break it off: neither side is to send more."""
        self.closed = True
        self.queue.abandon()
        await self._connection.write(self._connection.codec.reset(self.number, 5))


class SpdyConnection:
    """The server's end. Concurrency: `run` in one task, streams in others; new streams go to `on_stream`."""

    def __init__(self, raw: ByteStream, on_stream: Callable[[SpdyStream], None]) -> None:
        self.codec = spdy.Codec()
        self._raw, self._on_stream = raw, on_stream
        self._streams: dict[int, SpdyStream] = {}
        self._lock = trio.Lock()

    async def run(self) -> None:
        """Serve until the client is gone.

        Raises: spdy.SpdyError: it broke the protocol.
        """
        try:
            while data := await self._raw.receive():
                for event in self.codec.receive(data):
                    await self._handle(event)
        finally:
            for stream in self._streams.values():
                stream.queue.end()

    async def write(self, data: bytes) -> None:
        async with self._lock:
            await self._raw.send(data)

    async def _handle(self, event: spdy.Event) -> None:
        match event:
            case spdy.SynStream(number, headers, fin):
                stream = self._streams[number] = SpdyStream(self, number, headers)
                await self.write(self.codec.syn_reply(number, {}))
                if fin:
                    stream.queue.end()
                self._on_stream(stream)
            case spdy.Data(number, data, fin):
                if (known := self._streams.get(number)) is not None:
                    if data:
                        await known.queue.put(data)
                    if fin:
                        known.queue.end()
            case spdy.Reset(number, _):
                if (known := self._streams.pop(number, None)) is not None:
                    known.closed = True
                    known.queue.end()
            case spdy.Ping(number):
                if number % 2:  # the client's own: odd numbers (2.6.5)
                    await self.write(self.codec.ping(number))
            case spdy.SynReply() | spdy.GoAway():
                pass
