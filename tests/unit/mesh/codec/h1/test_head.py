"""Heads: what is refused, and what start line and fields say."""

from typing import Any

import pytest

from mesh.codec.events import ProtocolError

H = b"Host: a\r\n"
REFUSED_REQUESTS = [
    # (request, status, part of the message)
    (b"GET / HTTP/1.1\r\n\r\n", 400, "no Host"),
    (b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400, "more than one Host"),
    (b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400, "more than one Host"),
    (b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400, "bad Host"),
    (b"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", 400, "bad Host"),
    (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400, "bad Host"),
    (b"GET  / HTTP/1.1\r\n" + H + b"\r\n", 400, "byte 4"),
    (b"GET /  HTTP/1.1\r\n" + H + b"\r\n", 400, "byte 6"),
    (b"GET /a\x00 HTTP/1.1\r\n" + H + b"\r\n", 400, "byte 6"),
    (b"GET /a\xff HTTP/1.1\r\n" + H + b"\r\n", 400, "byte 6"),
    (b"GET /a#b HTTP/1.1\r\n" + H + b"\r\n", 400, "byte 6"),
    (b"GET\t/ HTTP/1.1\r\n" + H + b"\r\n", 400, "byte 3"),
    (b"GET / HTTP/1.1 \r\n" + H + b"\r\n", 400, "not an HTTP version"),
    (b"GET / http/1.1\r\n" + H + b"\r\n", 400, "not an HTTP version"),
    (b"GET / HTTP/1.10\r\n" + H + b"\r\n", 400, "not an HTTP version"),
    (b"GET / HTTP/2.0\r\n" + H + b"\r\n", 505, "not HTTP/1.x"),
    (b"GET / HTTP/0.9\r\n" + H + b"\r\n", 505, "not HTTP/1.x"),
    (b"GET / HTTP/1.1\r" + H + b"\r\n", 400, "bare CR"),
    (b"GET a HTTP/1.1\r\n" + H + b"\r\n", 400, "neither a path nor"),
    (b"GET ftp://a/ HTTP/1.1\r\n" + H + b"\r\n", 400, "neither a path nor"),
    (b"GET http:///x HTTP/1.1\r\n" + H + b"\r\n", 400, "bad authority"),
    (b"GET http://u@a/ HTTP/1.1\r\n" + H + b"\r\n", 400, "bad authority"),
    (b"GET * HTTP/1.1\r\n" + H + b"\r\n", 400, "only for OPTIONS"),
    (b"CONNECT /x HTTP/1.1\r\n" + H + b"\r\n", 400, "host:port"),
    (b"CONNECT a HTTP/1.1\r\n" + H + b"\r\n", 400, "host:port"),
    (b"CONNECT :1 HTTP/1.1\r\n" + H + b"\r\n", 400, "host:port"),
    (b"CONNECT a:1 HTTP/1.1\r\n" + H + b"Content-Length: 1\r\n\r\n", 400, "CONNECT with a body"),
    (b"GET / HTTP/1.1\r\n" + H + b"X : y\r\n\r\n", 400, "in header name"),
    (b"GET / HTTP/1.1\r\n" + H + b" X: y\r\n\r\n", 400, "obs-fold"),
    (b"GET / HTTP/1.1\r\n" + H + b"X: y\r\n\tz\r\n\r\n", 400, "obs-fold"),
    (b"GET / HTTP/1.1\r\n" + H + b": y\r\n\r\n", 400, "does not start with a name"),
    (b"GET / HTTP/1.1\r\n" + H + b"X\r\n\r\n", 400, "in header name"),
    (b"GET / HTTP/1.1\r\n" + H + b"X\x00: y\r\n\r\n", 400, "in header name"),
    (b"GET / HTTP/1.1\r\n" + H + b"X: a\x00b\r\n\r\n", 400, "in the value of 'X'"),
    (b"GET / HTTP/1.1\r\n" + H + b"X: a\rb\r\n\r\n", 400, "in the value of 'X'"),
    (b"GET / HTTP/1.1\r\n" + H + b"X: a\nY: b\r\n\r\n", 400, "in the value of 'X'"),
    (b"GET / HTTP/1.1\r\n" + H + b"X: a\x7f\r\n\r\n", 400, "in the value of 'X'"),
    (b"POST / HTTP/1.1\r\n" + H + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "both"),
    (b"POST / HTTP/1.1\r\n" + H + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n", 400, "both 1 and 2"),
    (b"POST / HTTP/1.1\r\n" + H + b"Content-Length: 1, 2\r\n\r\n", 400, "both 1 and 2"),
    (b"POST / HTTP/1.1\r\n" + H + b"Content-Length: +1\r\n\r\n", 400, "not a number"),
    (b"POST / HTTP/1.1\r\n" + H + b"Content-Length: 0x1\r\n\r\n", 400, "not a number"),
    (b"POST / HTTP/1.1\r\n" + H + b"Content-Length: 1 1\r\n\r\n", 400, "not a number"),
    (b"POST / HTTP/1.1\r\n" + H + b"Content-Length:\r\n\r\n", 400, "not a number"),
    (b"POST / HTTP/1.1\r\n" + H + b"Content-Length: 1,\r\n\r\n", 400, "not a number"),
    (b"POST / HTTP/1.1\r\n" + H + b"Content-Length: " + b"9" * 19 + b"\r\n\r\n", 400, "below 10^18"),
    (b"POST / HTTP/1.1\r\n" + H + b"Transfer-Encoding: gzip\r\n\r\n", 400, "does not end with chunked"),
    (b"POST / HTTP/1.1\r\n" + H + b"Transfer-Encoding: identity\r\n\r\n", 400, "does not end with chunked"),
    (b"POST / HTTP/1.1\r\n" + H + b"Transfer-Encoding:\r\n\r\n", 400, "does not end with chunked"),
    (b"POST / HTTP/1.1\r\n" + H + b"Transfer-Encoding: chunked;q=1\r\n\r\n", 400, "does not end with chunked"),
    (b"POST / HTTP/1.1\r\n" + H + b"Transfer-Encoding: gzip, chunked\r\n\r\n", 501, "not implemented"),
    (b"POST / HTTP/1.1\r\n" + H + b"Transfer-Encoding: chunked, chunked\r\n\r\n", 400, "after chunked"),
    (
        b"POST / HTTP/1.1\r\n" + H + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        400,
        "after chunked",
    ),
    (b"POST / HTTP/1.0\r\n" + H + b"Transfer-Encoding: chunked\r\n\r\n", 400, "HTTP/1.0"),
]


@pytest.mark.parametrize(("raw", "status", "message"), REFUSED_REQUESTS)
def test_refused_requests(h1: Any, raw: bytes, status: int, message: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        h1.head.parse_request(raw, 100)
    assert caught.value.status == status
    assert message in caught.value.message


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 99 x\r\n\r\n",
        b"HTTP/1.1 600 x\r\n\r\n",
        b"HTTP/1.1 20x x\r\n\r\n",
        b"HTTP/1.1 2000\r\n\r\n",
        b"HTTP/1.1  200 x\r\n\r\n",
        b"HTTP/2.0 200 x\r\n\r\n",
        b"HTTP/1.1 200 a\x01b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX : y\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
)
def test_refused_responses(h1: Any, raw: bytes) -> None:
    with pytest.raises(ProtocolError) as caught:
        h1.head.parse_response(raw, 100, b"GET")
    assert caught.value.status == 502


@pytest.mark.parametrize(
    ("line", "target", "path", "query", "authority"),
    [
        (b"GET /a/b HTTP/1.1", b"/a/b", b"/a/b", b"", b"h:1"),
        (b"GET /a?b=c?d HTTP/1.1", b"/a?b=c?d", b"/a", b"b=c?d", b"h:1"),
        (b"GET /? HTTP/1.1", b"/?", b"/", b"", b"h:1"),
        (b"GET //x//y HTTP/1.1", b"//x//y", b"//x//y", b"", b"h:1"),
        (b"GET http://Other:8/x?y HTTP/1.1", b"http://Other:8/x?y", b"/x", b"y", b"Other:8"),
        (b"GET HTTPS://[::1] HTTP/1.1", b"HTTPS://[::1]", b"/", b"", b"[::1]"),
        (b"GET http://b?q HTTP/1.1", b"http://b?q", b"/", b"q", b"b"),
        (b"OPTIONS http://b HTTP/1.1", b"http://b", b"*", b"", b"b"),
        (b"OPTIONS * HTTP/1.1", b"*", b"*", b"", b"h:1"),
        (b"CONNECT b:443 HTTP/1.1", b"b:443", b"", b"", b"b:443"),
        (b"get /{a}|^ HTTP/1.7", b"/{a}|^", b"/{a}|^", b"", b"h:1"),
    ],
)
def test_targets(h1: Any, line: bytes, target: bytes, path: bytes, query: bytes, authority: bytes) -> None:
    head = h1.head.parse_request(line + b"\r\nHost: h:1\r\n\r\n", 100)
    assert (head.target, head.path, head.query, head.authority) == (target, path, query, authority)
    assert head.minor == 1


@pytest.mark.parametrize(
    ("version", "connection", "keep_alive"),
    [
        (b"1", b"", True),
        (b"0", b"", False),
        (b"1", b"Connection: close\r\n", False),
        (b"1", b"Connection: Keep-Alive\r\n", True),
        (b"0", b"Connection: keep-alive\r\n", True),
        (b"0", b"connection: KEEP-ALIVE, x\r\n", True),
        (b"0", b"Connection: keep-alive, close\r\n", False),
        (b"1", b"Connection: x\r\nConnection: , close ,\r\n", False),
        (b"0", b"Proxy-Connection: keep-alive\r\n", False),
    ],
)
def test_persistence_of_requests(h1: Any, version: bytes, connection: bytes, keep_alive: bool) -> None:
    raw = b"GET / HTTP/1." + version + b"\r\nHost: a\r\n" + connection + b"\r\n"
    assert h1.head.parse_request(raw, 100).keep_alive is keep_alive


@pytest.mark.parametrize(
    ("fields", "upgrade"),
    [
        (b"Connection: Upgrade\r\nUpgrade: WebSocket\r\n", b"websocket"),
        (b"Upgrade: h2c, foo\r\nConnection: HTTP2-Settings, upgrade\r\n", b"h2c"),
        (b"Upgrade: websocket\r\n", b""),
        (b"Connection: upgrade\r\n", b""),
    ],
)
def test_upgrade_needs_both_fields(h1: Any, fields: bytes, upgrade: bytes) -> None:
    raw = b"GET / HTTP/1.%d\r\nHost: a\r\n" + fields + b"\r\n"
    assert h1.head.parse_request(raw % 1, 100).upgrade == upgrade
    assert h1.head.parse_request(raw % 0, 100).upgrade == b""  # RFC 9110 7.8


def test_expect_counts_in_http_1_1_only(h1: Any) -> None:
    raw = b"PUT / HTTP/1.%d\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 1\r\n\r\n"
    assert h1.head.parse_request(raw % 1, 100).expect_continue is True
    assert h1.head.parse_request(raw % 0, 100).expect_continue is False


@pytest.mark.parametrize("value", [b"5", b"005", b"5, 5", b"5 ,5"])
def test_identical_lengths_are_one(h1: Any, value: bytes) -> None:
    head = h1.head.parse_request(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: " + value + b"\r\n\r\n", 100)
    assert (head.content_length, head.has_body) == (5, True)


@pytest.mark.parametrize(
    ("method", "status", "fields", "has_body", "is_until_close", "keep_alive"),
    [
        (b"GET", 200, b"Content-Length: 5\r\n", True, False, True),
        (b"GET", 200, b"Content-Length: 0\r\n", False, False, True),
        (b"GET", 200, b"Transfer-Encoding: chunked\r\n", True, False, True),
        (b"GET", 200, b"", True, True, False),
        (b"HEAD", 200, b"", False, False, True),
        (b"HEAD", 200, b"Transfer-Encoding: chunked\r\n", False, False, True),
        (b"GET", 204, b"Content-Length: 5\r\n", False, False, True),
        (b"GET", 304, b"Content-Length: 5\r\n", False, False, True),
        (b"GET", 103, b"", False, False, True),
        (b"GET", 101, b"Connection: upgrade\r\nUpgrade: x\r\n", False, False, False),
        (b"CONNECT", 200, b"Transfer-Encoding: chunked\r\n", False, False, False),
        (b"CONNECT", 407, b"Content-Length: 5\r\n", True, False, True),
    ],
)
def test_framing_of_responses(
    h1: Any, method: bytes, status: int, fields: bytes, has_body: bool, is_until_close: bool, keep_alive: bool
) -> None:
    head = h1.head.parse_response(b"HTTP/1.1 %d x\r\n%b\r\n" % (status, fields), 100, method)
    assert (head.has_body, head.is_until_close, head.keep_alive) == (has_body, is_until_close, keep_alive)
    assert head.is_interim is (status == 103)


def test_attributes_cannot_be_set_when_compiled(h1: Any) -> None:
    raw = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    head = h1.head.parse_request(raw, 100)
    assert (head.raw, head.nbytes, head.count) == (raw, len(raw), 1)
    if not h1.head.__file__.endswith(".py"):
        with pytest.raises(AttributeError):
            head.raw = b""
