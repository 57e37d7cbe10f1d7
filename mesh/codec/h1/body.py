# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
# mypy: disable-error-code="no-any-return"
"""The framing of one message body: where it ends, checked strictly because the bytes are forwarded as they came.

Chunked bodies walk size line -> data -> CRLF -> size line ... -> size line of 0 -> trailer section -> done. A size
line and a trailer section are looked at, and let through, only when they have arrived whole: so nothing
that turns out malformed has been forwarded, and how the bytes were split cannot matter.
"""

import cython

from mesh.codec.events import ProtocolError

if not cython.compiled:  # when compiled, body.pxd cimports these names
    from mesh.codec.h1.fields import Fields, find_end, find_lf, parse_fields, scan_value

NO_BODY = 0
LENGTH = 1
CHUNKED = 2
UNTIL_CLOSE = 3

_SIZE, _DATA, _DATA_END, _TRAILERS = 0, 1, 2, 3
MAX_SIZE_DIGITS = 15
"""Hexadecimal digits of a chunk size: 2^60, far from overflowing the 64 bits it is counted in."""
MAX_SIZE_LINE = 4096
"""Octets of one chunk-size line with its extensions."""
MAX_EXTENSION_BYTES = 16384
"""Octets of chunk extensions in one body: they cost work and carry nothing (Go and Hyper draw the line here too)."""
_FORBIDDEN_TRAILERS = frozenset((b"content-length", b"transfer-encoding", b"host", b"connection", b"trailer", b"te"))
"""RFC 9110 6.5.1: framing and routing must not be decided by a trailer, even by a sloppy receiver."""


