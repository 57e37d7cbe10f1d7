# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
# mypy: disable-error-code="no-any-return"
"""One header (or trailer) section: spans over its bytes, looked at only when asked.

Nothing is made per header line at parse time but five integers: name start and stop, value start and stop, and
the kind of the name. Kinds mark the few fields a proxy itself acts on, so that framing and encoding need no
further string comparison.

RFC 9112 5 is applied without its leniencies: no obs-fold, no bare LF, no bare CR, no space before the colon.
Every one of these has been used to make two parsers disagree about where a message ends.
"""

import re
from collections.abc import Iterator

import cython

from mesh.codec.events import ProtocolError

if cython.compiled:
    from cython.cimports.libc.stdlib import free, realloc  # type: ignore[import-untyped]
    from cython.cimports.libc.string import memchr  # type: ignore[import-untyped]

ORDINARY = 0
HOST = 1
CONTENT_LENGTH = 2
TRANSFER_ENCODING = 3
CONNECTION = 4
HOP = 5
TE = 6
UPGRADE = 7
EXPECT = 8

STRIDE = 5

_TOKEN_BIT, _VALUE_BIT, _TARGET_BIT, _AUTHORITY_BIT = 1, 2, 4, 8
_ALNUM = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_TOKEN = _ALNUM + b"!#$%&'*+-.^_`|~"  # RFC 9110 5.6.2
_AUTHORITY = _ALNUM + b"-._~!$&'()*+,;=%:[]"  # RFC 3986 3.2 without userinfo
# RFC 3986 knows fewer characters, but clients send {}|\^ in queries. Not "#": a fragment never travels, and who
# strips it and who does not will disagree about the path.
_TARGET = bytes(c for c in range(0x21, 0x7F) if c != 0x23)
_VALUE = bytes(c for c in range(256) if c == 9 or 0x20 <= c != 0x7F)  # RFC 9110 5.5, obs-text included
_CLASSES: bytes = bytes(
    (_TOKEN_BIT if c in _TOKEN else 0)
    | (_VALUE_BIT if c in _VALUE else 0)
    | (_TARGET_BIT if c in _TARGET else 0)
    | (_AUTHORITY_BIT if c in _AUTHORITY else 0)
    for c in range(256)
)
_LOWER: bytes = bytes(range(256)).lower()
_KINDS = {
    b"host": HOST,
    b"content-length": CONTENT_LENGTH,
    b"transfer-encoding": TRANSFER_ENCODING,
    b"connection": CONNECTION,
    b"keep-alive": HOP,
    b"proxy-connection": HOP,
    b"http2-settings": HOP,
    b"te": TE,
    b"upgrade": UPGRADE,
    b"expect": EXPECT,
}


class Fields:
    """Header lines of one message, in their order on the wire.

    Attributes: raw: the bytes from the message's start line (for trailers: from the first line) to the blank line,
        both included. count: number of lines.
    """

    raw: bytes
    count: int
    _spans: list[int]
    _room: int
    _first: int
    _lengths: int  # bit n: there is a name of n octets (modulo 64): most look-ups end here

    def __dealloc__(self) -> None:
        free(self._spans)

    def get(self, name: bytes) -> bytes | None:
        """The value of the field whose lower-case name this is; several lines are joined with a comma."""
        found: bytes | None = None
        i: cython.Py_ssize_t
        if not self._lengths >> (len(name) & 63) & 1:
            return None
        for i in range(0, self.count * STRIDE, STRIDE):
            if same_name(self.raw, self._spans[i], self._spans[i + 1], name):
                value: bytes = self.raw[self._spans[i + 2] : self._spans[i + 3]]
                found = value if found is None else found + b"," + value
        return found

    def get_all(self, name: bytes) -> list[bytes]:
        """One value per line of the field whose lower-case name this is."""
        return [value for key, value in self if key == name]

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        """Pairs (lower-case name, value), one per line."""
        pairs: list[tuple[bytes, bytes]] = []
        i: cython.Py_ssize_t
        for i in range(0, self.count * STRIDE, STRIDE):
            name = self.raw[self._spans[i] : self._spans[i + 1]].lower()
            pairs.append((name, self.raw[self._spans[i + 2] : self._spans[i + 3]]))
        return iter(pairs)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.raw!r}>"

    def _grow(self) -> int:
        if cython.compiled:
            self._room = 16 if self._room == 0 else self._room * 2
            grown: cython.p_int = cython.cast(
                cython.p_int, realloc(self._spans, self._room * STRIDE * cython.sizeof(cython.int))
            )
            if grown == cython.NULL:
                raise MemoryError
            self._spans = grown
        else:
            if self._room == 0:
                self._spans = []
            self._room += 1
            self._spans.extend([0] * STRIDE)
        return 0

    def _line_end(self, line: cython.Py_ssize_t) -> int:
        """Where line number `line` ends, its CRLF included."""
        if line + 1 < self.count:
            return self._spans[(line + 1) * STRIDE]
        return len(self.raw) - 2


