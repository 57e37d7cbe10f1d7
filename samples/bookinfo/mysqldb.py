"""MySQL stand-in: a server that speaks the real protocol and holds the one table that bookinfo needs.

`test.ratings(ReviewID, Rating)` with two rows; understands SELECT on it, UPDATE of a rating (as the walk-through on
databases does), and what clients say at the beginning. Password of root: MYSQL_ROOT_PASSWORD.
"""

import os
import re
import secrets
import socket
import struct
import threading
from io import BufferedReader

from samples.bookinfo import mysql
from samples.bookinfo.acceptor import Acceptor, run_service

_VERSION = b"8.0.0-bookinfo"
_FLAGS = mysql.LONG_PASSWORD | mysql.CONNECT_WITH_DB | mysql.PROTOCOL_41 | mysql.SECURE_CONNECTION | mysql.PLUGIN_AUTH
_AUTOCOMMIT = 2
_SELECT = re.compile(r"select\s+(?P<what>\*|[\w\s,`]+?)\s+from\s+(test\.)?`?ratings`?(\s+where\s+reviewid\s*=\s*(?P<id>\d+))?", re.I)
_UPDATE = re.compile(r"update\s+(test\.)?ratings\s+set\s+rating\s*=\s*(?P<stars>\d+)(\s+where\s+reviewid\s*=\s*(?P<id>\d+))?", re.I)
_CHATTER = re.compile(r"(set|use|begin|commit|rollback|start\s+transaction)\b", re.I)
_CONSTANT = re.compile(r"select\s+(?P<value>\d+|@@version_comment|version\(\)|database\(\))(\s+limit\s+1)?", re.I)


class MySqlServer:
    """The server's data and its sessions. Concurrency: a thread per connection."""

    def __init__(self, password: str) -> None:
        self._password = password
        self._lock = threading.Lock()
        self._stars = {1: 5, 2: 4}

    def session(self, connection: socket.socket, _: Acceptor) -> None:
        """Serve one connection to its end."""
        salt = secrets.token_bytes(20).replace(b"\0", b"\1")  # the challenge is NUL-terminated on the wire
        connection.settimeout(60.0)
        connection.sendall(mysql.packet(0, _greeting(salt)))
        with connection.makefile("rb") as stream:
            try:
                sequence = self._authenticate(connection, stream, salt)
                if sequence is None:
                    return
                connection.sendall(mysql.packet(sequence + 1, _ok(0)))
                while self._command(connection, stream):
                    pass
            except (mysql.MySqlError, struct.error, UnicodeDecodeError) as exc:
                connection.sendall(mysql.packet(1, _error(1047, "08S01", f"malformed packet: {exc}")))

    def _authenticate(self, connection: socket.socket, stream: BufferedReader, salt: bytes) -> int | None:
        """The sequence number of the client's last packet; None when it was refused (and told so)."""
        sequence, payload = mysql.read_packet(stream)
        user, proof, plugin = _login(payload)
        if plugin != mysql.PLUGIN:
            connection.sendall(mysql.packet(sequence + 1, b"\xfe" + mysql.PLUGIN.encode() + b"\0" + salt + b"\0"))
            sequence, proof = mysql.read_packet(stream)
        if user == "root" and secrets.compare_digest(proof, mysql.scramble(self._password, salt)):
            return sequence
        message = f"Access denied for user '{user}' (using password: {'YES' if proof else 'NO'})"
        connection.sendall(mysql.packet(sequence + 1, _error(1045, "28000", message)))
        return None

    def _command(self, connection: socket.socket, stream: BufferedReader) -> bool:
        """Answer one command. Returns: whether to go on."""
        try:
            _, payload = mysql.read_packet(stream)
        except ConnectionResetError:
            return False
        match payload[0] if payload else -1:
            case mysql.COM_QUIT:
                return False
            case mysql.COM_PING:
                connection.sendall(mysql.packet(1, _ok(0)))
            case mysql.COM_INIT_DB:
                known = payload[1:] == b"test"
                answer = _ok(0) if known else _error(1049, "42000", f"Unknown database '{payload[1:].decode(errors='replace')}'")
                connection.sendall(mysql.packet(1, answer))
            case mysql.COM_QUERY:
                connection.sendall(self._query(payload[1:].decode()))
            case other:
                connection.sendall(mysql.packet(1, _error(1047, "08S01", f"Unknown command {other}")))
        return True

    def _query(self, statement: str) -> bytes:
        statement = statement.strip().rstrip(";")
        if found := _SELECT.fullmatch(statement):
            return self._select(found["what"], found["id"])
        if found := _UPDATE.fullmatch(statement):
            with self._lock:
                chosen = [key for key in self._stars if found["id"] is None or key == int(found["id"])]
                self._stars |= dict.fromkeys(chosen, int(found["stars"]))
            return mysql.packet(1, _ok(len(chosen)))
        if found := _CONSTANT.fullmatch(statement):
            value = {"@@version_comment": "bookinfo", "version()": _VERSION.decode(), "database()": "test"}
            return _result([found["value"]], [[value.get(found["value"].lower(), found["value"])]])
        if _CHATTER.match(statement):
            return mysql.packet(1, _ok(0))
        return mysql.packet(1, _error(1064, "42000", f"This server knows the table ratings only, not: {statement[:200]}"))

    def _select(self, what: str, identity: str | None) -> bytes:
        columns = ["ReviewID", "Rating"] if what == "*" else [name.strip(" `\n\t") for name in what.split(",")]
        if unknown := [name for name in columns if name.lower() not in ("reviewid", "rating")]:
            return mysql.packet(1, _error(1054, "42S22", f"Unknown column '{unknown[0]}' in 'field list'"))
        with self._lock:
            rows = [(key, stars) for key, stars in self._stars.items() if identity is None or key == int(identity)]
        return _result(columns, [[str(row[name.lower() == "rating"]) for name in columns] for row in rows])


