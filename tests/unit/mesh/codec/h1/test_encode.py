"""Encoded heads, compared whole."""

from typing import Any

import pytest

from mesh.codec.events import Framing

REQUEST = b"GET /a?b HTTP/1.1\r\nHost: h\r\nX-One: 1\r\nUser-Agent: u\r\nX-Two: 2\r\n\r\n"


def _request(h1: Any, raw: bytes, *args: Any, **kwargs: Any) -> bytes:
    encoded: bytes = h1.encode_request(h1.head.parse_request(raw, 100), *args, **kwargs)
    return encoded


def _response(h1: Any, raw: bytes, method: bytes = b"GET", **kwargs: Any) -> bytes:
    encoded: bytes = h1.encode_response(h1.head.parse_response(raw, 100, method), **kwargs)
    return encoded


def test_nothing_to_change_is_byte_identical(h1: Any) -> None:
    assert _request(h1, REQUEST) == REQUEST
    response = b"HTTP/1.1 200 OK\r\nX-A: b\r\nContent-Length: 3\r\n\r\n"
    assert _response(h1, response) == response


def test_remove_and_extra(h1: Any) -> None:
    encoded = _request(h1, REQUEST, remove=(b"x-one", b"x-two", b"absent"), extra=b"X-New: 3\r\n")
    assert encoded == b"GET /a?b HTTP/1.1\r\nHost: h\r\nUser-Agent: u\r\nX-New: 3\r\n\r\n"


@pytest.mark.parametrize("size", [1, 31, 32, 40, 63, 64, 65, 130])
def test_remove_knows_names_of_any_length(h1: Any, size: int) -> None:
    raw = b"HTTP/1.1 204 No\r\n" + b"X" * size + b": 1\r\n" + b"Y" * size + b": 2\r\n\r\n"
    assert _response(h1, raw, remove=(b"x" * size,)) == b"HTTP/1.1 204 No\r\n" + b"Y" * size + b": 2\r\n\r\n"


def test_removing_the_first_and_all_lines(h1: Any) -> None:
    raw = b"HTTP/1.1 204 No\r\nX-One: 1\r\nx-one: 2\r\n\r\n"
    assert _response(h1, raw, remove=(b"x-one",)) == b"HTTP/1.1 204 No\r\n\r\n"


def test_target_and_authority(h1: Any) -> None:
    encoded = _request(h1, REQUEST, target=b"/new", authority=b"other:1")
    assert encoded == b"GET /new HTTP/1.1\r\nHost: other:1\r\nX-One: 1\r\nUser-Agent: u\r\nX-Two: 2\r\n\r\n"
    assert _request(h1, REQUEST, target=b"/n").startswith(b"GET /n HTTP/1.1\r\nHost: h\r\nX-One")
    assert _request(h1, REQUEST, authority=b"o").startswith(b"GET /a?b HTTP/1.1\r\nHost: o\r\nX-One")


@pytest.mark.parametrize(
    ("target", "sent"),
    [(b"http://t:1/x?y", b"/x?y"), (b"http://t:1", b"/"), (b"http://t:1?", b"/?"), (b"http://t:1/x?", b"/x?")],
)
def test_absolute_form_becomes_a_path_and_its_host_wins(h1: Any, target: bytes, sent: bytes) -> None:
    raw = b"GET " + target + b" HTTP/1.1\r\nX: 1\r\nHost: liar\r\nY: 2\r\n\r\n"
    assert _request(h1, raw) == b"GET " + sent + b" HTTP/1.1\r\nHost: t:1\r\nX: 1\r\nY: 2\r\n\r\n"


def test_old_versions_become_1_1(h1: Any) -> None:
    assert _request(h1, b"GET / HTTP/1.0\r\nX: 1\r\n\r\n") == b"GET / HTTP/1.1\r\nHost: \r\nX: 1\r\n\r\n"
    assert _request(h1, b"GET / HTTP/1.0\r\nX: 1\r\nHost: h\r\n\r\n") == b"GET / HTTP/1.1\r\nHost: h\r\nX: 1\r\n\r\n"
    assert _response(h1, b"HTTP/1.0 200 OK\r\nX: 1\r\n\r\n") == b"HTTP/1.1 200 OK\r\nX: 1\r\n\r\n"
    assert _request(h1, b"GET / HTTP/1.3\r\nHost: h\r\n\r\n") == b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"