def parse_fields(
    fields: Fields, raw: bytes, start: cython.Py_ssize_t, max_count: cython.Py_ssize_t, fault: cython.int
) -> int:
    """Read field lines from `start` up to the blank line that ends `raw`.

    Args: fault: status of errors: 400 for a client's bytes (431 for too many lines), 502 for a server's.
    Raises: ProtocolError: a line is not `token ":" OWS value OWS CRLF`, or there are more than max_count.
    Source: RFC 9112 5.
    """
    n: cython.Py_ssize_t = len(raw)
    i: cython.Py_ssize_t = start
    stop: cython.Py_ssize_t
    first: cython.Py_ssize_t
    last: cython.Py_ssize_t
    at: cython.Py_ssize_t
    fields.raw = raw
    fields.count = 0
    fields._room = 0
    fields._first = start
    fields._lengths = 0
    while i < n - 2:
        stop = scan_token(raw, i, n)
        if stop == i:
            if raw[i] == 32 or raw[i] == 9:  # RFC 9112 5.2
                raise ProtocolError(fault, f"byte {i}: folded header line (obs-fold)")
            raise ProtocolError(fault, f"byte {i}: header line does not start with a name: {_show(raw, i)}")
        if raw[stop] != 58:  # RFC 9112 5.1: no whitespace is allowed between the name and the colon
            raise ProtocolError(fault, f"byte {stop}: {_show(raw, stop)} in header name {_text(raw, i, stop)}")
        first = stop + 1
        while raw[first] == 32 or raw[first] == 9:
            first += 1
        at = scan_value(raw, first, n)
        if raw[at] != 13 or at + 1 >= n or raw[at + 1] != 10:
            raise ProtocolError(fault, f"byte {at}: {_show(raw, at)} in the value of {_text(raw, i, stop)}")
        last = at
        while last > first and (raw[last - 1] == 32 or raw[last - 1] == 9):
            last -= 1
        if fields.count == max_count:
            raise ProtocolError(431 if fault == 400 else fault, f"more than {max_count} header lines")
        if fields.count == fields._room:
            fields._grow()
        fields._spans[fields.count * STRIDE] = i
        fields._spans[fields.count * STRIDE + 1] = stop
        fields._spans[fields.count * STRIDE + 2] = first
        fields._spans[fields.count * STRIDE + 3] = last
        fields._spans[fields.count * STRIDE + 4] = kind_of(raw, i, stop)
        fields._lengths |= cython.cast(cython.ulonglong, 1) << ((stop - i) & 63)
        fields.count += 1
        i = at + 2
    if i != n - 2 or raw[i] != 13 or raw[i + 1] != 10:
        raise ProtocolError(fault, f"byte {i}: header section does not end with CRLF CRLF")
    return 0


def find_end(raw: bytes, start: cython.Py_ssize_t, stop: cython.Py_ssize_t, max_lines: cython.Py_ssize_t) -> int:
    """Offset just after the blank line that ends the section beginning at `start`; -1 needs data, -2 too many lines.

    A bare LF counts as a line end here, so that the sender of one gets its error now and not after a timeout.
    """
    lines: cython.Py_ssize_t = 0
    line: cython.Py_ssize_t = start
    i: cython.Py_ssize_t = find_lf(raw, start, stop)
    while i >= 0:
        if i == line or (i == line + 1 and raw[line] == 13):
            return i + 1
        lines += 1
        if lines > max_lines:
            return -2
        line = i + 1
        i = find_lf(raw, line, stop)
    return -1


def find_lf(raw: bytes, start: cython.Py_ssize_t, stop: cython.Py_ssize_t) -> int:
    """Offset of the next LF in [start, stop), or -1."""
    if cython.compiled:
        base: cython.p_const_uchar = raw
        found: cython.p_const_uchar = cython.cast(cython.p_const_uchar, memchr(base + start, 10, stop - start))
        return -1 if found == cython.NULL else found - base
    return raw.find(b"\n", start, stop)