def _greeting(salt: bytes) -> bytes:
    head = b"\x0a" + _VERSION + b"\0" + struct.pack("<I", secrets.randbits(31)) + salt[:8] + b"\0"
    middle = struct.pack("<HBHHB10x", _FLAGS & 0xFFFF, mysql.UTF8MB4, _AUTOCOMMIT, _FLAGS >> 16, len(salt) + 1)
    return head + middle + salt[8:] + b"\0" + mysql.PLUGIN.encode() + b"\0"


def _login(payload: bytes) -> tuple[str, bytes, str]:
    """(user, proof, plugin) of a HandshakeResponse41. Raises: MySqlError."""
    (flags,) = struct.unpack_from("<I", payload)
    if not flags & mysql.PROTOCOL_41:
        raise mysql.MySqlError("a client older than protocol 4.1")
    user, _, rest = payload[32:].partition(b"\0")
    size = rest[0] if rest else 0
    proof, rest = rest[1 : 1 + size], rest[1 + size :]
    if flags & mysql.CONNECT_WITH_DB:
        _, _, rest = rest.partition(b"\0")
    plugin = rest.partition(b"\0")[0].decode() if flags & mysql.PLUGIN_AUTH else mysql.PLUGIN
    return user.decode(), proof, plugin


def _ok(affected: int) -> bytes:
    return b"\0" + mysql.length_encoded(affected) + b"\0" + struct.pack("<HH", _AUTOCOMMIT, 0)


def _error(code: int, state: str, message: str) -> bytes:
    return b"\xff" + struct.pack("<H", code) + b"#" + state.encode() + message.encode()


def _result(columns: list[str], rows: list[list[str]]) -> bytes:
    eof = b"\xfe" + struct.pack("<HH", 0, _AUTOCOMMIT)
    payloads = [mysql.length_encoded(len(columns)), *map(_column, columns), eof]
    payloads += [b"".join(mysql.text(cell.encode()) for cell in row) for row in rows]
    return b"".join(mysql.packet(number, payload) for number, payload in enumerate([*payloads, eof], 1))


def _column(name: str) -> bytes:
    """Protocol::ColumnDefinition41 of a VARCHAR: the text protocol sends strings anyway."""
    parts = [b"def", b"test", b"ratings", b"ratings", name.encode(), name.encode()]
    return b"".join(map(mysql.text, parts)) + b"\x0c" + struct.pack("<HIBHB2x", mysql.UTF8MB4, 255, 0xFD, 0, 0)


if __name__ == "__main__":
    run_service("mysqldb", 3306, MySqlServer(os.environ.get("MYSQL_ROOT_PASSWORD", "")).session)