class Body:
    """Position inside one message body.

    Attributes: kind: NO_BODY, LENGTH, CHUNKED or UNTIL_CLOSE. is_done: complete. remaining: octets left (LENGTH), or
        left of the current chunk. trailers: after the end of a chunked body that had any.
        start, stop: the run that the last `advance` found.
    """

    kind: int
    is_done: bool
    remaining: int
    trailers: Fields | None
    start: int
    stop: int
    _phase: int
    _extension_bytes: int
    _max_trailer_bytes: int
    _max_trailers: int
    _fault: int

    def __init__(self, fault: int, max_trailer_bytes: int, max_trailers: int) -> None:
        self._fault = fault
        self._max_trailer_bytes = max_trailer_bytes
        self._max_trailers = max_trailers
        self.begin(NO_BODY, 0)

    def begin(self, kind: cython.int, length: cython.Py_ssize_t) -> int:
        """Start of a message's body; length is for LENGTH only."""
        self.kind = kind
        self.remaining = length
        self.is_done = kind == NO_BODY or (kind == LENGTH and length == 0)
        self.trailers = None
        self.start = self.stop = 0
        self._phase = 0
        self._extension_bytes = 0
        return 0

    def save(self) -> tuple[int, int, int]:
        """The position, for `restore` after an `advance` that was only a try."""
        return self.remaining, self._phase, self._extension_bytes

    def restore(self, state: tuple[int, int, int]) -> int:
        """Back to what `save` returned."""
        self.remaining, self._phase, self._extension_bytes = state
        self.is_done = False
        self.trailers = None
        return 0

    def advance(self, buffer: bytes, pos: cython.Py_ssize_t, data_only: cython.bint) -> int:
        """Find the next run of the body in buffer[pos:] and set start and stop to it (equal: there is none yet).

        Args: data_only: the run is payload, without chunk framing.
        Returns: where to continue.
        Raises: ProtocolError: malformed chunked framing; what came before it has been let through.
        """
        n: cython.Py_ssize_t = len(buffer)
        if self.kind == CHUNKED:
            return self._advance_chunked(buffer, pos, data_only)
        self.start = pos
        self.stop = n
        if self.kind == NO_BODY:
            self.stop = pos
        elif self.kind == LENGTH:
            if n - pos >= self.remaining:
                self.stop = pos + self.remaining
                self.is_done = True
            self.remaining -= self.stop - pos
        return self.stop

    def _advance_chunked(self, buffer: bytes, pos: cython.Py_ssize_t, data_only: cython.bint) -> int:
        n: cython.Py_ssize_t = len(buffer)
        i: cython.Py_ssize_t = pos
        end: cython.Py_ssize_t
        self.start = self.stop = pos
        try:
            while not self.is_done:
                if self._phase == 1:
                    end = i + self.remaining if n - i >= self.remaining else n
                    self.remaining -= end - i
                    if data_only:
                        self.start = i
                        self.stop = end
                    i = end
                    if self.remaining:
                        break
                    self._phase = 2
                    if data_only:
                        break
                elif self._phase == 2:
                    if i < n and (buffer[i] != 13 or (i + 1 < n and buffer[i + 1] != 10)):
                        raise ProtocolError(self._fault, "no CRLF after the data of a chunk")
                    if n - i < 2:
                        break
                    i += 2
                    self._phase = 0
                elif self._phase == 0:
                    end = find_lf(buffer, i, n)
                    if (n if end < 0 else end) - i > MAX_SIZE_LINE:
                        raise ProtocolError(self._fault, f"chunk-size line longer than {MAX_SIZE_LINE} bytes")
                    if end < 0:
                        break
                    self.remaining = self._read_size(buffer, i, end)
                    i = end + 1
                    self._phase = 1 if self.remaining else 3
                else:
                    end = find_end(buffer, i, n, self._max_trailers)
                    if end == -2 or (n if end < 0 else end) - i > self._max_trailer_bytes:
                        status = 431 if self._fault == 400 else self._fault
                        raise ProtocolError(status, "trailer section too long")
                    if end < 0:
                        break
                    self._read_trailers(buffer[i:end])
                    i = end
                    self.is_done = True
        except ProtocolError:
            if i == pos or data_only:
                raise
            # The run up to the fault is let through; the next call starts at the fault and raises.
        if not data_only:
            self.stop = i
        return i

    def _read_size(self, buffer: bytes, start: cython.Py_ssize_t, lf: cython.Py_ssize_t) -> int:
        # RFC 9112 7.1: 1*HEXDIG [ BWS ";" extensions ] CRLF
        i: cython.Py_ssize_t = start
        size: cython.Py_ssize_t = 0
        byte: cython.int
        while True:
            byte = buffer[i]
            if 48 <= byte <= 57:
                byte -= 48
            elif 65 <= byte <= 70:
                byte -= 55
            elif 97 <= byte <= 102:
                byte -= 87
            else:
                break
            if i - start == MAX_SIZE_DIGITS:
                raise ProtocolError(self._fault, f"chunk size of more than {MAX_SIZE_DIGITS} digits")
            size = size * 16 + byte
            i += 1
        if i == start:
            raise ProtocolError(self._fault, f"chunk size is not a hexadecimal number: {buffer[start : start + 16]!r}")
        if lf - i == 1 and buffer[i] == 13:
            return size
        if buffer[lf - 1] != 13 or lf - 1 < i:
            raise ProtocolError(self._fault, "chunk-size line ends with a bare LF")
        self._extension_bytes += lf - 1 - i
        if self._extension_bytes > MAX_EXTENSION_BYTES:
            raise ProtocolError(self._fault, f"more than {MAX_EXTENSION_BYTES} bytes of chunk extensions")
        extensions: bytes = buffer[i : lf - 1]
        if extensions.strip(b" \t")[:1] != b";" or scan_value(extensions, 0, lf - 1 - i) != lf - 1 - i:
            raise ProtocolError(self._fault, f"bad chunk extension: {extensions[:32]!r}")
        return size

    def _read_trailers(self, section: bytes) -> int:
        if len(section) == 2 and section == b"\r\n":
            return 0
        fields: Fields = Fields.__new__(Fields)
        parse_fields(fields, section, 0, self._max_trailers, self._fault)
        for name, _ in fields:
            if name in _FORBIDDEN_TRAILERS:
                raise ProtocolError(self._fault, f"{name.decode()} in the trailer section")
        self.trailers = fields
        return 0
