from email.utils import parsedate_to_datetime

import pytest

from mesh.model.failure import Failure, Flag, Side
from mesh.proxy.reply import NO_ROUTE, LocalReply, encode_reply, http_date, no_cluster, reply_to


def test_a_full_breaker_says_so() -> None:
    reply = reply_to(Failure(Flag.UPSTREAM_OVERFLOW, Side.LOCAL, 503, "overflow"))
    assert (reply.status, reply.headers, reply.flags) == (503, b"x-envoy-overloaded: true\r\n", (Flag.UPSTREAM_OVERFLOW,))
    assert reply.body.endswith(b"reset reason: overflow")


def test_bodies_come_with_their_type() -> None:
    assert LocalReply(500, b"x").header_lines() == b"content-type: text/plain\r\n"
    assert LocalReply(404, headers=b"a: b\r\n").header_lines() == b"a: b\r\n"


def test_reasons_of_ordinary_and_invented_codes() -> None:
    assert (LocalReply(503).reason, LocalReply(555).reason) == (b"Service Unavailable", b"Unknown")


def test_grpc_clients_get_trailers_only() -> None:
    reply = LocalReply(503, b"no healthy \xc3\xbcpstream").for_grpc()
    assert (reply.status, reply.body, reply.grpc_status) == (200, b"", 14)
    assert reply.headers == (
        b"content-type: application/grpc\r\ngrpc-status: 14\r\ngrpc-message: no healthy %C3%BCpstream\r\n"
    )


def test_http_codes_become_grpc_ones() -> None:
    codes = {status: LocalReply(status).for_grpc().grpc_status for status in (400, 401, 403, 404, 429, 504, 500, 418)}
    assert codes == {400: 13, 401: 16, 403: 7, 404: 12, 429: 14, 504: 14, 500: 2, 418: 2}


def test_details_of_missing_things() -> None:
    assert (NO_ROUTE.status, NO_ROUTE.flags, NO_ROUTE.details) == (404, (Flag.NO_ROUTE,), "route_not_found")
    assert (no_cluster(500).status, no_cluster(503).flags) == (500, (Flag.NO_CLUSTER,))


def test_a_reply_is_made_grpc_once() -> None:
    reply = LocalReply(503, b"x").for_grpc()
    assert reply.for_grpc() is reply


def parts(
    reply: LocalReply, method: bytes = b"GET", minor: int = 1, keep: bool = True
) -> tuple[bytes, dict[bytes, bytes], bytes]:
    head, _, body = encode_reply(reply, b"triomesh", method, minor, keep).partition(b"\r\n\r\n")
    line, *fields = head.split(b"\r\n")
    return line, dict(field.split(b": ", 1) for field in fields), body


def test_an_answer_of_our_own() -> None:
    line, fields, body = parts(LocalReply(503, b"no healthy upstream"))
    assert line == b"HTTP/1.1 503 Service Unavailable" and body == b"no healthy upstream"
    assert fields[b"content-length"] == b"19" and fields[b"server"] == b"triomesh"
    assert fields[b"content-type"] == b"text/plain" and b"connection" not in fields


@pytest.mark.parametrize(
    ("minor", "keep", "option"), [(1, True, None), (1, False, b"close"), (0, True, b"keep-alive"), (0, False, b"close")]
)
def test_persistence_is_said_where_it_is_not_the_default(minor: int, keep: bool, option: bytes | None) -> None:
    assert parts(LocalReply(200), minor=minor, keep=keep)[1].get(b"connection") == option


def test_head_requests_get_the_length_only() -> None:
    _, fields, body = parts(LocalReply(200, b"abc"), method=b"HEAD")
    assert fields[b"content-length"] == b"3" and body == b""


@pytest.mark.parametrize("status", [204, 304])
def test_bodiless_statuses_have_no_length(status: int) -> None:
    _, fields, body = parts(LocalReply(status))
    assert b"content-length" not in fields and body == b""


def test_a_status_of_nobody_is_unknown() -> None:
    assert parts(LocalReply(555))[0] == b"HTTP/1.1 555 Unknown"


def test_the_date_is_a_date() -> None:
    assert parsedate_to_datetime(http_date().decode()).tzinfo is not None
