"""Server name and protocols that a TLS client asks for, read from its ClientHello without answering it.

Source: RFC 8446 4.1.2 and 5.1 (records may fragment the message anywhere), RFC 6066 3 (SNI), RFC 7301 3.1 (ALPN).
"""

from dataclasses import dataclass

from mesh.codec.events import ProtocolError

MAX_HELLO_BYTES = 65536
"""Of the handshake message. Envoy's tls_inspector stops at 64 KiB, too."""

_HANDSHAKE = 22
_CLIENT_HELLO = 1
_MAX_RECORD_BYTES = 16384
_EXTENSION_SNI = 0
_EXTENSION_ALPN = 16
_HOST_NAME = 0


@dataclass(frozen=True, slots=True)
class ClientHello:
    """What the client asks for.

    Attributes: server_name: lower case; "" without SNI. protocols: ALPN names in the client's order, such as "h2" or
        "istio"; bytes outside ASCII are kept as Latin-1.
    """

    server_name: str
    protocols: tuple[str, ...]


def parse_client_hello(prefix: bytes) -> ClientHello | None:
    """The ClientHello that all bytes received so far begin with; None: more bytes are needed.

    Raises: ProtocolError: 400; not a ClientHello, malformed, or longer than MAX_HELLO_BYTES.
    """
    message = _message(prefix)
    if message is None:
        return None
    reader = _Reader(message)
    reader.take(2 + 32, "version and random")
    reader.vector(1, "session id")
    if len(reader.vector(2, "cipher suites")) % 2:
        raise _bad("odd length of cipher suites")
    reader.vector(1, "compression methods")
    if reader.is_empty:  # TLS 1.2 without any extension
        return ClientHello("", ())
    extensions = _Reader(reader.vector(2, "extensions"))
    if not reader.is_empty:
        raise _bad("bytes after the extensions")
    server_name = ""
    protocols: tuple[str, ...] = ()
    seen: set[int] = set()
    while not extensions.is_empty:
        kind = extensions.number(2, "extension type")
        body = _Reader(extensions.vector(2, "extension"))
        if kind in seen:  # RFC 8446 4.2
            raise _bad(f"extension {kind} twice")
        seen.add(kind)
        if kind == _EXTENSION_SNI:
            server_name = _server_name(body)
        elif kind == _EXTENSION_ALPN:
            protocols = _protocols(body)
    return ClientHello(server_name, protocols)


def _message(prefix: bytes) -> bytes | None:
    # Body of the handshake message, put together from its records.
    parts: list[bytes] = []
    total = 0
    at = 0
    while True:
        header = prefix[at : at + 5]
        if header[:1] not in (b"", b"\x16") or header[1:2] not in (b"", b"\x03"):
            raise _bad(f"byte {at} begins no TLS handshake record")
        if len(header) < 5:
            return None
        length = int.from_bytes(header[3:5], "big")
        if not 1 <= length <= _MAX_RECORD_BYTES:
            raise _bad(f"record at byte {at} of {length} bytes")
        part = prefix[at + 5 : at + 5 + length]
        parts.append(part)
        total += len(part)
        at += 5 + length
        if total and (kind := next(part for part in parts if part)[0]) != _CLIENT_HELLO:
            raise _bad(f"handshake message of type {kind}, not 1 (ClientHello)")
        if total >= 4:
            message = b"".join(parts)
            size = int.from_bytes(message[1:4], "big")
            if size > MAX_HELLO_BYTES:
                raise _bad(f"ClientHello of {size} bytes, more than {MAX_HELLO_BYTES}")
            if total >= 4 + size:
                return message[4 : 4 + size]
        if len(part) < length:
            return None


def _server_name(body: "_Reader") -> str:
    names = _Reader(body.vector(2, "server name list"))
    found = ""
    while not names.is_empty:
        kind = names.number(1, "server name type")
        name = names.vector(2, "server name")
        if kind != _HOST_NAME:
            continue
        if found or not name or not name.isascii() or b"\x00" in name:
            raise _bad("bad or repeated host name")
        found = name.decode().lower().rstrip(".")
    return found


def _protocols(body: "_Reader") -> tuple[str, ...]:
    names = _Reader(body.vector(2, "protocol list"))
    found: list[str] = []
    while not names.is_empty:
        name = names.vector(1, "protocol")
        if not name:
            raise _bad("empty protocol name")
        found.append(name.decode("latin-1"))
    return tuple(found)


class _Reader:
    """Cursor over one vector of the TLS presentation language (RFC 8446 3.4)."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def is_empty(self) -> bool:
        return self._at == len(self._data)

    def take(self, size: int, what: str) -> bytes:
        taken = self._data[self._at : self._at + size]
        if len(taken) < size:
            raise _bad(f"{what} cut short")
        self._at += size
        return taken

    def number(self, size: int, what: str) -> int:
        return int.from_bytes(self.take(size, what), "big")

    def vector(self, size: int, what: str) -> bytes:
        return self.take(self.number(size, what), what)


def _bad(message: str) -> ProtocolError:
    return ProtocolError(400, f"ClientHello: {message}")
