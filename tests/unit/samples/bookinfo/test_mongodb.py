import socket
import struct
from typing import Any

import pytest

from samples.bookinfo import bson, mongo
from samples.bookinfo.mongodb import MongoServer
from tests.support.injector_bookinfo import running


@pytest.mark.parametrize(
    ("command", "part"),
    [
        ({"hello": 1}, {"isWritablePrimary": True, "ok": 1.0}),
        ({"isMaster": 1}, {"ismaster": True, "maxWireVersion": 13}),
        ({"ping": 1}, {"ok": 1.0}),
        ({"buildInfo": 1}, {"version": "5.0.0"}),
        ({"find": "ratings", "filter": {"rating": 4}, "$db": "test"}, {"cursor": {"id": 0, "ns": "test.ratings", "firstBatch": [{"rating": 4}]}}),
        ({"find": "ratings", "limit": 1, "$db": "test"}, {"cursor": {"id": 0, "ns": "test.ratings", "firstBatch": [{"rating": 5}]}}),
        ({"find": "none", "$db": "test"}, {"cursor": {"id": 0, "ns": "test.none", "firstBatch": []}}),
        ({"find": "ratings", "filter": {"rating": {"$gt": 4}}, "$db": "test"}, {"ok": 0.0, "code": 9}),
        ({"insert": "c", "documents": 7}, {"ok": 0.0, "code": 9}),
        ({"dropDatabase": 1}, {"ok": 0.0, "code": 59, "codeName": "CommandNotFound"}),
        ({}, {"ok": 0.0, "code": 59}),
    ],
)
def test_commands(command: dict[str, Any], part: dict[str, Any]) -> None:
    answer = MongoServer().answer(command)
    assert {key: answer[key] for key in part} == part


def test_inserted_documents_are_found() -> None:
    server = MongoServer()
    assert server.answer({"insert": "c", "documents": [{"a": 1}], "$db": "d"}) == {"n": 1, "ok": 1.0}
    assert server.answer({"find": "c", "$db": "d"})["cursor"]["firstBatch"] == [{"a": 1}]


def test_old_drivers_greeting_is_answered_in_kind() -> None:
    body = struct.pack("<i", 0) + b"admin.$cmd\0" + struct.pack("<ii", 0, -1) + bson.encode({"isMaster": 1})
    with running(MongoServer().session) as port, socket.create_connection(("127.0.0.1", port), 5) as client, client.makefile("rb") as stream:
        client.sendall(struct.pack("<iiii", 16 + len(body), 7, 0, mongo.OP_QUERY) + body)
        _, opcode, reply = mongo.read_message(stream)
        assert opcode == mongo.OP_REPLY
        assert bson.decode(reply[20:])["ismaster"] is True


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n\r\n", struct.pack("<iiii", 16, 1, 0, 9), struct.pack("<iiii", 20, 1, 0, 2013) + b"\0\0\0\0"])
def test_what_is_no_message_closes_the_connection(data: bytes) -> None:
    with running(MongoServer().session) as port, socket.create_connection(("127.0.0.1", port), 5) as client:
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        while client.recv(4096):
            pass
