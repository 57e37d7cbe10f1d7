"""One request to the kubelet's API and the connection it came on: read, answer whole or in chunks, upgrade (trio, h11)."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from urllib.parse import parse_qs, unquote, urlsplit

import h11
import trio
from wsproto.utilities import generate_accept_token

from mesh.sandbox.node.channels import TransportBytes, WebSocket

Query = dict[str, list[str]]


class HttpError(Exception):
    """Answer with this status and text."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status, self.text = status, text


@dataclass(slots=True)
class Exchange:
    """One request and the connection that it came on."""

    stream: trio.abc.Stream
    connection: h11.Connection
    method: str
    path: list[str]
    query: Query
    headers: dict[str, str]

    async def respond(self, status: int, body: bytes, kind: str = "text/plain; charset=utf-8") -> None:
        """A whole answer."""
        headers = [("Content-Type", kind), ("Content-Length", str(len(body)))]
        data = self.connection.send(h11.Response(status_code=status, headers=headers)) or b""
        data += self.connection.send(h11.Data(data=body)) or b""
        await self.stream.send_all(data + (self.connection.send(h11.EndOfMessage()) or b""))

    async def respond_stream(self, pieces: AsyncIterator[bytes]) -> None:
        """An answer in chunks."""
        headers = [("Content-Type", "text/plain; charset=utf-8"), ("Transfer-Encoding", "chunked")]
        await self.stream.send_all(self.connection.send(h11.Response(status_code=200, headers=headers)) or b"")
        async for piece in pieces:
            await self.stream.send_all(self.connection.send(h11.Data(data=piece)) or b"")
        await self.stream.send_all(self.connection.send(h11.EndOfMessage()) or b"")

    async def _switch(self, headers: list[tuple[str, str]]) -> TransportBytes:
        """Answer 101 and hand over the bytes."""
        response = h11.InformationalResponse(status_code=101, headers=[("Connection", "Upgrade"), *headers])
        await self.stream.send_all(self.connection.send(response) or b"")
        return TransportBytes(self.stream, bytes(self.connection.trailing_data[0]))

    async def switch_to_web_socket(self, protocol: str) -> WebSocket:
        """Answer the handshake of a WebSocket that speaks `protocol` (RFC 6455, 4.2.2)."""
        accept = generate_accept_token(self.headers.get("sec-websocket-key", "").encode()).decode()
        headers = [("Upgrade", "websocket"), ("Sec-WebSocket-Accept", accept), ("Sec-WebSocket-Protocol", protocol)]
        return WebSocket(await self._switch(headers))

    async def switch_to_spdy(self, protocol: str) -> TransportBytes:
        """Answer the upgrade to SPDY/3.1 whose streams speak `protocol`."""
        return await self._switch([("Upgrade", "SPDY/3.1"), ("X-Stream-Protocol-Version", protocol)])

    def flag(self, name: str) -> bool:
        return self.query.get(name, [""])[0] in ("1", "true")

    def offered(self) -> list[str]:
        """WebSocket subprotocols or SPDY stream protocols that the client offers."""
        name = "sec-websocket-protocol" if self.is_web_socket() else "x-stream-protocol-version"
        return [item.strip() for item in self.headers.get(name, "").split(",") if item.strip()]

    def is_web_socket(self) -> bool:
        return self.headers.get("upgrade", "").lower() == "websocket"

    def is_spdy(self) -> bool:
        return self.headers.get("upgrade", "").lower() == "spdy/3.1"


async def read_request(stream: trio.abc.Stream, connection: h11.Connection) -> Exchange | None:
    """The next request of a connection, its body read and dropped (none of the API's requests has one); None at its end."""
    exchange: Exchange | None = None
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            data = await stream.receive_some(65536)
            if not data and exchange is None and connection.their_state is h11.IDLE:
                return None
            connection.receive_data(bytes(data))
        elif isinstance(event, h11.Request):
            url = urlsplit(event.target.decode("latin-1"))
            path = [unquote(part) for part in url.path.split("/") if part]
            headers: dict[str, str] = {}
            for name, value in event.headers:
                key, text = name.decode("latin-1"), value.decode("latin-1")
                headers[key] = f"{headers[key]},{text}" if key in headers else text
            exchange = Exchange(stream, connection, event.method.decode(), path, parse_qs(url.query, keep_blank_values=True), headers)
        elif isinstance(event, h11.EndOfMessage) or event is h11.PAUSED:
            return exchange
        elif isinstance(event, h11.ConnectionClosed):
            return None
