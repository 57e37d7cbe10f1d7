"""MongoDB stand-in: a server that speaks OP_MSG (and the OP_QUERY that old drivers greet with) and knows `test.ratings`."""

import datetime as dt
import socket
import struct
import threading
from typing import Any

from samples.bookinfo import bson, mongo
from samples.bookinfo.acceptor import Acceptor, run_service

_COMMAND_NOT_FOUND, _FAILED_TO_PARSE = 59, 9


class MongoServer:
    """The server's data and its sessions. Concurrency: a thread per connection."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._collections: dict[tuple[str, str], list[dict[str, Any]]] = {
            ("test", "ratings"): [{"rating": 5}, {"rating": 4}]
        }

    def session(self, connection: socket.socket, _: Acceptor) -> None:
        """Serve one connection to its end. What is no MongoDB message closes it, as the real server does."""
        connection.settimeout(300.0)
        number = 0
        with connection.makefile("rb") as stream:
            while True:
                try:
                    request, opcode, body = mongo.read_message(stream)
                    number += 1
                    connection.sendall(self._reply(number, request, opcode, body))
                except mongo.MongoError as exc:
                    print(f"mongodb: connection closed: {exc}", flush=True)
                    return

    def _reply(self, number: int, request: int, opcode: int, body: bytes) -> bytes:
        if opcode == mongo.OP_MSG:
            return mongo.op_msg(number, request, self.answer(mongo.parse_op_msg(body)))
        if opcode == mongo.OP_QUERY:
            document = bson.encode(self.answer(_legacy_query(body)))
            reply = struct.pack("<iqii", 8, 0, 0, 1) + document
            return struct.pack("<iiii", 16 + len(reply), number, request, mongo.OP_REPLY) + reply
        raise mongo.MongoError(f"opcode {opcode} is not supported")

    def answer(self, command: dict[str, Any]) -> dict[str, Any]:
        """A command's answer; an unknown command is answered with MongoDB's own error code."""
        name, database = next(iter(command), ""), str(command.get("$db", "admin"))
        match name.lower():
            case "hello" | "ismaster":
                return {"helloOk": True, "isWritablePrimary": True, "ismaster": True, "maxBsonObjectSize": 16777216,
                        "maxMessageSizeBytes": 48000000, "maxWriteBatchSize": 100000, "localTime": dt.datetime.now(dt.UTC),
                        "connectionId": 1, "minWireVersion": 0, "maxWireVersion": 13, "readOnly": False, "ok": 1.0}  # fmt: skip
            case "ping" | "endsessions":
                return {"ok": 1.0}
            case "buildinfo":
                return {"version": "5.0.0", "versionArray": [5, 0, 0, 0], "ok": 1.0}
            case "find":
                return self._find(database, command)
            case "insert":
                return self._insert(database, command)
        return _failure(_COMMAND_NOT_FOUND, "CommandNotFound", f"no such command: '{name}'")

    def _find(self, database: str, command: dict[str, Any]) -> dict[str, Any]:
        wanted = command.get("filter") or {}
        if any(isinstance(value, dict) or key.startswith("$") for key, value in wanted.items()):
            return _failure(_FAILED_TO_PARSE, "FailedToParse", "filter: this server compares fields for equality only")
        with self._lock:
            stored = list(self._collections.get((database, str(command["find"])), []))
        found = [item for item in stored if all(item.get(key) == value for key, value in wanted.items())]
        limit = abs(int(command.get("limit") or 0)) or len(found)
        return {"cursor": {"id": 0, "ns": f"{database}.{command['find']}", "firstBatch": found[:limit]}, "ok": 1.0}

    def _insert(self, database: str, command: dict[str, Any]) -> dict[str, Any]:
        documents = command.get("documents")
        if not isinstance(documents, list):
            return _failure(_FAILED_TO_PARSE, "FailedToParse", "documents: must be an array")
        with self._lock:
            self._collections.setdefault((database, str(command["insert"])), []).extend(documents)
        return {"n": len(documents), "ok": 1.0}


def _legacy_query(body: bytes) -> dict[str, Any]:
    """The command in an OP_QUERY on `<db>.$cmd`. Source: MongoDB Wire Protocol, legacy opcodes."""
    try:
        name_end = body.index(b"\0", 4)
        document, _ = bson.decode_from(body, name_end + 1 + 8)
    except (ValueError, struct.error) as exc:
        raise mongo.MongoError(f"malformed OP_QUERY: {exc}") from exc
    return {**document, "$db": body[4:name_end].decode(errors="replace").split(".", 1)[0]}


def _failure(code: int, name: str, message: str) -> dict[str, Any]:
    return {"ok": 0.0, "errmsg": message, "code": code, "codeName": name}


if __name__ == "__main__":
    run_service("mongodb", 27017, MongoServer().session)
