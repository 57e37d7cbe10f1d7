"""Verdicts, whole and at the earliest byte that allows them."""

import pytest

from mesh.codec.sniff import MAX_LINE_BYTES, PREFACE, Verdict, sniff

CASES = [
    # (bytes, verdict, how many of them are needed)
    (b"GET / HTTP/1.1\r\n", Verdict.HTTP1, 5),
    (b"OPTIONS * HTTP/1.1\r\n", Verdict.HTTP1, 9),
    (b"CONNECT a:1 HTTP/1.1\r\n", Verdict.HTTP1, 9),
    (b"GET http://a/ HTTP/1.1\r\n", Verdict.HTTP1, 24),
    (b"BREW /pot HTTP/1.1\r\n", Verdict.HTTP1, 20),
    (b"BREW /pot\r\n", Verdict.OPAQUE, 11),
    (b"\r\nGET / HTTP/1.1", Verdict.HTTP1, 7),
    (PREFACE + b"frames", Verdict.HTTP2, 24),
    (b"PRI * HTTP/1.1\r\n", Verdict.HTTP1, 16),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", Verdict.TLS, 6),
    (b"\x16\x03\x01\x02\x00\x02", Verdict.OPAQUE, 6),
    (b"\x16\x02", Verdict.OPAQUE, 2),
    (b"\x16\x03\x05", Verdict.OPAQUE, 3),
    (b"\x16\x03\x01\x50\x00", Verdict.OPAQUE, 5),
    (b"GET key\r\n", Verdict.OPAQUE, 5),
    (b"get k", Verdict.OPAQUE, 5),
    (b"HELO host.example\r\n", Verdict.OPAQUE, 19),
    (b"HELO example.org\r\n", Verdict.OPAQUE, 6),
    (b"PING\r\n", Verdict.OPAQUE, 5),
    (b"*1\r\n$4\r\n", Verdict.OPAQUE, 3),
    (b"SSH-2.0-OpenSSH_9.2\r\n", Verdict.OPAQUE, 20),
    (b"\x00\x00\x00\x08\x04\xd2\x16\x2f", Verdict.OPAQUE, 1),
    (b"A" * 30, Verdict.OPAQUE, 25),
    (b"", Verdict.NEED_DATA, 0),
]


@pytest.mark.parametrize(("data", "verdict", "needed"), CASES)
def test_verdict_comes_as_early_as_possible_and_stays(data: bytes, verdict: Verdict, needed: int) -> None:
    verdicts = [sniff(data[:size]) for size in range(len(data) + 1)]
    assert verdicts == [Verdict.NEED_DATA] * needed + [verdict] * (len(data) + 1 - needed)


def test_never_waits_for_more_than_a_line() -> None:
    assert sniff(b"BREW /" + b"x" * (MAX_LINE_BYTES - 6)) is Verdict.NEED_DATA
    assert sniff(b"BREW /" + b"x" * MAX_LINE_BYTES) is Verdict.OPAQUE