def scan_token(raw: bytes, start: cython.Py_ssize_t, stop: cython.Py_ssize_t) -> int:
    """Offset of the first byte at or after `start` that no token has (RFC 9110 5.6.2)."""
    if cython.compiled:
        return _scan(raw, start, stop, 1)
    return _scan_pure(_TOKEN_RUN, raw, start, stop)


def scan_target(raw: bytes, start: cython.Py_ssize_t, stop: cython.Py_ssize_t) -> int:
    """Offset of the first byte at or after `start` that no request target has."""
    if cython.compiled:
        return _scan(raw, start, stop, 4)
    return _scan_pure(_TARGET_RUN, raw, start, stop)


def scan_value(raw: bytes, start: cython.Py_ssize_t, stop: cython.Py_ssize_t) -> int:
    """Offset of the first byte at or after `start` that no field value has (RFC 9110 5.5)."""
    if cython.compiled:
        return _scan(raw, start, stop, 2)
    return _scan_pure(_VALUE_RUN, raw, start, stop)


def scan_authority(raw: bytes, start: cython.Py_ssize_t, stop: cython.Py_ssize_t) -> int:
    """Offset of the first byte at or after `start` that no `host[:port]` has (RFC 3986 3.2)."""
    if cython.compiled:
        return _scan(raw, start, stop, 8)
    return _scan_pure(_AUTHORITY_RUN, raw, start, stop)


def same_name(raw: bytes, start: cython.Py_ssize_t, stop: cython.Py_ssize_t, name: bytes) -> bool:
    """Whether raw[start:stop] is `name` (given in lower case) in any case."""
    if cython.compiled:
        n: cython.Py_ssize_t = stop - start
        i: cython.Py_ssize_t
        if n != len(name):
            return False
        p: cython.p_const_uchar = raw
        q: cython.p_const_uchar = name
        lower: cython.p_const_uchar = _LOWER
        for i in range(n):  # noqa: SIM110 (all() would build a generator)
            if lower[p[start + i]] != q[i]:
                return False
        return True
    return stop - start == len(name) and raw[start:stop].lower() == name


def kind_of(raw: bytes, start: cython.Py_ssize_t, stop: cython.Py_ssize_t) -> int:
    """Which of the fields a proxy acts on raw[start:stop] names; ORDINARY for all others."""
    if cython.compiled:
        n: cython.Py_ssize_t = stop - start
        if n == 4:
            return HOST if same_name(raw, start, stop, b"host") else ORDINARY
        if n == 10:
            if same_name(raw, start, stop, b"connection"):
                return CONNECTION
            return HOP if same_name(raw, start, stop, b"keep-alive") else ORDINARY
        if n == 6:
            return EXPECT if same_name(raw, start, stop, b"expect") else ORDINARY
        if n == 7:
            return UPGRADE if same_name(raw, start, stop, b"upgrade") else ORDINARY
        if n == 14:
            if same_name(raw, start, stop, b"content-length"):
                return CONTENT_LENGTH
            return HOP if same_name(raw, start, stop, b"http2-settings") else ORDINARY
        if n == 17:
            return TRANSFER_ENCODING if same_name(raw, start, stop, b"transfer-encoding") else ORDINARY
        if n == 2:
            return TE if same_name(raw, start, stop, b"te") else ORDINARY
        if n == 16:
            return HOP if same_name(raw, start, stop, b"proxy-connection") else ORDINARY
        return ORDINARY
    return _KINDS.get(raw[start:stop].lower(), ORDINARY)


def _scan(raw: bytes, start: cython.Py_ssize_t, stop: cython.Py_ssize_t, bit: cython.uchar) -> int:
    # Compiled form of the four scans: one table look-up per byte.
    p: cython.p_const_uchar = raw
    classes: cython.p_const_uchar = _CLASSES
    while start < stop and classes[p[start]] & bit:
        start += 1
    return start


def _run(allowed: bytes) -> re.Pattern[bytes]:
    return re.compile(b"[" + re.escape(allowed) + b"]*+", re.DOTALL)


_TOKEN_RUN, _TARGET_RUN, _VALUE_RUN, _AUTHORITY_RUN = _run(_TOKEN), _run(_TARGET), _run(_VALUE), _run(_AUTHORITY)


def _scan_pure(run: re.Pattern[bytes], raw: bytes, start: int, stop: int) -> int:
    # Uncompiled form of the four scans: a byte at a time in Python would be ten times slower.
    match = run.match(raw, start, stop)
    return start if match is None else match.end()


def _show(raw: bytes, at: int) -> str:
    return repr(raw[at : at + 1])[1:]


def _text(raw: bytes, start: int, stop: int) -> str:
    return repr(raw[start : min(stop, start + 64)])[1:]
