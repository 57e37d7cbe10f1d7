# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
# mypy: disable-error-code="no-any-return"
"""Request and response heads: start line plus fields, and what they say about framing and persistence.

The rules are RFC 9112's with its server-side leniencies turned off (sections 3, 6, 7 and 9.3); what two parsers
could read in two ways is an error, because a proxy is exactly where request smuggling needs two parsers.
"""

import cython

from mesh.codec.events import ProtocolError

if not cython.compiled:  # when compiled, head.pxd cimports these names
    from mesh.codec.h1.fields import (
        CONNECTION,
        CONTENT_LENGTH,
        EXPECT,
        HOST,
        STRIDE,
        TE,
        TRANSFER_ENCODING,
        UPGRADE,
        Fields,
        parse_fields,
        scan_authority,
        scan_target,
        scan_token,
        scan_value,
    )

MAX_CONTENT_LENGTH_DIGITS = 18
"""Enough for an exabyte, and never an overflow of 64 bits."""


class Head(Fields):
    """What requests and responses have in common.

    Attributes:
        minor: 0 or 1, of HTTP/1.minor (a higher minor version counts as 1, RFC 9110 2.5).
        content_length: octets; -1 when the head has none.
        is_chunked: Transfer-Encoding is chunked.
        keep_alive: the sender will take or send another message on this connection (RFC 9112 9.3).
        has_body: there are body octets to read (a response read until close may turn out empty).
        upgrade: first protocol of Upgrade in lower case when `Connection: upgrade` confirms it, else b"".
    """

    minor: int
    content_length: int
    is_chunked: bool
    keep_alive: bool
    has_body: bool
    upgrade: bytes
    _says_close: bool
    _says_keep_alive: bool
    _says_upgrade: bool
    _names_fields: bool
    _wants_trailers: bool
    _rewrites_length: bool
    _drops_framing: bool

    @property
    def nbytes(self) -> int:
        """Length of the whole head on the wire, blank line included."""
        return len(self.raw)

    def _read_lines(self, fault: cython.int) -> int:
        # Everything that does not depend on the start line, apart from the version.
        i: cython.Py_ssize_t
        kind: cython.int
        self.content_length = -1
        self.is_chunked = self._says_close = self._says_keep_alive = self._says_upgrade = False
        self._names_fields = self._wants_trailers = self._rewrites_length = self._drops_framing = False
        self.upgrade = b""
        for i in range(0, self.count * STRIDE, STRIDE):
            kind = self._spans[i + 4]
            if kind == 0 or kind == HOST:
                continue
            value: bytes = self.raw[self._spans[i + 2] : self._spans[i + 3]]
            if kind == CONTENT_LENGTH:
                self._read_length(value, fault)
            elif kind == TRANSFER_ENCODING:
                self._read_coding(value, fault)
            elif kind == CONNECTION:
                self._read_connection(value)
            elif kind == UPGRADE and not self.upgrade:
                self.upgrade = value.split(b",")[0].strip().lower()
            elif kind == TE:
                self._wants_trailers = self._wants_trailers or b"trailers" in _tokens(value)
        if self.is_chunked and self.content_length >= 0:  # RFC 9112 6.3 item 3
            raise ProtocolError(fault, "both Transfer-Encoding and Content-Length")
        if self.is_chunked and self.minor == 0:  # RFC 9112 6.1
            raise ProtocolError(fault, "Transfer-Encoding in an HTTP/1.0 message")
        if self.minor == 0 or not self._says_upgrade:  # RFC 9110 7.8
            self.upgrade = b""
        self.keep_alive = not self._says_close and (self.minor == 1 or self._says_keep_alive)
        return 0

    def _read_connection(self, value: bytes) -> int:
        # RFC 9110 7.6.1; the two common values first, because making a list costs more than all the rest of the head
        if value in (b"keep-alive", b"Keep-Alive"):
            self._says_keep_alive = True
            return 0
        if value == b"close":
            self._says_close = True
            return 0
        for token in _tokens(value):
            if token == b"close":
                self._says_close = True
            elif token == b"keep-alive":
                self._says_keep_alive = True
            elif token == b"upgrade":
                self._says_upgrade = True
            elif token != b"te":
                self._names_fields = True
        return 0

    def _read_length(self, value: bytes, fault: cython.int) -> int:
        # RFC 9112 6.3 item 5: identical repetitions are one value, anything else is an error.
        for item in value.split(b","):
            digits = item.strip(b" \t")
            if not digits.isdigit() or len(digits) > MAX_CONTENT_LENGTH_DIGITS:
                raise ProtocolError(fault, f"Content-Length is not a number below 10^18: {_text(value)}")
            length: cython.Py_ssize_t = int(digits)
            if self.content_length >= 0:
                if self.content_length != length:
                    raise ProtocolError(fault, f"Content-Length is both {self.content_length} and {length}")
                self._rewrites_length = True
            self.content_length = length
        return 0

    def _read_coding(self, value: bytes, fault: cython.int) -> int:
        # RFC 9112 6.1, 7: chunked is the only coding a proxy that forwards bytes can take the length from.
        codings = _tokens(value)
        if self.is_chunked or codings.count(b"chunked") > 1:
            raise ProtocolError(fault, f"Transfer-Encoding after chunked: {_text(value)}")
        if not codings or codings[len(codings) - 1] != b"chunked":
            raise ProtocolError(fault, f"Transfer-Encoding does not end with chunked: {_text(value)}")
        if len(codings) > 1:
            raise ProtocolError(501 if fault == 400 else fault, f"Transfer-Encoding not implemented: {_text(value)}")
        self.is_chunked = True
        return 0


