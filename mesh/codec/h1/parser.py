# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
# mypy: disable-error-code="no-any-return"
"""A connection's bytes to heads and body runs, one message after the other.

States: *head* (between messages, or inside a head) -> `head()` returns one -> *body* -> the run functions return END
-> *over* -> `next()` -> *head*. A ProtocolError is final: every later call raises it again.
"""

import cython

from mesh.codec.events import END, End, ProtocolError

if not cython.compiled:  # when compiled, parser.pxd cimports these names
    from mesh.codec.h1.body import CHUNKED, LENGTH, NO_BODY, UNTIL_CLOSE, Body
    from mesh.codec.h1.fields import Fields, find_end, find_lf, scan_token
    from mesh.codec.h1.head import Head, RequestHead, ResponseHead, parse_request, parse_response

_RESPONSE_START = b"HTTP/"
_MAX_SKIPPED = 16


class Limits:
    """What one message may cost.

    Args:
        max_head_bytes: octets of a head, and of a trailer section. 61440 is Envoy's default.
        max_headers: lines of a head, and of a trailer section. 100 is Envoy's default.
    """

    max_head_bytes: int
    max_headers: int

    def __init__(self, max_head_bytes: int = 61440, max_headers: int = 100) -> None:
        self.max_head_bytes = max_head_bytes
        self.max_headers = max_headers


