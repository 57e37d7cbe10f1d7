"""Chunked framing: what is accepted, and what is refused because two parsers could read it in two ways."""

from typing import Any

import pytest

from tests.support.codec import request_events, splits

HEAD = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"

ACCEPTED = [
    (b"0\r\n\r\n", ()),
    (b"1\r\na\r\n0\r\n\r\n", ()),
    (b"A\r\n0123456789\r\n00000\r\n\r\n", ()),
    (b'a;n=v;m="q"\r\n0123456789\r\n0;last\r\n\r\n', ()),
    (b"1 ;n\r\na\r\n0\r\n\r\n", ()),
    (b"1\r\na\r\n0\r\nX-A: 1\r\nX-B: 2\r\n\r\n", ((b"x-a", b"1"), (b"x-b", b"2"))),
]
REFUSED = [
    (b"1\r\nab\r\n0\r\n\r\n", 400),
    (b"1\r\na\n0\r\n\r\n", 400),
    (b"1\r\na0\r\n\r\n", 400),
    (b"1\r\na\rX0\r\n\r\n", 400),
    (b"1\na\r\n0\r\n\r\n", 400),
    (b"1\r\na\r\n0\n\n", 400),
    (b"1\r\na\r\n0\r\nX: y\n\r\n", 400),
    (b"-1\r\na\r\n", 400),
    (b"0x1\r\na\r\n", 400),
    (b" 1\r\na\r\n", 400),
    (b"1 \r\na\r\n0\r\n\r\n", 400),
    (b"\r\n", 400),
    (b";x\r\n", 400),
    (b"1x\r\na\r\n", 400),
    (b"1;a\rb\r\na\r\n", 400),
    (b"1;a\x00\r\na\r\n", 400),
    (b"f" * 16 + b"\r\n", 400),
    (b"0" * 16 + b"1\r\na\r\n", 400),
    (b"1;" + b"x" * 5000, 400),
    (b"".join(b"1;" + b"x" * 4000 + b"\r\na\r\n" for _ in range(5)), 400),
    (b"0\r\nContent-Length: 5\r\n\r\n", 400),
    (b"0\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    (b"0\r\nHost: b\r\n\r\n", 400),
    (b"0\r\nX : y\r\n\r\n", 400),
    (b"0\r\n X: y\r\n\r\n", 400),
]


@pytest.mark.parametrize(("body", "trailers"), ACCEPTED)
def test_accepted(h1: Any, body: bytes, trailers: tuple[tuple[bytes, bytes], ...]) -> None:
    for pieces in splits(HEAD + body).values():
        assert request_events(h1, pieces)[1:] == [("body", body), ("end", trailers)]


@pytest.mark.parametrize(("body", "status"), REFUSED)
def test_refused(h1: Any, body: bytes, status: int) -> None:
    for pieces in splits(HEAD + body).values():
        assert request_events(h1, pieces)[-1] == ("error", status)
        assert request_events(h1, pieces, data_only=True)[-1] == ("error", status)


def test_largest_size_does_not_overflow(h1: Any) -> None:
    events = request_events(h1, [HEAD + b"f" * 15 + b"\r\nabc"])
    assert events[1:] == [("body", b"f" * 15 + b"\r\nabc")]


def test_raw_and_data_may_be_mixed(h1: Any) -> None:
    parser = h1.RequestParser()
    parser.feed(HEAD + b"3\r\nab")
    parser.head()
    assert parser.body_data() == b"ab"
    parser.feed(b"c\r\n2\r\nde\r\n0\r\n\r\n")
    assert parser.body_raw() == b"c\r\n2\r\nde\r\n0\r\n\r\n"
    assert parser.is_complete


def test_trailers_are_not_let_through_before_they_are_checked(h1: Any) -> None:
    parser = h1.RequestParser()
    parser.feed(HEAD + b"1\r\na\r\n0\r\nX-A: 1\r\n")
    parser.head()
    assert parser.body_raw() == b"1\r\na\r\n0\r\n"
    assert parser.body_raw() is None
    parser.feed(b"\r\n")
    assert parser.body_raw() == b"X-A: 1\r\n\r\n"
    assert parser.trailers.get(b"x-a") == b"1"


def test_trailers_of_the_previous_message_are_gone(h1: Any) -> None:
    data = HEAD + b"0\r\nX-A: 1\r\n\r\n" + HEAD + b"0\r\n\r\n"
    events = request_events(h1, [data])
    assert [event for event in events if event[0] == "end"] == [("end", ((b"x-a", b"1"),)), ("end", ())]
