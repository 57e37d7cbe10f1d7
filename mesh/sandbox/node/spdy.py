"""SPDY/3.1 frames, sans I/O: what kubectl and client-go speak for exec, attach and port-forward.

No flow-control frames are sent: the peer's library (spdystream) knows none and ends the connection when it meets one; TCP holds back instead.
Source: SPDY Protocol Draft 3.1, section 2.
"""

import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_WORDS = (
    "options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges age allow authorization "
    "cache-control connection content-base content-encoding content-language content-length content-location content-md5 content-range "
    "content-type date etag expect expires from host if-match if-modified-since if-none-match if-range if-unmodified-since last-modified "
    "location max-forwards pragma proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding "
    "upgrade user-agent vary via warning www-authenticate method get status 200_OK version HTTP/1.1 url public set-cookie keep-alive origin"
)
_TEXT = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
    "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden404 Not Found"
    "500 Internal Server Error501 Not Implemented503 Service Unavailable"
    "Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT"
    "chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,text/javascript,"
    "publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)
# 2.6.10.1: each word with its length, then one text. Its Adler-32 is 0xE3C6A7C2.
DICTIONARY = b"".join(struct.pack("!I", len(w)) + w.replace("_", " ").encode() for w in _WORDS.split()) + _TEXT.encode()

SYN_STREAM, SYN_REPLY, RST_STREAM, SETTINGS, PING, GOAWAY, HEADERS, WINDOW_UPDATE = 1, 2, 3, 4, 6, 7, 8, 9
FIN = 1
MAX_FRAME_BYTES = 4 * 1024 * 1024
DATA_BYTES = 32 * 1024


class SpdyError(Exception):
    """The peer broke the protocol; the connection cannot go on."""


@dataclass(frozen=True, slots=True)
class SynStream:
    """A new stream with its headers (names in lower case)."""

    stream: int
    headers: dict[str, str]
    fin: bool


@dataclass(frozen=True, slots=True)
class SynReply:
    stream: int
    headers: dict[str, str]
    fin: bool


@dataclass(frozen=True, slots=True)
class Data:
    stream: int
    data: bytes
    fin: bool


@dataclass(frozen=True, slots=True)
class Reset:
    stream: int
    status: int


@dataclass(frozen=True, slots=True)
class Ping:
    number: int


@dataclass(frozen=True, slots=True)
class GoAway:
    last_stream: int


Event = SynStream | SynReply | Data | Reset | Ping | GoAway


class Codec:
    """One connection's framing: both directions share nothing but have each their own compression state."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._inflate = zlib.decompressobj(zdict=DICTIONARY)
        self._deflate = zlib.compressobj(zdict=DICTIONARY)

    def receive(self, data: bytes) -> Iterator[Event]:
        """The events in `data`; the beginning of a frame waits for its rest.

        Raises: SpdyError.
        """
        self._buffer += data
        while len(self._buffer) >= 8:
            head, flags_length = struct.unpack_from("!II", self._buffer)
            flags, length = flags_length >> 24, flags_length & 0xFFFFFF
            if length > MAX_FRAME_BYTES:
                raise SpdyError(f"frame of {length} bytes: more than {MAX_FRAME_BYTES}")
            if len(self._buffer) < 8 + length:
                return
            payload = bytes(self._buffer[8 : 8 + length])
            del self._buffer[: 8 + length]
            if head >> 31:
                yield from self._control(head, flags, payload)
            else:
                yield Data(head, payload, bool(flags & FIN))

    def syn_stream(self, stream: int, headers: dict[str, str], *, fin: bool = False) -> bytes:
        """Open a stream (clients and tests)."""
        return self._frame(SYN_STREAM, FIN if fin else 0, struct.pack("!IIH", stream, 0, 0) + self._block(headers.items()))

    def syn_reply(self, stream: int, headers: dict[str, str]) -> bytes:
        """Accept a stream."""
        return self._frame(SYN_REPLY, 0, struct.pack("!I", stream) + self._block(headers.items()))

    def data(self, stream: int, data: bytes, *, fin: bool = False) -> bytes:
        """One data frame."""
        return struct.pack("!II", stream, (FIN if fin else 0) << 24 | len(data)) + data

    def reset(self, stream: int, status: int) -> bytes:
        return self._frame(RST_STREAM, 0, struct.pack("!II", stream, status))

    def ping(self, number: int) -> bytes:
        return self._frame(PING, 0, struct.pack("!I", number))

    def goaway(self, last_stream: int) -> bytes:
        return self._frame(GOAWAY, 0, struct.pack("!II", last_stream, 0))

    def _control(self, head: int, flags: int, payload: bytes) -> Iterator[Event]:
        version, kind = head >> 16 & 0x7FFF, head & 0xFFFF
        if version != 3:
            raise SpdyError(f"SPDY version {version}: only 3 is spoken here")
        try:
            match kind:
                case 1:
                    stream = struct.unpack_from("!I", payload)[0] & 0x7FFFFFFF
                    yield SynStream(stream, self._headers(payload[10:]), bool(flags & FIN))
                case 2:
                    stream = struct.unpack_from("!I", payload)[0] & 0x7FFFFFFF
                    yield SynReply(stream, self._headers(payload[4:]), bool(flags & FIN))
                case 3:
                    stream, status = struct.unpack("!II", payload)
                    yield Reset(stream & 0x7FFFFFFF, status)
                case 6:
                    yield Ping(struct.unpack("!I", payload)[0])
                case 7:
                    yield GoAway(struct.unpack_from("!I", payload)[0] & 0x7FFFFFFF)
                case 8:
                    self._headers(payload[4:])  # keeps the compression state in step; late headers mean nothing here
                case 4 | 9:
                    pass  # settings and window updates: see the module's docstring
                case _:
                    raise SpdyError(f"unknown control frame type {kind}")
        except struct.error as exc:
            raise SpdyError(f"control frame type {kind} of {len(payload)} bytes: {exc}") from exc

    def _headers(self, block: bytes) -> dict[str, str]:
        try:
            raw = self._inflate.decompress(block, MAX_FRAME_BYTES)
        except zlib.error as exc:
            raise SpdyError(f"header block: {exc}") from exc
        offset, found = 4, {}
        (count,) = struct.unpack_from("!I", raw)
        for _ in range(count):
            pair = []
            for _ in range(2):
                (length,) = struct.unpack_from("!I", raw, offset)
                offset += 4 + length
                if offset > len(raw):
                    raise SpdyError("header block ends early")
                pair.append(raw[offset - length : offset].decode("latin-1"))
            found[pair[0].lower()] = pair[1]
        return found

    def _block(self, headers: Iterable[tuple[str, str]]) -> bytes:
        items = list(headers)
        raw = struct.pack("!I", len(items))
        for pair in items:
            for text in pair:
                part = text.encode("latin-1")
                raw += struct.pack("!I", len(part)) + part
        return self._deflate.compress(raw) + self._deflate.flush(zlib.Z_SYNC_FLUSH)

    def _frame(self, kind: int, flags: int, payload: bytes) -> bytes:
        return struct.pack("!II", 0x80030000 | kind, flags << 24 | len(payload)) + payload
