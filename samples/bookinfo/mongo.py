"""MongoDB's wire protocol: OP_MSG of both sides, and a client that can `find`.

Source: MongoDB Wire Protocol, OP_MSG (opcode 2013): header, flag bits, sections of kind 0 (body) and 1 (sequence).
"""

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from typing import Any

from samples.bookinfo import bson
from samples.bookinfo.bson import BadBson

OP_REPLY, OP_QUERY, OP_MSG = 1, 2004, 2013
_CHECKSUM_PRESENT = 1
# Source: MongoDB's maxMessageSizeBytes.
_MAX_MESSAGE = 48_000_000


class MongoError(Exception):
    """The other side said no (ok: 0), or what it said is not this protocol."""


def read_message(stream: BufferedReader) -> tuple[int, int, bytes]:
    """(request id, opcode, body). Raises: ConnectionResetError at the end of the stream; MongoError: no message."""
    head = stream.read(16)
    if len(head) < 16:
        raise ConnectionResetError("the peer closed the connection")
    length, request, _, opcode = struct.unpack("<iiii", head)
    if not 16 <= length <= _MAX_MESSAGE:
        raise MongoError(f"a message of {length} bytes")
    body = stream.read(length - 16)
    if len(body) < length - 16:
        raise ConnectionResetError("the peer closed the connection in the middle of a message")
    return request, opcode, body


def op_msg(request: int, response_to: int, document: dict[str, Any]) -> bytes:
    """An OP_MSG with a body only."""
    body = struct.pack("<IB", 0, 0) + bson.encode(document)
    return struct.pack("<iiii", 16 + len(body), request, response_to, OP_MSG) + body


def parse_op_msg(body: bytes) -> dict[str, Any]:
    """The command, with the documents of sequences under their names. Raises: MongoError."""
    try:
        (flags,) = struct.unpack_from("<I", body)
        end = len(body) - (4 if flags & _CHECKSUM_PRESENT else 0)
        at, result = 4, dict[str, Any]()
        while at < end:
            kind, at = body[at], at + 1
            if kind == 0:
                document, at = bson.decode_from(body, at)
                result = {**document, **result}
            elif kind == 1:
                (size,) = struct.unpack_from("<i", body, at)
                stop, name_end = at + size, body.index(b"\0", at + 4)
                name, at, items = body[at + 4 : name_end].decode(), name_end + 1, []
                while at < stop:
                    document, at = bson.decode_from(body, at)
                    items.append(document)
                result[name] = items
            else:
                raise MongoError(f"a section of kind {kind}")
    except (struct.error, BadBson, ValueError, IndexError) as exc:
        raise MongoError(f"malformed OP_MSG: {exc}") from exc
    return result


class Connection:
    """A connection. Concurrency: one caller at a time."""

    def __init__(self, sock: socket.socket, stream: BufferedReader) -> None:
        self._sock, self._stream, self._request = sock, stream, 0

    def command(self, document: dict[str, Any]) -> dict[str, Any]:
        """One command's answer. Raises: MongoError: ok is not 1; OSError."""
        self._request += 1
        self._sock.sendall(op_msg(self._request, 0, document))
        _, opcode, body = read_message(self._stream)
        if opcode != OP_MSG:
            raise MongoError(f"answered with opcode {opcode}")
        answer = parse_op_msg(body)
        if answer.get("ok") != 1:
            raise MongoError(f"error {answer.get('code')}: {answer.get('errmsg')}")
        return answer

    def find(self, database: str, collection: str) -> list[dict[str, Any]]:
        """All documents of a collection, which must fit into one batch. Raises: MongoError, OSError."""
        cursor = self.command({"find": collection, "filter": {}, "$db": database}).get("cursor") or {}
        if cursor.get("id"):
            raise MongoError("more documents than one batch holds")
        return list(cursor.get("firstBatch") or [])


@contextmanager
def connect(host: str, port: int, timeout_seconds: float) -> Iterator[Connection]:
    """A connection for the length of a `with`, greeted with `hello`. Raises: OSError; MongoError."""
    with socket.create_connection((host, port), timeout_seconds) as sock, sock.makefile("rb") as stream:
        connection = Connection(sock, stream)
        connection.command({"hello": 1, "$db": "admin"})
        yield connection