class Parser:
    """What both directions share. Concurrency: one task at a time."""

    _buffer: bytes
    _pos: int
    _in_body: bool
    _at_eof: bool
    _fault: int
    _max_head_bytes: int
    _max_headers: int
    _body: Body
    _error: ProtocolError | None

    def _setup(self, limits: Limits, fault: cython.int) -> int:
        self._buffer = b""
        self._pos = 0
        self._in_body = self._at_eof = False
        self._fault = fault
        self._max_head_bytes = limits.max_head_bytes
        self._max_headers = limits.max_headers
        self._body = Body(fault, limits.max_head_bytes, limits.max_headers)
        self._error = None
        return 0

    def feed(self, data: bytes) -> int:
        """Add bytes from the wire."""
        if self._pos == len(self._buffer):
            self._buffer = data
        else:
            self._buffer = self._buffer[self._pos :] + data
        self._pos = 0
        return 0

    def eof(self) -> int:
        """The peer sends nothing more. Legal between messages and where the body ends with the connection.

        Raises: ProtocolError: it was inside a message. When buffered bytes are still to be taken, the function
            that runs out of them raises it instead.
        """
        self._at_eof = True
        if self._pos == len(self._buffer):
            self._check_open()
        return 0

    @property
    def is_idle(self) -> bool:
        """Between messages, with no byte of a next one buffered."""
        return not self._in_body and self._pos == len(self._buffer)

    @property
    def buffered(self) -> int:
        """Octets fed and not yet taken."""
        return len(self._buffer) - self._pos

    @property
    def is_complete(self) -> bool:
        """The current message is over: its head and its whole body were taken, or it has no body."""
        return self._in_body and self._body.is_done

    @property
    def body_remaining(self) -> int:
        """Octets of a Content-Length body not yet taken; 0 when the body is complete, -1 when not known."""
        if self._in_body and self._body.is_done:
            return 0
        return self._body.remaining if self._in_body and self._body.kind == LENGTH else -1

    @property
    def trailers(self) -> Fields | None:
        """The trailer section of a chunked body, after its END; None when it was empty."""
        return self._body.trailers

    def leftover(self) -> bytes:
        """Take all buffered bytes: they belong to the protocol after an upgrade or CONNECT."""
        rest: bytes = self._buffer[self._pos :]
        self._buffer = b""
        self._pos = 0
        return rest

    def next(self) -> int:
        """Get ready for the next message. Buffered (pipelined) bytes stay.

        Raises: RuntimeError: the current message is not over: a mistake of the caller.
        """
        if not self.is_complete:
            raise RuntimeError("next() inside a message")
        self._in_body = False
        return 0

    def body_raw(self) -> bytes | End | None:
        """The next run of the body as it is on the wire, chunk framing and trailers included.

        Returns: None: more bytes are needed. END: the body is complete (at once when there is none).
        Raises: ProtocolError: malformed chunked framing, or the peer closed early. RuntimeError: no head was taken.
        """
        return self._run(False)

    def body_data(self) -> bytes | End | None:
        """The next run of the body's content, without chunk framing. Otherwise as body_raw."""
        return self._run(True)

    def whole_body(self) -> bytes | None:
        """All of the body that is still to come, as it is on the wire, if it is buffered to its end; b"" when it is over.

        Returns: None: it is not all there, or malformed: nothing was taken, and body_raw goes on (or raises).
        Raises: RuntimeError: no head was taken.
        """
        if not self._in_body:
            raise RuntimeError("no head was taken")
        body: Body = self._body
        if body.is_done:
            return b""
        if self._error is not None or body.kind == UNTIL_CLOSE:
            return None
        if body.kind == LENGTH and len(self._buffer) - self._pos < body.remaining:
            return None
        buffer: bytes = self._buffer
        end: cython.Py_ssize_t
        if body.kind == LENGTH:
            end = body.advance(buffer, self._pos, False)
        else:
            state = body.save()
            try:
                end = body.advance(buffer, self._pos, False)
            except ProtocolError:
                body.restore(state)
                return None
            if not body.is_done:
                body.restore(state)
                return None
        run: bytes = buffer[self._pos : end]
        self._pos = end
        if end == len(buffer):
            self._buffer = b""
            self._pos = 0
        return run

    def skip(self, count: int) -> int:
        """Count off octets of a Content-Length body that went another way (splice, recv_into).

        Raises: RuntimeError: bytes are buffered, or the body is not that long: a mistake of the caller.
        """
        if not self._in_body or self._body.kind != LENGTH or self.buffered or count > self._body.remaining:
            raise RuntimeError(f"skip({count}) does not fit the body")
        self._body.remaining -= count
        self._body.is_done = self._body.remaining == 0
        return 0

    def _run(self, data_only: cython.bint) -> bytes | End | None:
        if self._error is not None:
            raise self._error
        if not self._in_body:
            raise RuntimeError("no head was taken")
        if self._body.is_done:
            return END
        buffer: bytes = self._buffer
        try:
            self._pos = self._body.advance(buffer, self._pos, data_only)
        except ProtocolError as error:
            self._error = error
            raise
        if self._body.start < self._body.stop:
            run: bytes = buffer[self._body.start : self._body.stop]
            if self._pos == len(buffer):
                self._buffer = b""
                self._pos = 0
            return run
        if self._body.is_done:
            return END
        if self._at_eof:
            self._check_open()
            return END
        return None

    def _start_body(self, head: Head, until_close: cython.bint) -> int:
        self._in_body = True
        if not head.has_body:
            self._body.begin(NO_BODY, 0)
        elif head.is_chunked:
            self._body.begin(CHUNKED, 0)
        elif until_close:
            self._body.begin(UNTIL_CLOSE, 0)
        else:
            self._body.begin(LENGTH, head.content_length)
        return 0

    def _take_head(self) -> bytes | None:
        # The bytes of the next whole head, consumed; None when it is not complete yet.
        if self._error is not None:
            raise self._error
        if self._in_body:
            raise RuntimeError("head() inside a message")
        n: cython.Py_ssize_t = len(self._buffer)
        if self._pos == n:
            return None
        self._check_start()
        end: cython.Py_ssize_t = find_end(self._buffer, self._pos, n, self._max_headers + 1)
        if end == -2:
            status = 431 if self._fault == 400 else self._fault
            self._fail(ProtocolError(status, f"more than {self._max_headers} header lines"))
        if (n if end < 0 else end) - self._pos > self._max_head_bytes:
            first: cython.Py_ssize_t = find_lf(self._buffer, self._pos, self._pos + self._max_head_bytes)
            status = (414 if first < 0 else 431) if self._fault == 400 else self._fault
            self._fail(ProtocolError(status, f"head longer than {self._max_head_bytes} bytes"))
        if end < 0:
            if self._at_eof:
                self._check_open()
            return None
        raw: bytes = self._buffer[self._pos : end]
        self._pos = end
        if end == n:
            self._buffer = b""
            self._pos = 0
        return raw

    def _check_start(self) -> int:
        # A peer that speaks another protocol gets its error at its first byte, not at the end of a head that
        # never comes. Must agree with what parse_request and parse_response say of the same bytes.
        n: cython.Py_ssize_t = len(self._buffer)
        if self._fault == 400:
            stop: cython.Py_ssize_t = scan_token(self._buffer, self._pos, n)
            if stop < n and (stop == self._pos or self._buffer[stop] != 32):
                byte: bytes = self._buffer[stop : stop + 1]
                self._fail(ProtocolError(400, f"byte {stop - self._pos}: {byte!r} in the method"))
        else:
            start: bytes = self._buffer[self._pos : self._pos + 5]
            if not _RESPONSE_START.startswith(start):
                self._fail(ProtocolError(self._fault, f"byte 0: not an HTTP version: {start!r}"))
        return 0

    def _check_open(self) -> int:
        # At the end of the stream: was it legal to end here?
        if self._error is not None:
            raise self._error
        if self._in_body:
            if self._body.kind == UNTIL_CLOSE:
                self._body.is_done = True
            if self._body.is_done:
                return 0
            self._fail(ProtocolError(self._fault, "connection closed inside a message body"))
        elif self._pos < len(self._buffer):
            self._fail(ProtocolError(self._fault, "connection closed inside a message head"))
        return 0

    def _fail(self, error: ProtocolError) -> int:
        self._error = error
        raise error


