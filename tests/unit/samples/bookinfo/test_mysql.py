import io
import socket

import pytest

from samples.bookinfo import mysql
from samples.bookinfo.mysql import MySqlError
from samples.bookinfo.mysqldb import MySqlServer
from tests.support.injector_bookinfo import running


def test_scramble_is_mysql_native_password() -> None:
    # Computed by the formula of the protocol's documentation for a challenge of twenty times "a".
    assert mysql.scramble("", b"a" * 20) == b""
    proof = mysql.scramble("password", b"a" * 20)
    assert len(proof) == 20
    assert proof != mysql.scramble("password", b"b" * 20)


@pytest.mark.parametrize("value", [0, 250, 251, 65535, 65536, 2**24 - 1, 2**24, 2**40])
def test_lengths_read_back(value: int) -> None:
    data = mysql.length_encoded(value)
    assert mysql.read_length_encoded(data, 0) == (value, len(data))
    assert mysql.read_length_encoded(b"\xfb", 0) == (None, 1)


def test_packets_read_back_and_a_cut_one_is_a_closed_connection() -> None:
    data = mysql.packet(3, b"abc")
    assert mysql.read_packet(io.BufferedReader(io.BytesIO(data))) == (3, b"abc")  # type: ignore[arg-type]
    for cut in range(len(data)):
        with pytest.raises(ConnectionResetError):
            mysql.read_packet(io.BufferedReader(io.BytesIO(data[:cut])))  # type: ignore[arg-type]


def test_client_queries() -> None:
    with running(MySqlServer("").session) as port, mysql.connect("127.0.0.1", port, "root", "", "test", 5) as connection:
        assert connection.query("select * from ratings") == [["1", "5"], ["2", "4"]]
        assert connection.query("update ratings set rating=1 where reviewid=2;") == []
        assert connection.query("SELECT Rating FROM test.ratings WHERE ReviewID = 2") == [["1"]]
        with pytest.raises(MySqlError, match="error 1064"):
            connection.query("DROP TABLE ratings")
        assert connection.query("SELECT 1") == [["1"]]


@pytest.mark.parametrize("greeting", [b"\x09x\0", b"\x0a8\0abc", b"\xff\x10\x04#08004Too many connections"])
def test_other_greetings_are_refused(greeting: bytes) -> None:
    def greet(connection: socket.socket, _: object) -> None:
        connection.sendall(mysql.packet(0, greeting))

    with running(greet) as port, pytest.raises(MySqlError), mysql.connect("127.0.0.1", port, "root", "", "test", 5):
        pass
