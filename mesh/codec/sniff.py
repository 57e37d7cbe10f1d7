"""Protocol of a connection from its first bytes, decided as soon as no later byte could change the answer.

A verdict says what the bytes begin, not that the rest will be well-formed. Server-first protocols send nothing: the
caller must not wait for a verdict before it dials.
"""

from enum import Enum

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""Client connection preface (RFC 9113 3.4)."""
MAX_METHOD_BYTES = 24
"""Longer first words are another protocol: the longest registered method has 17."""
MAX_LINE_BYTES = 4096
"""How long a first line with an unknown method may keep us waiting for its " HTTP/1.x"."""

# The IANA HTTP method registry, plus PURGE.
_METHODS = frozenset(
    b"ACL BASELINE-CONTROL BIND CHECKIN CHECKOUT CONNECT COPY DELETE GET HEAD LABEL LINK LOCK MERGE MKACTIVITY"
    b" MKCALENDAR MKCOL MKREDIRECTREF MKWORKSPACE MOVE OPTIONS ORDERPATCH PATCH POST PROPFIND PROPPATCH PURGE PUT QUERY"
    b" REBIND REPORT SEARCH TRACE UNBIND UNCHECKOUT UNLINK UNLOCK UPDATE UPDATEREDIRECTREF VERSION-CONTROL".split()
)
_TOKEN = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&'*+-.^_`|~"


class Verdict(Enum):
    """What a connection speaks."""

    NEED_DATA = "need data"
    HTTP1 = "http/1"
    HTTP2 = "h2"
    TLS = "tls"
    OPAQUE = "opaque"


def sniff(prefix: bytes) -> Verdict:
    """Verdict on all bytes received so far; once it is not NEED_DATA, more bytes do not change it.

    Args: prefix: at most some KiB; never waits for more than MAX_LINE_BYTES.
    """
    if not prefix:
        return Verdict.NEED_DATA
    if prefix[0] == 0x16:
        return _sniff_tls(prefix)
    if PREFACE.startswith(prefix[: len(PREFACE)]):
        return Verdict.HTTP2 if len(prefix) >= len(PREFACE) else Verdict.NEED_DATA
    return _sniff_http1(_without_empty_lines(prefix))


def _sniff_tls(prefix: bytes) -> Verdict:
    # A handshake record (RFC 8446 5.1) that begins with a ClientHello.
    if prefix[1:2] not in (b"", b"\x03") or (len(prefix) > 2 and prefix[2] > 4):
        return Verdict.OPAQUE
    if len(prefix) >= 5 and not 4 <= int.from_bytes(prefix[3:5], "big") <= 16384:
        return Verdict.OPAQUE
    if len(prefix) < 6:
        return Verdict.NEED_DATA
    return Verdict.TLS if prefix[5] == 1 else Verdict.OPAQUE


def _without_empty_lines(prefix: bytes) -> bytes:
    # RFC 9112 2.2: a client may send an empty line (left over from a POST) before the request line.
    for _ in range(2):
        if not prefix.startswith(b"\r\n"):
            break
        prefix = prefix[2:]
    return prefix


def _sniff_http1(prefix: bytes) -> Verdict:
    # method SP target: a known method and the first byte of a target are enough; `GET key` of a database is not.
    if prefix in (b"", b"\r"):
        return Verdict.NEED_DATA
    method, _, rest = prefix[: MAX_METHOD_BYTES + 2].partition(b" ")
    if not method or method.translate(None, _TOKEN) or len(method) > MAX_METHOD_BYTES:
        return Verdict.OPAQUE
    if not rest:
        return Verdict.NEED_DATA
    if method in _METHODS and (rest[0] in b"/*" or method == b"CONNECT"):
        return Verdict.HTTP1
    if rest[0] in b"/*" or rest[:1].lower() == b"h":
        return _first_line(prefix)
    return Verdict.OPAQUE


def _first_line(prefix: bytes) -> Verdict:
    line, lf, _ = prefix[: MAX_LINE_BYTES + 1].partition(b"\n")
    if lf:
        return Verdict.HTTP1 if b" HTTP/1." in line[-12:] else Verdict.OPAQUE
    return Verdict.NEED_DATA if len(line) <= MAX_LINE_BYTES else Verdict.OPAQUE