class RequestParser(Parser):
    """Requests of one downstream connection. Errors carry the status to answer."""

    _skipped: int

    def __init__(self, limits: Limits | None = None) -> None:
        self._setup(Limits() if limits is None else limits, 400)
        self._skipped = 0

    def head(self) -> RequestHead | None:
        """The next request's head; None: more bytes are needed.

        Raises: ProtocolError: 400, 414 (request line too long), 431, 501 (transfer coding), 505 (not HTTP/1).
            RuntimeError: inside a message (call next() first).
        """
        n: cython.Py_ssize_t = len(self._buffer)
        while not self._in_body and self._pos < n and self._buffer[self._pos] == 13:
            # RFC 9112 2.2: empty lines before a request line are skipped; a few, not an endless stream of them.
            if self._pos + 1 == n:
                return None
            if self._buffer[self._pos + 1] != 10 or self._skipped >= _MAX_SKIPPED:
                self._fail(ProtocolError(400, "byte 0: bare CR, or too many empty lines, before the request line"))
            self._skipped += 2
            self._pos += 2
        raw: bytes | None = self._take_head()
        if raw is None:
            return None
        try:
            head: RequestHead = parse_request(raw, self._max_headers)
        except ProtocolError as error:
            self._error = error
            raise
        self._skipped = 0
        self._start_body(head, False)
        return head


class ResponseParser(Parser):
    """Responses on one upstream connection. Errors carry status 502."""

    def __init__(self, limits: Limits | None = None) -> None:
        self._setup(Limits() if limits is None else limits, 502)

    def head(self, request_method: bytes) -> ResponseHead | None:
        """The next response's head; None: more bytes are needed. After an interim one, next() and head() again.

        Args: request_method: of the request that this answers: HEAD and CONNECT change what follows.
        Raises: ProtocolError: status 502. RuntimeError: inside a message (call next() first).
        """
        raw: bytes | None = self._take_head()
        if raw is None:
            return None
        try:
            head: ResponseHead = parse_response(raw, self._max_headers, request_method)
        except ProtocolError as error:
            self._error = error
            raise
        self._start_body(head, head.is_until_close)
        return head
