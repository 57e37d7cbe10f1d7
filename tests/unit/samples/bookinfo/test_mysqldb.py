import socket
import struct

import pytest

from samples.bookinfo import mysql
from samples.bookinfo.mysqldb import MySqlServer
from tests.support.injector_bookinfo import running


def login(flags: int, user: bytes, proof: bytes, plugin: bytes) -> bytes:
    return struct.pack("<IIB23x", flags, 0, 45) + user + b"\0" + bytes([len(proof)]) + proof + plugin + b"\0"


def test_server_speaks_first_and_asks_for_its_own_plugin() -> None:
    with running(MySqlServer("secret").session) as port, socket.create_connection(("127.0.0.1", port), 5) as client, client.makefile("rb") as stream:
        sequence, greeting = mysql.read_packet(stream)
        assert (sequence, greeting[0]) == (0, 10)
        assert greeting.endswith(b"mysql_native_password\0")
        # A modern client begins with its own default and is asked to switch.
        client.sendall(mysql.packet(1, login(mysql.PROTOCOL_41 | mysql.PLUGIN_AUTH, b"root", b"", b"caching_sha2_password")))
        sequence, switch = mysql.read_packet(stream)
        name, _, salt = switch[1:].partition(b"\0")
        assert (switch[0], name) == (0xFE, b"mysql_native_password")
        client.sendall(mysql.packet(sequence + 1, mysql.scramble("secret", salt.rstrip(b"\0"))))
        assert mysql.read_packet(stream)[1][0] == 0


@pytest.mark.parametrize(
    ("payload", "code"),
    [(bytes([mysql.COM_INIT_DB]) + b"other", 1049), (bytes([99]), 1047), (b"", 1047), (b"\x03SELECT Stars FROM ratings", 1054)],
)
def test_commands_that_cannot_be_done_are_errors_and_the_connection_goes_on(payload: bytes, code: int) -> None:
    with running(MySqlServer("").session) as port, mysql.connect("127.0.0.1", port, "root", "", "test", 5) as connection:
        connection._sock.sendall(mysql.packet(0, payload))
        _, answer = mysql.read_packet(connection._stream)
        assert (answer[0], int.from_bytes(answer[1:3], "little")) == (0xFF, code)
        connection._sock.sendall(mysql.packet(0, bytes([mysql.COM_PING])))
        assert mysql.read_packet(connection._stream)[1][0] == 0


@pytest.mark.parametrize("data", [b"\x03\0\0\x01abc", mysql.packet(1, struct.pack("<I", 0) + b"x" * 40), b"GET / HTTP/1.1\r\n\r\n"])
def test_what_is_no_login_ends_the_connection(data: bytes) -> None:
    with running(MySqlServer("").session) as port, socket.create_connection(("127.0.0.1", port), 5) as client:
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        while client.recv(4096):
            pass