class RequestHead(Head):
    """A request's head.

    Attributes:
        method: as sent (methods are case-sensitive).
        target: as sent.
        path, query: of an origin-form or absolute-form target, without and after the first "?"; path is "*" for the
            asterisk-form and b"" for CONNECT.
        authority: of an absolute-form or authority-form target, else the Host field; b"" when there is none.
        expect_continue: the client waits for 100 (Continue).
    """

    method: bytes
    target: bytes
    path: bytes
    query: bytes
    authority: bytes
    expect_continue: bool
    _is_absolute: bool

    def _read_target(self, start: cython.Py_ssize_t, stop: cython.Py_ssize_t) -> int:
        # RFC 9112 3.2: which of the four forms it is, and whether the method may have that form.
        raw: bytes = self.raw
        self.target = raw[start:stop]
        self.path = self.query = self.authority = b""
        self._is_absolute = False
        if self.method == b"CONNECT":
            _, _, port = self.target.rpartition(b":")
            if scan_authority(raw, start, stop) != stop or not port.isdigit() or len(port) == stop - start - 1:
                raise ProtocolError(400, f"byte {start}: CONNECT needs host:port, not {_text(self.target)}")
            self.authority = self.target
        elif raw[start] == 47:  # "/"
            self.path = self.target
        elif self.target == b"*":
            if self.method != b"OPTIONS":
                raise ProtocolError(400, f"byte {start}: the target * is only for OPTIONS")
            self.path = self.target
        else:
            self._read_absolute(start, stop)
        cut: cython.Py_ssize_t = self.path.find(b"?")
        if cut >= 0:
            self.query = self.path[cut + 1 :]
            self.path = self.path[:cut]
        return 0

    def _read_absolute(self, start: cython.Py_ssize_t, stop: cython.Py_ssize_t) -> int:
        # RFC 9112 3.2.2: the target's authority replaces Host.
        scheme, colon, _ = self.target.partition(b"://")
        first: cython.Py_ssize_t = start + len(scheme) + 3
        if not colon or scheme.lower() not in (b"http", b"https"):
            raise ProtocolError(
                400, f"byte {start}: the target is neither a path nor an http URI: {_text(self.target)}"
            )
        last: cython.Py_ssize_t = scan_authority(self.raw, first, stop)
        if last == first or (last < stop and self.raw[last] != 47 and self.raw[last] != 63):
            raise ProtocolError(400, f"byte {last}: bad authority in the target {_text(self.target)}")
        self._is_absolute = True
        self.authority = self.raw[first:last]
        self.path = self.raw[last:stop]
        if not self.path:
            self.path = b"*" if self.method == b"OPTIONS" else b"/"  # RFC 9112 3.2.4
        elif self.path[0] == 63:
            self.path = b"/" + self.path
        return 0

    def _read_host(self, lines: cython.Py_ssize_t) -> int:
        # RFC 9112 3.2: exactly one in HTTP/1.1, and never one that could be read in two ways.
        hosts: cython.int = 0
        i: cython.Py_ssize_t
        for i in range(0, lines * STRIDE, STRIDE):
            if self._spans[i + 4] == HOST:
                hosts += 1
                if scan_authority(self.raw, self._spans[i + 2], self._spans[i + 3]) != self._spans[i + 3]:
                    raise ProtocolError(400, f"bad Host: {_text(self.raw[self._spans[i + 2] : self._spans[i + 3]])}")
                if not self._is_absolute and self.method != b"CONNECT":
                    self.authority = self.raw[self._spans[i + 2] : self._spans[i + 3]]
            elif self._spans[i + 4] == EXPECT and self.minor == 1:  # RFC 9110 10.1.1: 1.0 clients cannot expect
                value: bytes = self.raw[self._spans[i + 2] : self._spans[i + 3]]
                self.expect_continue = value.lower() == b"100-continue"
        if hosts > 1:
            raise ProtocolError(400, "more than one Host")
        if hosts == 0 and self.minor == 1:
            raise ProtocolError(400, "no Host")
        return 0


