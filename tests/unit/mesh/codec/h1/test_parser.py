"""Connections as tables of (bytes, events), delivered whole, in halves and byte by byte, in both forms."""

from typing import Any

import pytest

from mesh.codec.events import END, ProtocolError
from tests.support.codec import request_events, response_events, splits

HOST = (b"host", b"a")
END_EVENT = ("end", ())


def _get(
    target: bytes = b"/", minor: int = 1, keep: bool = True, fields: tuple[tuple[bytes, bytes], ...] = (HOST,)
) -> tuple[Any, ...]:
    return ("head", b"GET", target, b"a", minor, keep, fields)


REQUESTS = {
    "get": (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", [_get(), END_EVENT]),
    "no fields in HTTP/1.0": (b"GET / HTTP/1.0\r\n\r\n", [("head", b"GET", b"/", b"", 0, False, ()), END_EVENT]),
    "pipelined": (
        b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n",
        [_get(b"/1"), END_EVENT, _get(b"/2"), END_EVENT],
    ),
    "empty lines before": (b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n\r\n", [_get(), END_EVENT]),
    "content-length": (
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        [
            ("head", b"POST", b"/", b"a", 1, True, (HOST, (b"content-length", b"3"))),
            ("body", b"abc"),
            END_EVENT,
            _get(),
            END_EVENT,
        ],
    ),
    "chunked with extension and trailers": (
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nX-T: 1\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        [
            ("head", b"POST", b"/", b"a", 1, True, (HOST, (b"transfer-encoding", b"chunked"))),
            ("body", b"3;x=y\r\nabc\r\n0\r\nX-T: 1\r\n\r\n"),
            ("end", ((b"x-t", b"1"),)),
            _get(),
            END_EVENT,
        ],
    ),
    "body before a fault is let through": (
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n",
        [
            ("head", b"POST", b"/", b"a", 1, True, (HOST, (b"transfer-encoding", b"chunked"))),
            ("body", b"3\r\nabc\r\n"),
            ("error", 400),
        ],
    ),
    "good request, then a bad one": (
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n{}\r\n\r\n",
        [_get(), END_EVENT, ("error", 400)],
    ),
    "TLS at a plain port": (b"\x16\x03\x01\x02\x00\x01\x00", [("error", 400)]),
    "HTTP/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", [("error", 505)]),
    "HTTP/0.9": (b"GET /\r\n\r\n", [("error", 505)]),
    "bare LF": (b"GET / HTTP/1.1\nHost: a\n\n", [("error", 400)]),
    "endless empty lines": (b"\r\n" * 20, [("error", 400)]),
}

OK = (b"content-length", b"2")
RESPONSES = {
    "content-length": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
        [("head", 200, b"OK", 1, True, (OK,)), ("body", b"hi"), END_EVENT],
    ),
    "no reason, no space": (b"HTTP/1.1 204\r\n\r\n", [("head", 204, b"", 1, True, ()), END_EVENT]),
    "interim first": (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
        [
            ("head", 100, b"Continue", 1, True, ()),
            END_EVENT,
            ("head", 200, b"OK", 1, True, (OK,)),
            ("body", b"hi"),
            END_EVENT,
        ],
    ),
    "until close": (
        b"HTTP/1.0 200 OK\r\n\r\nall of it",
        [("head", 200, b"OK", 0, False, ()), ("body", b"all of it"), END_EVENT],
    ),
    "not HTTP": (b"SSH-2.0-OpenSSH\r\n", [("error", 502)]),
    "both lengths": (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n", [("error", 502)]),
}


@pytest.mark.parametrize("how", ["whole", "halves", "bytes"])
@pytest.mark.parametrize("case", REQUESTS)
def test_requests(h1: Any, case: str, how: str) -> None:
    data, expected = REQUESTS[case]
    assert request_events(h1, splits(data)[how], eof=True) == expected


@pytest.mark.parametrize("how", ["whole", "halves", "bytes"])
@pytest.mark.parametrize("case", RESPONSES)
def test_responses(h1: Any, case: str, how: str) -> None:
    data, expected = RESPONSES[case]
    assert response_events(h1, splits(data)[how], eof=True) == expected


@pytest.mark.parametrize("case", ["get", "content-length", "chunked with extension and trailers"])
def test_trailing_data_stays_buffered(h1: Any, case: str) -> None:
    data, expected = REQUESTS[case]
    assert request_events(h1, [data + b"GE"]) == [*expected, ("rest", b"GE")]


def test_data_only_leaves_chunk_framing_out(h1: Any) -> None:
    data = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    for pieces in splits(data).values():
        assert request_events(h1, pieces, data_only=True)[1:] == [("body", b"abcde"), END_EVENT]


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET /" + b"x" * 300, 414),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 300, 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 5 + b"\r\n", 431),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"X: y\r\n" * 6, 431),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: " + b"y" * 300, 431),
    ],
)
def test_limits(h1: Any, data: bytes, status: int) -> None:
    for pieces in splits(data).values():
        limits = h1.Limits(max_head_bytes=200, max_headers=4)
        assert request_events(h1, pieces, limits=limits)[-1] == ("error", status)


