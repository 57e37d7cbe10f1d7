"""Clients of the kubelet's upgraded requests, over a stream in memory: WebSocket and SPDY/3.1."""

from collections.abc import Awaitable, Callable

import h11
import trio
from trio.testing import memory_stream_pair
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection

from mesh.sandbox.node import spdy
from mesh.sandbox.node.exchange import Exchange, HttpError, read_request

WEB_SOCKET = {"connection": "Upgrade", "upgrade": "websocket", "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==", "sec-websocket-version": "13"}
SPDY = {"connection": "Upgrade", "upgrade": "SPDY/3.1"}

Serve = Callable[[Exchange], Awaitable[None]]


class Client:
    """One request to `serve`, and what follows. `refusal` is the HttpError it raised, if any."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self.stream, self._server = memory_stream_pair()
        self.refusal: tuple[int, str] | None = None
        self.served = trio.Event()
        self._rest = b""

    async def ask(self, serve: Serve, path: str, headers: dict[str, str]) -> str:
        """Send the request; returns the head of the answer, "" when it was refused."""
        head = f"POST {path} HTTP/1.1\r\nHost: node\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        await self.stream.send_all(head.encode() + b"\r\n")
        self._nursery.start_soon(self._serve, serve)
        data = b""
        while b"\r\n\r\n" not in data:
            part = bytes(await self.stream.receive_some(65536))
            if not part:
                return ""
            data += part
        text, _, self._rest = data.partition(b"\r\n\r\n")
        return text.decode().lower()

    async def receive(self) -> bytes:
        """Bytes behind the head; b"" at the end."""
        rest, self._rest = self._rest, b""
        return rest or bytes(await self.stream.receive_some(65536))

    async def _serve(self, serve: Serve) -> None:
        try:
            exchange = await read_request(self._server, h11.Connection(h11.SERVER))
            assert exchange is not None
            await serve(exchange)
        except HttpError as exc:
            self.refusal = exc.status, exc.text
        except trio.BrokenResourceError:
            pass  # the client has gone, as the server's own boundary would note
        finally:
            self.served.set()
            with trio.CancelScope(shield=True):
                await self._server.aclose()


class SocketClient(Client):
    """Channels by their numbers: `received[2]` is what came on channel 2."""

    def __init__(self, nursery: trio.Nursery) -> None:
        super().__init__(nursery)
        self._socket = Connection(ConnectionType.CLIENT)
        self.messages: list[bytes] = []

    async def say(self, channel: int, data: bytes) -> None:
        await self.stream.send_all(self._socket.send(BytesMessage(data=bytes([channel]) + data)))

    async def until(self, done: Callable[[list[bytes]], bool]) -> list[bytes]:
        """Receive whole messages until `done`, or the end."""
        while not done(self.messages):
            data = await self.receive()
            if not data:
                break
            self._socket.receive_data(data)
            for event in self._socket.events():
                if isinstance(event, BytesMessage):
                    self.messages.append(bytes(event.data))
                elif isinstance(event, CloseConnection):
                    return self.messages
        return self.messages

    def on(self, channel: int) -> bytes:
        """All that came on a channel."""
        return b"".join(message[1:] for message in self.messages if message[0] == channel)


class SpdyClient(Client):
    """Streams by their numbers."""

    def __init__(self, nursery: trio.Nursery) -> None:
        super().__init__(nursery)
        self.codec = spdy.Codec()
        self.events: list[spdy.Event] = []

    async def open(self, number: int, **headers: str) -> None:
        await self.stream.send_all(self.codec.syn_stream(number, headers))

    async def say(self, number: int, data: bytes, *, fin: bool = False) -> None:
        await self.stream.send_all(self.codec.data(number, data, fin=fin))

    async def until(self, done: Callable[[], bool]) -> None:
        """Receive frames until `done`, or the end."""
        while not done():
            data = await self.receive()
            if not data:
                return
            self.events += self.codec.receive(data)

    def on(self, number: int) -> bytes:
        """All that came on a stream."""
        return b"".join(event.data for event in self.events if isinstance(event, spdy.Data) and event.stream == number)

    def is_over(self, number: int) -> bool:
        return any(isinstance(event, spdy.Data) and event.stream == number and event.fin for event in self.events)