class ResponseHead(Head):
    """A response's head.

    Attributes:
        status: 100..599.
        reason: as sent, possibly empty.
        is_interim: 1xx other than 101: the final response still follows.
        is_until_close: the body ends when the connection does.
    """

    status: int
    reason: bytes
    is_interim: bool
    is_until_close: bool

    def _frame(self, request_method: bytes) -> int:
        # RFC 9112 6.3 items 1, 2, 4, 5 and 8.
        status: cython.int = self.status
        self.is_interim = 100 <= status < 200 and status != 101
        self.is_until_close = False
        tunnels: cython.bint = request_method == b"CONNECT" and 200 <= status < 300
        if tunnels or status < 200 or status == 204:
            self._drops_framing = True  # RFC 9110 8.6: such a response has no framing fields; not forwarded
            self.has_body = False
        elif request_method == b"HEAD" or status == 304:
            self.has_body = False
        elif self.is_chunked or self.content_length >= 0:
            self.has_body = self.is_chunked or self.content_length > 0
        else:
            self.is_until_close = self.has_body = True
            self.keep_alive = False
        if tunnels or status == 101:
            self.keep_alive = False
        return 0


def parse_request(raw: bytes, max_headers: cython.Py_ssize_t) -> RequestHead:
    """The head that `raw` is: request line, fields and blank line, nothing before or after.

    Raises: ProtocolError: 400, 431 (too many lines), 501 (unknown transfer coding), 505.
    Source: RFC 9112 3.
    """
    head: RequestHead = RequestHead.__new__(RequestHead)
    n: cython.Py_ssize_t = len(raw)
    method: cython.Py_ssize_t = scan_token(raw, 0, n)
    if method == 0 or raw[method] != 32:
        raise ProtocolError(400, f"byte {method}: {_text(raw[method : method + 1])} in the method")
    start: cython.Py_ssize_t = method + 1
    stop: cython.Py_ssize_t = scan_target(raw, start, n)
    if stop == start or raw[stop] != 32:
        if stop > start and raw[stop : stop + 2] == b"\r\n":
            raise ProtocolError(505, f"byte {stop}: no HTTP version (HTTP/0.9)")
        raise ProtocolError(400, f"byte {stop}: {_text(raw[stop : stop + 1])} in the request target")
    head.raw = raw
    head.method = raw[:method]
    head.minor = _read_version(raw, stop + 1, 13, 505, 400)
    if raw[stop + 10] != 10:
        raise ProtocolError(400, f"byte {stop + 10}: bare CR after the HTTP version")
    head._read_target(start, stop)
    parse_fields(head, raw, stop + 11, max_headers, 400)
    head._read_lines(400)
    head.expect_continue = False
    head._read_host(head.count)
    head.has_body = head.is_chunked or head.content_length > 0
    if head.has_body and head.method == b"CONNECT":  # RFC 9110 9.3.6: CONNECT has no content
        raise ProtocolError(400, "CONNECT with a body")
    return head


def parse_response(raw: bytes, max_headers: cython.Py_ssize_t, request_method: bytes) -> ResponseHead:
    """The head that `raw` is, answering a request of that method (HEAD and CONNECT change the framing).

    Raises: ProtocolError: always with status 502.
    Source: RFC 9112 4. An absent reason may lack the space before it, too, as many servers have it.
    """
    head: ResponseHead = ResponseHead.__new__(ResponseHead)
    n: cython.Py_ssize_t = len(raw)
    head.raw = raw
    head.minor = _read_version(raw, 0, 32, 502, 502)
    digits = raw[9:12]
    if not digits.isdigit() or not 49 <= raw[9] <= 53:
        raise ProtocolError(502, f"byte 9: bad status {_text(digits)}")
    head.status = int(digits)
    stop: cython.Py_ssize_t = 12
    if raw[12] == 32:
        stop = scan_value(raw, 13, n)
    head.reason = raw[13:stop]
    if raw[stop : stop + 2] != b"\r\n":
        raise ProtocolError(502, f"byte {stop}: {_text(raw[stop : stop + 1])} in the status line")
    parse_fields(head, raw, stop + 2, max_headers, 502)
    head._read_lines(502)
    head._frame(request_method)
    return head


def _read_version(
    raw: bytes, at: cython.Py_ssize_t, after: cython.int, unsupported: cython.int, bad: cython.int
) -> int:
    # The minor version of the "HTTP/x.y" at that offset, followed by the byte `after`.
    if len(raw) > at + 8 and raw[at + 8] == after and raw[at : at + 7] == b"HTTP/1.":
        if raw[at + 7] == 48:
            return 0
        if 49 <= raw[at + 7] <= 57:
            return 1
    name = raw[at : at + 8]
    if name[:5] == b"HTTP/" and name[5:6].isdigit() and name[6:7] == b"." and name[7:8].isdigit() and name[5:6] != b"1":
        raise ProtocolError(unsupported, f"byte {at}: version {_text(name)} is not HTTP/1.x")
    raise ProtocolError(bad, f"byte {at}: not an HTTP version: {_text(raw[at : at + 9])}")


def _tokens(value: bytes) -> list[bytes]:
    # RFC 9110 5.6.1: a list; empty elements do not count.
    return [token for token in [item.strip(b" \t").lower() for item in value.split(b",")] if token]


def _text(value: bytes) -> str:
    return repr(value[:64])[1:]
