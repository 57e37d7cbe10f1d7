from email.utils import parsedate_to_datetime

import pytest

from mesh.proxy.downstream_h1 import encode_reply, http_date
from mesh.proxy.reply import LocalReply


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
