import io
import socket
import struct

import pytest

from samples.bookinfo import bson, mongo
from samples.bookinfo.mongo import MongoError
from samples.bookinfo.mongodb import MongoServer
from tests.support.injector_bookinfo import running


def test_client_finds() -> None:
    with running(MongoServer().session) as port, mongo.connect("127.0.0.1", port, 5) as connection:
        assert connection.find("test", "ratings") == [{"rating": 5}, {"rating": 4}]
        with pytest.raises(MongoError, match="error 59: no such command: 'drop'"):
            connection.command({"drop": "ratings", "$db": "test"})


def test_sequences_are_read_under_their_names_and_a_checksum_is_skipped() -> None:
    document = bson.encode({"x": 1})
    sequence = b"documents\0" + document * 2
    body = struct.pack("<I", 1) + b"\0" + bson.encode({"insert": "c", "$db": "d"})
    body += b"\1" + struct.pack("<i", 4 + len(sequence)) + sequence + b"sum!"
    assert mongo.parse_op_msg(body) == {"insert": "c", "$db": "d", "documents": [{"x": 1}, {"x": 1}]}


@pytest.mark.parametrize("body", [b"", b"\0\0\0\0\7", b"\0\0\0\0\0abc", b"\0\0\0\0\1\xff\xff\0\0x"])
def test_malformed_messages_are_refused(body: bytes) -> None:
    with pytest.raises(MongoError):
        mongo.parse_op_msg(body)


@pytest.mark.parametrize("length", [0, 15, -1, 2**31 - 1])
def test_impossible_lengths_are_refused(length: int) -> None:
    with pytest.raises(MongoError, match=f"a message of {length} bytes"):
        mongo.read_message(io.BufferedReader(io.BytesIO(struct.pack("<iiii", length, 1, 0, 2013))))  # type: ignore[arg-type]


def test_answer_in_another_opcode_is_refused() -> None:
    def other(connection: socket.socket, _: object) -> None:
        connection.recv(4096)
        connection.sendall(struct.pack("<iiii", 16, 1, 1, 1))

    with running(other) as port, pytest.raises(MongoError, match="answered with opcode 1"), mongo.connect("127.0.0.1", port, 5):
        pass
