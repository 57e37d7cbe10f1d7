"""BSON: documents to bytes and back, for the types that MongoDB's handshake, commands and bookinfo's data use.

Source: bsonspec.org, version 1.1.
"""

import datetime as dt
import struct
from typing import Any

_MAX_DEPTH = 64
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


class BadBson(ValueError):
    """The bytes are no BSON document, or have a type that is not supported; the message has the offset."""


def encode(document: dict[str, Any]) -> bytes:
    """A document's bytes. Integers become int32 if they fit, else int64. Raises: BadBson: a type without a form here."""
    body = b"".join(_element(name, value) for name, value in document.items())
    return struct.pack("<i", len(body) + 5) + body + b"\0"


def decode(data: bytes) -> dict[str, Any]:
    """The one document in these bytes. Raises: BadBson."""
    document, end = decode_from(data, 0)
    if end != len(data):
        raise BadBson(f"{len(data) - end} bytes too many after the document")
    return document


def decode_from(data: bytes, at: int, depth: int = 0) -> tuple[dict[str, Any], int]:
    """(the document at an offset, the offset behind it). Raises: BadBson."""
    if depth > _MAX_DEPTH:
        raise BadBson(f"offset {at}: nested too deeply")
    try:
        (size,) = struct.unpack_from("<i", data, at)
        end = at + size
        if size < 5 or end > len(data) or data[end - 1]:
            raise BadBson(f"offset {at}: a document of {size} bytes")
        result: dict[str, Any] = {}
        at += 4
        while at < end - 1:
            kind = data[at]
            name_end = data.index(b"\0", at + 1, end)
            name = data[at + 1 : name_end].decode()
            result[name], at = _value(kind, data, name_end + 1, end, depth)
    except (struct.error, ValueError, IndexError, OverflowError) as exc:
        if isinstance(exc, BadBson):
            raise
        raise BadBson(f"offset {at}: {exc}") from exc
    if at != end - 1:
        raise BadBson(f"offset {at}: a value passes the end of its document")
    return result, end


def _element(name: str, value: Any) -> bytes:
    kind, body = _encoded(value)
    return bytes([kind]) + name.encode() + b"\0" + body


def _encoded(value: Any) -> tuple[int, bytes]:
    match value:
        case None:
            return 0x0A, b""
        case bool():
            return 0x08, bytes([value])
        case int() if -(2**31) <= value < 2**31:
            return 0x10, struct.pack("<i", value)
        case int():
            return 0x12, struct.pack("<q", value)
        case float():
            return 0x01, struct.pack("<d", value)
        case str():
            return 0x02, struct.pack("<i", len(value.encode()) + 1) + value.encode() + b"\0"
        case dict():
            return 0x03, encode(value)
        case list():
            return 0x04, encode({str(index): item for index, item in enumerate(value)})
        case bytes():
            return 0x05, struct.pack("<iB", len(value), 0) + value
        case dt.datetime():
            return 0x09, struct.pack("<q", round((value - _EPOCH).total_seconds() * 1000))
    raise BadBson(f"no BSON form for {type(value).__name__}")


def _value(kind: int, data: bytes, at: int, end: int, depth: int) -> tuple[Any, int]:
    match kind:
        case 0x01:
            return struct.unpack_from("<d", data, at)[0], at + 8
        case 0x02:
            (size,) = struct.unpack_from("<i", data, at)
            if size < 1 or at + 4 + size > end:
                raise BadBson(f"offset {at}: a string of {size} bytes")
            return data[at + 4 : at + 3 + size].decode(), at + 4 + size
        case 0x03:
            return decode_from(data, at, depth + 1)
        case 0x04:
            items, after = decode_from(data, at, depth + 1)
            return list(items.values()), after
        case 0x05:
            (size,) = struct.unpack_from("<i", data, at)
            if size < 0 or at + 5 + size > end:
                raise BadBson(f"offset {at}: {size} bytes of binary")
            return data[at + 5 : at + 5 + size], at + 5 + size
        case 0x07:  # ObjectId: kept as its 12 bytes
            return data[at : at + 12], at + 12
        case 0x08:
            return bool(data[at]), at + 1
        case 0x09:
            (milliseconds,) = struct.unpack_from("<q", data, at)
            return _EPOCH + dt.timedelta(milliseconds=milliseconds), at + 8
        case 0x0A:
            return None, at
        case 0x10:
            return struct.unpack_from("<i", data, at)[0], at + 4
        case 0x11 | 0x12:  # timestamp, int64
            return struct.unpack_from("<q", data, at)[0], at + 8
    raise BadBson(f"offset {at}: type 0x{kind:02x} is not supported")