def test_hop_by_hop_fields_stay_behind(h1: Any) -> None:
    raw = (
        b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close, X-Mine\r\nKeep-Alive: 5\r\nx-mine: 1\r\nX-Yours: 2\r\n"
        b"Proxy-Connection: close\r\nTE: gzip\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n\r\n"
    )
    assert _request(h1, raw) == b"GET / HTTP/1.1\r\nHost: h\r\nX-Yours: 2\r\n\r\n"


def test_connection_cannot_strip_what_matters(h1: Any) -> None:
    raw = (
        b"POST / HTTP/1.1\r\nHost: h\r\nConnection: host, content-length, transfer-encoding, authorization, cookie,"
        b" x-forwarded-for\r\nContent-Length: 3\r\nAuthorization: a\r\nCookie: c\r\nX-Forwarded-For: f\r\n\r\n"
    )
    kept = b"Content-Length: 3\r\nAuthorization: a\r\nCookie: c\r\nX-Forwarded-For: f\r\n"
    assert _request(h1, raw) == b"POST / HTTP/1.1\r\nHost: h\r\n" + kept + b"\r\n"


def test_te_trailers_is_passed_on_as_our_own(h1: Any) -> None:
    raw = b"POST / HTTP/1.1\r\nHost: h\r\nTE: gzip, Trailers\r\nConnection: TE\r\n\r\n"
    assert _request(h1, raw) == b"POST / HTTP/1.1\r\nHost: h\r\nTE: trailers\r\nConnection: TE\r\n\r\n"
    assert _request(h1, raw, connection=b"close").endswith(b"\r\nTE: trailers\r\nConnection: close, TE\r\n\r\n")


def test_upgrade_is_forwarded_only_when_asked(h1: Any) -> None:
    raw = b"GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\n\r\n"
    kept = b"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\nConnection: upgrade\r\n\r\n"
    assert _request(h1, raw, upgrade=True) == kept
    assert b"pgrade" not in _request(h1, raw)
    switching = b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
    assert (
        _response(h1, switching, upgrade=True)
        == b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n"
    )


def test_repeated_lengths_are_sent_once(h1: Any) -> None:
    raw = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5, 5\r\nX: 1\r\nContent-Length: 5\r\n\r\n"
    assert _request(h1, raw) == b"POST / HTTP/1.1\r\nHost: h\r\nX: 1\r\nContent-Length: 5\r\n\r\n"


def test_framing_for_an_old_client(h1: Any) -> None:
    raw = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX: 1\r\n\r\n"
    encoded = _response(h1, raw, framing=Framing.NONE, connection=b"close")
    assert encoded == b"HTTP/1.1 200 OK\r\nX: 1\r\nConnection: close\r\n\r\n"


def test_framing_can_become_chunked(h1: Any) -> None:
    raw = b"HTTP/1.0 200 OK\r\nX: 1\r\n\r\n"
    encoded = _response(h1, raw, framing=Framing.CHUNKED)
    assert encoded == b"HTTP/1.1 200 OK\r\nX: 1\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert h1.encode_chunk(b"x" * 17) + h1.LAST_CHUNK == b"11\r\n" + b"x" * 17 + b"\r\n0\r\n\r\n"


@pytest.mark.parametrize(("method", "status"), [(b"GET", 204), (b"GET", 103), (b"CONNECT", 200)])
def test_framing_where_none_is_allowed_is_dropped(h1: Any, method: bytes, status: int) -> None:
    raw = b"HTTP/1.1 %d x\r\nContent-Length: 7\r\nX: 1\r\n\r\n" % status
    assert _response(h1, raw, method) == b"HTTP/1.1 %d x\r\nX: 1\r\n\r\n" % status


@pytest.mark.parametrize(("method", "status"), [(b"HEAD", 200), (b"GET", 304)])
def test_framing_that_only_tells_is_kept(h1: Any, method: bytes, status: int) -> None:
    raw = b"HTTP/1.1 %d x\r\nContent-Length: 7\r\n\r\n" % status
    assert _response(h1, raw, method) == raw