def test_limits_are_the_last_values_allowed(h1: Any) -> None:
    head = b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n"
    limits = h1.Limits(max_head_bytes=len(head), max_headers=2)
    assert request_events(h1, [head * 2], limits=limits).count(END_EVENT) == 2


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HT",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nab",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
    ],
)
def test_closing_inside_a_request_is_an_error(h1: Any, data: bytes) -> None:
    for pieces in splits(data).values():
        assert request_events(h1, pieces, eof=True)[-1] == ("error", 400)


def test_closing_inside_a_buffered_body_lets_the_body_through_first(h1: Any) -> None:
    parser = h1.ResponseParser()
    parser.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab")
    parser.head(b"GET")
    parser.eof()
    assert parser.body_raw() == b"ab"
    with pytest.raises(ProtocolError):
        parser.body_raw()


def test_an_empty_line_before_every_request_is_fine(h1: Any) -> None:
    data = b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n" * 20
    assert request_events(h1, [data]).count(END_EVENT) == 20


def test_closing_between_messages_is_fine(h1: Any) -> None:
    parser = h1.RequestParser()
    parser.feed(b"\r\n")
    parser.eof()
    assert parser.head() is None
    assert parser.is_idle


def test_errors_are_final(h1: Any) -> None:
    parser = h1.RequestParser()
    parser.feed(b"\x00")
    for _ in range(2):
        with pytest.raises(ProtocolError, match="byte 0"):
            parser.head()
    parser.feed(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    with pytest.raises(ProtocolError):
        parser.head()


def test_leftover_after_upgrade(h1: Any) -> None:
    parser = h1.RequestParser()
    parser.feed(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n\r\nframes")
    assert parser.head().upgrade == b"websocket"
    assert parser.body_raw() is END
    assert parser.leftover() == b"frames"
    assert parser.leftover() == b""


@pytest.mark.parametrize("method", [b"HEAD", b"CONNECT"])
def test_method_decides_that_there_is_no_body(h1: Any, method: bytes) -> None:
    data = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nother"
    assert response_events(h1, [data], method)[1:2] == [END_EVENT]


def test_skip_counts_off_what_went_another_way(h1: Any) -> None:
    parser = h1.ResponseParser()
    parser.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
    parser.head(b"GET")
    with pytest.raises(RuntimeError):
        parser.skip(1)
    assert parser.body_raw() == b"abc"
    assert parser.body_remaining == 7
    parser.skip(7)
    assert parser.is_complete
    assert parser.body_remaining == 0
    assert parser.body_raw() is END


def test_calls_out_of_order_are_mistakes_of_the_caller(h1: Any) -> None:
    parser = h1.RequestParser()
    with pytest.raises(RuntimeError):
        parser.body_raw()
    with pytest.raises(RuntimeError):
        parser.next()
    parser.feed(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n")
    parser.head()
    with pytest.raises(RuntimeError):
        parser.next()
    with pytest.raises(RuntimeError):
        parser.head()


WHOLE_BODIES = {
    b"Content-Length: 5": b"hello",
    b"Transfer-Encoding: chunked": b"3;x\r\nabc\r\n2\r\nde\r\n0\r\nX-T: 1\r\n\r\n",
}


@pytest.mark.parametrize(("framing", "body"), WHOLE_BODIES.items())
def test_whole_body_takes_all_or_nothing(h1: Any, framing: bytes, body: bytes) -> None:
    head = b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n"
    for size in range(len(body)):
        parser = h1.ResponseParser()
        parser.feed(head + body[:size])
        parser.head(b"GET")
        assert parser.whole_body() is None
        parser.feed(body[size:] + b"next")
        assert parser.whole_body() == body
        assert parser.is_complete
        assert parser.whole_body() == b""
        assert parser.leftover() == b"next"


def test_whole_body_leaves_what_it_cannot_take_to_body_raw(h1: Any) -> None:
    parser = h1.ResponseParser()
    with pytest.raises(RuntimeError):
        parser.whole_body()
    parser.feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n")
    parser.head(b"GET")
    assert parser.whole_body() is None
    assert parser.body_raw() == b"3\r\nabc\r\n"
    with pytest.raises(ProtocolError):
        parser.body_raw()
    assert parser.whole_body() is None
    until_close = h1.ResponseParser()
    until_close.feed(b"HTTP/1.1 200 OK\r\n\r\nabc")
    until_close.head(b"GET")
    assert until_close.whole_body() is None
