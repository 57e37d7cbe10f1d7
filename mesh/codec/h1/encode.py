# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
# mypy: disable-error-code="no-any-return"
"""Heads back to bytes: what is kept is copied in runs, case and order untouched; additions come at the end.

A proxy forwards its own connection semantics, not the peer's (RFC 9110 7.6.1): Connection, what it names, and the
known hop-by-hop fields stay behind. `remove` and names in Connection are about ordinary fields; Host,
Content-Length and Transfer-Encoding are changed by `authority` and `framing` alone, so that nobody can strip the framing.
"""

import cython

if not cython.compiled:  # when compiled, encode.pxd cimports these names
    from mesh.codec.h1.fields import (
        CONTENT_LENGTH,
        EXPECT,
        HOST,
        ORDINARY,
        STRIDE,
        TRANSFER_ENCODING,
        UPGRADE,
        same_name,
    )
    from mesh.codec.h1.head import Head, RequestHead, ResponseHead

LAST_CHUNK = b"0\r\n\r\n"
"""End of a chunked body without trailers."""

# Connection may not name what is meant for the recipient (RFC 9110 7.6.1), nor strip what names the client.
_NEVER_NAMED = frozenset(
    (
        b"authorization",
        b"cache-control",
        b"cookie",
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-proto",
        b"x-request-id",
    )
)
_NOTHING: frozenset[bytes] = frozenset()


def encode_request(
    head: RequestHead,
    target: bytes | None = None,
    authority: bytes | None = None,
    remove: tuple[bytes, ...] = (),
    extra: bytes = b"",
    upgrade: cython.bint = False,
    connection: bytes = b"",
    framing: cython.int = 0,  # Framing.KEEP
) -> bytes:
    """The request's head as sent upstream, HTTP/1.1.

    Args:
        target: path and query instead of the client's. None: the client's, an absolute-form one as path and query.
        authority: Host instead of the client's. None: head.authority.
        remove: lower-case names of ordinary fields to drop.
        extra: whole header lines, each with its CRLF, appended.
        upgrade: forward Upgrade, with `Connection: upgrade`.
        connection: value of Connection, b"" for none.
        framing: a Framing.
    """
    parts: list[bytes] = []
    replaces_host: cython.bint = authority is not None or head._is_absolute or head.minor == 0
    start: cython.Py_ssize_t = 0
    if target is None and head._is_absolute:
        target = head.path + b"?" + head.query if b"?" in head.target else head.path
    if target is not None or head.raw[head._first - 3] != 49:  # the minor version
        parts.append(head.method + b" " + (head.target if target is None else target) + b" HTTP/1.1\r\n")
        start = head._first
    elif replaces_host:
        parts.append(head.raw[: head._first])
        start = head._first
    if replaces_host:
        # An HTTP/1.0 request without Host gets an empty one (RFC 9112 3.2).
        parts.append(b"Host: " + (head.authority if authority is None else authority) + b"\r\n")
    _copy_lines(head, parts, start, remove, replaces_host, upgrade, framing != 0)
    _finish(head, parts, upgrade, connection, framing, extra)
    return b"".join(parts)


def encode_response(
    head: ResponseHead,
    remove: tuple[bytes, ...] = (),
    extra: bytes = b"",
    upgrade: cython.bint = False,
    connection: bytes = b"",
    framing: cython.int = 0,  # Framing.KEEP
) -> bytes:
    """The response's head as sent downstream, HTTP/1.1.

    Args: as for encode_request. connection is b"close" when the downstream connection ends after this message, and
        b"keep-alive" for an HTTP/1.0 client that asked for it. upgrade is for a 101 response.
    """
    parts: list[bytes] = []
    start: cython.Py_ssize_t = 0
    if head.minor == 0 or head.raw[7] != 49:
        parts.append(b"HTTP/1.1")
        start = 8
    _copy_lines(head, parts, start, remove, False, upgrade, framing != 0 or head._drops_framing)
    _finish(head, parts, upgrade, connection, framing, extra)
    return b"".join(parts)


def encode_chunk(data: bytes) -> bytes:
    """One chunk; data must not be empty (that would end the body)."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def _copy_lines(
    head: Head,
    parts: list[bytes],
    start: cython.Py_ssize_t,
    remove: tuple[bytes, ...],
    drop_host: cython.bint,
    upgrade: cython.bint,
    drop_framing: cython.bint,
) -> int:
    # Appends raw[start:blank line] to parts without the dropped lines, in as few runs as possible.
    named: frozenset[bytes] = _named(head) if head._names_fields else _NOTHING
    drops_length: cython.bint = drop_framing or head._rewrites_length
    # Most lines have a length that no name in `remove` has: one test instead of one comparison per name.
    lengths: cython.ulonglong = 0
    for name in remove:
        lengths |= cython.cast(cython.ulonglong, 1) << (len(name) & 63)
    size: cython.Py_ssize_t
    run: cython.Py_ssize_t = start
    kind: cython.int
    drop: cython.bint
    i: cython.Py_ssize_t
    for i in range(0, head.count * STRIDE, STRIDE):
        kind = head._spans[i + 4]
        if kind in (ORDINARY, EXPECT):
            size = head._spans[i + 1] - head._spans[i]
            drop = lengths >> (size & 63) & 1 != 0 and _is_removed(head, i, remove)
            if not drop and head._names_fields:
                drop = head.raw[head._spans[i] : head._spans[i + 1]].lower() in named
        elif kind == HOST:
            drop = drop_host
        elif kind == CONTENT_LENGTH:
            drop = drops_length
        elif kind == TRANSFER_ENCODING:
            drop = drop_framing
        elif kind == UPGRADE:
            drop = not upgrade
        else:
            drop = True
        if drop:
            if run < head._spans[i]:
                parts.append(head.raw[run : head._spans[i]])
            run = head._spans[i + STRIDE] if i + STRIDE < head.count * STRIDE else len(head.raw) - 2
    if run < len(head.raw) - 2:
        parts.append(head.raw[run : len(head.raw) - 2])
    return 0


def _finish(
    head: Head, parts: list[bytes], upgrade: cython.bint, connection: bytes, framing: cython.int, extra: bytes
) -> int:
    # Appends our own connection semantics, the framing asked for, and the additions.
    if upgrade:
        connection = b"upgrade"
    if head._wants_trailers:  # RFC 9110 10.1.4: TE goes with a Connection option of that name
        parts.append(b"TE: trailers\r\n")
        connection = connection + b", TE" if connection else b"TE"
    if connection:
        parts.append(b"Connection: " + connection + b"\r\n")
    if framing == 2:
        parts.append(b"Transfer-Encoding: chunked\r\n")
    elif framing == 0 and head._rewrites_length and not head._drops_framing:
        parts.append(b"Content-Length: %d\r\n" % head.content_length)
    parts.append(extra)
    parts.append(b"\r\n")
    return 0


def _named(head: Head) -> frozenset[bytes]:
    # Ordinary fields that the peer's Connection declares to be about this connection only.
    tokens = [token.strip(b" \t").lower() for token in (head.get(b"connection") or b"").split(b",")]
    return frozenset(tokens) - _NEVER_NAMED


def _is_removed(head: Head, at: cython.Py_ssize_t, remove: tuple[bytes, ...]) -> bool:
    for name in remove:  # noqa: SIM110 (any() would build a generator)
        if same_name(head.raw, head._spans[at], head._spans[at + 1], name):
            return True
    return False
