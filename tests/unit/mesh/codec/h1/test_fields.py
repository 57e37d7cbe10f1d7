"""Header sections: look-ups, order, and the scans under them."""

from typing import Any

import pytest

from mesh.codec.events import ProtocolError

RAW = b"GET / HTTP/1.1\r\nHost: a\r\nX-A:1\r\nx-b: \t two words \t\r\nX-a: 2\r\nEmpty:\r\n\r\n"


@pytest.fixture
def head(h1: Any) -> Any:
    return h1.head.parse_request(RAW, 100)


def test_get_joins_lines_in_order(head: Any) -> None:
    assert head.get(b"x-a") == b"1,2"
    assert head.get(b"x-b") == b"two words"
    assert head.get(b"empty") == b""
    assert head.get(b"absent") is None
    assert head.get(b"X-A") is None  # names are asked for in lower case


def test_get_all(head: Any) -> None:
    assert head.get_all(b"x-a") == [b"1", b"2"]
    assert head.get_all(b"absent") == []


def test_iteration(head: Any) -> None:
    assert list(head) == [(b"host", b"a"), (b"x-a", b"1"), (b"x-b", b"two words"), (b"x-a", b"2"), (b"empty", b"")]
    assert head.count == 5


def test_obs_text_is_kept(h1: Any) -> None:
    head = h1.head.parse_request(b"GET / HTTP/1.1\r\nHost: a\r\nX: caf\xc3\xa9\r\n\r\n", 100)
    assert head.get(b"x") == b"caf\xc3\xa9"


def test_every_byte_of_a_name_and_a_value(h1: Any) -> None:
    token = set(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&'*+-.^_`|~")
    for byte in range(256):
        name = b"GET / HTTP/1.1\r\nHost: a\r\nx" + bytes((byte,)) + b"y: z\r\n\r\n"
        value = b"GET / HTTP/1.1\r\nHost: a\r\nx: y" + bytes((byte,)) + b"z\r\n\r\n"
        assert _accepts(h1, name) is (byte in token or byte == ord(":")), byte
        assert _accepts(h1, value) is (byte == 9 or 0x20 <= byte != 0x7F), byte


def test_more_lines_than_the_first_allocation(h1: Any) -> None:
    lines = b"".join(b"x-%d: %d\r\n" % (i, i) for i in range(90))
    head = h1.head.parse_request(b"GET / HTTP/1.1\r\nHost: a\r\n" + lines + b"\r\n", 100)
    assert [head.get(b"x-%d" % i) for i in range(90)] == [b"%d" % i for i in range(90)]


def test_kinds_of_names_are_case_insensitive(h1: Any) -> None:
    raw = b"POST / HTTP/1.1\r\nhOST: a\r\ncONTENT-lENGTH: 3\r\ncONNECTION: CLOSE\r\n\r\n"
    head = h1.head.parse_request(raw, 100)
    assert (head.authority, head.content_length, head.keep_alive) == (b"a", 3, False)


def _accepts(h1: Any, raw: bytes) -> bool:
    try:
        h1.head.parse_request(raw, 100)
    except ProtocolError:
        return False
    return True
