"""MySQL's client/server protocol, as much as a rating needs: packets of both sides, and a client.

The protocol is server-first: the client may say nothing before the server's handshake has come, which is what makes
it a touchstone for proxies that look at the client's first bytes.
Source: MySQL internals, "Client/Server Protocol": Handshake v10, mysql_native_password, COM_QUERY text protocol.
"""

import hashlib
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader

COM_QUIT, COM_INIT_DB, COM_QUERY, COM_PING = 1, 2, 3, 14
PLUGIN = "mysql_native_password"
LONG_PASSWORD, CONNECT_WITH_DB, PROTOCOL_41, SECURE_CONNECTION, PLUGIN_AUTH = 1, 8, 0x200, 0x8000, 0x80000
UTF8MB4 = 45
# A packet of more is split in the protocol; nothing here is ever that long.
_MAX_PACKET = 0xFFFFFF


class MySqlError(Exception):
    """The other side said no (ERR packet), or what it said is not this protocol."""


def read_packet(stream: BufferedReader) -> tuple[int, bytes]:
    """(sequence number, payload). Raises: ConnectionResetError at the end of the stream; MySqlError: too long."""
    head = stream.read(4)
    if len(head) < 4:
        raise ConnectionResetError("the peer closed the connection")
    length = int.from_bytes(head[:3], "little")
    if length == _MAX_PACKET:
        raise MySqlError("a packet of 16 MiB or more")
    payload = stream.read(length)
    if len(payload) < length:
        raise ConnectionResetError("the peer closed the connection in the middle of a packet")
    return head[3], payload


def packet(sequence: int, payload: bytes) -> bytes:
    """A payload in its frame."""
    return len(payload).to_bytes(3, "little") + bytes([sequence & 0xFF]) + payload


def scramble(password: str, salt: bytes) -> bytes:
    """The proof of a password: SHA1(password) XOR SHA1(salt + SHA1(SHA1(password))); empty for the empty password."""
    if not password:
        return b""
    once = hashlib.sha1(password.encode()).digest()
    mask = hashlib.sha1(salt + hashlib.sha1(once).digest()).digest()
    return bytes(a ^ b for a, b in zip(once, mask))


def length_encoded(value: int) -> bytes:
    """Protocol::LengthEncodedInteger."""
    if value < 251:
        return bytes([value])
    if value < 1 << 16:
        return b"\xfc" + value.to_bytes(2, "little")
    return b"\xfd" + value.to_bytes(3, "little") if value < 1 << 24 else b"\xfe" + value.to_bytes(8, "little")


def read_length_encoded(data: bytes, at: int) -> tuple[int | None, int]:
    """(value, next position); None is NULL. Raises: MySqlError: the data ends before it."""
    if at >= len(data):
        raise MySqlError("a length is missing")
    first = data[at]
    if first < 251:
        return first, at + 1
    size = {0xFC: 2, 0xFD: 3, 0xFE: 8}.get(first)
    if size is None:
        return None, at + 1
    return int.from_bytes(data[at + 1 : at + 1 + size], "little"), at + 1 + size


def text(value: bytes) -> bytes:
    """Protocol::LengthEncodedString."""
    return length_encoded(len(value)) + value


class Connection:
    """An authenticated connection. Concurrency: one caller at a time."""

    def __init__(self, sock: socket.socket, stream: BufferedReader) -> None:
        self._sock, self._stream = sock, stream

    def query(self, statement: str) -> list[list[str | None]]:
        """The rows of a statement, [] for one that has none. Raises: MySqlError, OSError."""
        self._sock.sendall(packet(0, bytes([COM_QUERY]) + statement.encode()))
        _, first = read_packet(self._stream)
        if first[:1] == b"\x00":
            return []
        _raise_error(first)
        columns, _ = read_length_encoded(first, 0)
        for _ in range((columns or 0) + 1):  # column definitions and the EOF behind them
            _raise_error(read_packet(self._stream)[1])
        rows: list[list[str | None]] = []
        while True:
            _, row = read_packet(self._stream)
            if row[:1] == b"\xfe" and len(row) < 9:
                return rows
            _raise_error(row)
            rows.append(list(_cells(row, columns or 0)))


@contextmanager
def connect(host: str, port: int, user: str, password: str, database: str, timeout_seconds: float) -> Iterator[Connection]:
    """A connection for the length of a `with`. Raises: OSError; MySqlError: refused, or no MySQL."""
    with socket.create_connection((host, port), timeout_seconds) as sock, sock.makefile("rb") as stream:
        sequence, greeting = read_packet(stream)
        _raise_error(greeting)
        salt = _salt(greeting)
        flags = LONG_PASSWORD | CONNECT_WITH_DB | PROTOCOL_41 | SECURE_CONNECTION | PLUGIN_AUTH
        proof = scramble(password, salt)
        answer = struct.pack("<IIB23x", flags, _MAX_PACKET, UTF8MB4) + user.encode() + b"\0"
        answer += bytes([len(proof)]) + proof + database.encode() + b"\0" + PLUGIN.encode() + b"\0"
        sock.sendall(packet(sequence + 1, answer))
        sequence, result = read_packet(stream)
        if result[:1] == b"\xfe":
            plugin, _, rest = result[1:].partition(b"\0")
            if plugin.decode() != PLUGIN:
                raise MySqlError(f"the server insists on authentication by {plugin.decode(errors='replace')}")
            sock.sendall(packet(sequence + 1, scramble(password, rest.rstrip(b"\0"))))
            _, result = read_packet(stream)
        _raise_error(result)
        yield Connection(sock, stream)
        sock.sendall(packet(0, bytes([COM_QUIT])))


def _salt(greeting: bytes) -> bytes:
    """The 20 bytes of challenge in a Handshake v10."""
    if greeting[:1] != b"\x0a":
        raise MySqlError("the greeting is not of protocol version 10")
    at = greeting.index(b"\0") + 1 + 4
    first = greeting[at : at + 8]
    # filler 1, capabilities 2, charset 1, status 2, capabilities 2, length 1, reserved 10
    second = greeting[at + 8 + 19 : at + 8 + 19 + 12]
    if len(second) < 12:
        raise MySqlError("the greeting has no challenge of 20 bytes")
    return first + second


def _raise_error(payload: bytes) -> None:
    if payload[:1] == b"\xff":
        code = int.from_bytes(payload[1:3], "little")
        raise MySqlError(f"error {code}: {payload[9:].decode(errors='replace')}")


def _cells(row: bytes, columns: int) -> Iterator[str | None]:
    at = 0
    for _ in range(columns):
        length, at = read_length_encoded(row, at)
        yield None if length is None else row[at : at + length].decode()
        at += length or 0
