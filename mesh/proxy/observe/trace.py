# cython: language_level=3
"""Trace context: W3C Trace Context and B3, read from a request and written to the next hop.

One hop is one span. Its context has the trace's id, the span that called (parent) and this hop's own span id, which
is what the next hop gets as its parent: the application forwards it, so that the spans of a page join.
Read in this order: traceparent (W3C Trace Context 3.2), b3 (single), x-b3-* (multi). Written: traceparent and B3
multi, tracestate as it came. A context that does not parse counts as absent, as both standards demand.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

import cython

from mesh.proxy.head import Head

if not cython.compiled:  # when compiled, trace.pxd cimports these names
    from mesh.proxy.observe.digits import Digits

TRACE_HEADERS = (
    b"traceparent",
    b"b3",
    b"x-b3-traceid",
    b"x-b3-spanid",
    b"x-b3-parentspanid",
    b"x-b3-sampled",
    b"x-b3-flags",
)
"""What is left out of the forwarded head when `lines` are appended. tracestate stays as it is."""

_TRACEPARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_HEX_TRACE = re.compile(rb"[0-9a-fA-F]{16}|[0-9a-fA-F]{32}")
_HEX_SPAN = re.compile(rb"[0-9a-fA-F]{16}")
_NO_SPAN = b"0" * 16
_NO_TRACE = b"0" * 32


class TraceContext:
    """Ids in lower-case hex: trace_id 32 digits, span_id (this hop's) and parent_id 16; parent_id b"" at a root.

    is_sampled: this hop's span is recorded. is_debug: B3's `x-b3-flags: 1`, which is passed on.
    lines: header lines for the next hop. Empty when the request goes on with the headers it came with.
    """

    trace_id: bytes
    span_id: bytes
    parent_id: bytes
    is_sampled: bool
    lines: bytes
    is_debug: bool

    def __init__(
        self,
        trace_id: bytes,
        span_id: bytes,
        parent_id: bytes,
        is_sampled: bool,
        lines: bytes = b"",
        is_debug: bool = False,
    ) -> None:
        self.trace_id = trace_id
        self.span_id = span_id
        self.parent_id = parent_id
        self.is_sampled = is_sampled
        self.lines = lines
        self.is_debug = is_debug


class Incoming(NamedTuple):
    """What the caller sent. is_sampled None: it left the decision to us (B3 only)."""

    trace_id: bytes
    span_id: bytes
    is_sampled: bool | None
    is_debug: bool = False


def extract(head: Head) -> Incoming | None:
    """The caller's context; None when there is none that can be read."""
    value = head.get(b"traceparent")
    if value is not None:
        found = _parse_traceparent(value)
        if found is not None:
            return found
    value = head.get(b"b3")
    if value is not None:
        found = _parse_b3_single(value)
        if found is not None:
            return found
    value = head.get(b"x-b3-traceid")
    return _parse_b3_multi(value, head) if value is not None else None


def _parse_traceparent(value: bytes) -> Incoming | None:
    match = _TRACEPARENT.fullmatch(value.strip())
    if match is None:
        return None
    version, trace_id, span_id, flags, rest = match.groups()
    # W3C 3.2.2: version ff is invalid; version 00 has no further fields; all-zero ids are invalid.
    if version == b"ff" or (version == b"00" and rest is not None) or trace_id == _NO_TRACE or span_id == _NO_SPAN:
        return None
    return Incoming(trace_id, span_id, bool(int(flags, 16) & 1))


def _parse_b3_single(value: bytes) -> Incoming | None:
    # b3: {trace}-{span}[-{sampled}[-{parent}]]; a lone "0" (do not sample) has no ids to join.
    parts = value.strip().split(b"-")
    if not 2 <= len(parts) <= 4 or not _HEX_TRACE.fullmatch(parts[0]) or not _HEX_SPAN.fullmatch(parts[1]):
        return None
    state = parts[2] if len(parts) > 2 else b""
    return _b3(parts[0], parts[1], state, state == b"d")


def _parse_b3_multi(trace_id: bytes, head: Head) -> Incoming | None:
    span_id = head.get(b"x-b3-spanid")
    if span_id is None or not _HEX_TRACE.fullmatch(trace_id) or not _HEX_SPAN.fullmatch(span_id):
        return None
    return _b3(trace_id, span_id, head.get(b"x-b3-sampled") or b"", head.get(b"x-b3-flags") == b"1")


def _b3(trace_id: bytes, span_id: bytes, state: bytes, is_debug: bool) -> Incoming | None:
    trace_id, span_id = trace_id.lower().rjust(32, b"0"), span_id.lower()
    if trace_id == _NO_TRACE or span_id == _NO_SPAN:
        return None
    sampled: bool | None = None
    if is_debug or state.lower() in (b"1", b"true", b"d"):
        sampled = True
    elif state.lower() in (b"0", b"false"):
        sampled = False
    return Incoming(trace_id, span_id, sampled, is_debug)


def wish(head: Head, is_edge: bool = False) -> bool | None:
    """A decision that came without ids: B3's `b3: 0|1|d` and lone x-b3-sampled or x-b3-flags, `x-envoy-force-trace`.

    is_edge: the client is outside: it cannot force us to trace (Envoy drops the header there).
    """
    single, flags, sampled = head.get(b"b3"), head.get(b"x-b3-flags"), head.get(b"x-b3-sampled")
    if flags == b"1" or single in (b"1", b"d") or sampled in (b"1", b"true"):
        return True
    if not is_edge and head.get(b"x-envoy-force-trace") is not None:
        return True
    return False if single == b"0" or sampled in (b"0", b"false") else None


class Sampler:
    """Decides and makes ids. The incoming decision is honoured; without one `share` of the traces is sampled.

    Args: share, client_share, overall_share: 0..1; of all requests, of those with `x-client-trace-id`, and of what these
        and `wish` chose (Envoy `random_sampling`, `client_sampling`, `overall_sampling`).
        rng: uniform in [0, 1). is_edge: clients are outside the mesh.
    """

    _client_share: float
    _overall_share: float
    _share: float
    _is_edge: bool
    _rng: Callable[[], float]
    _digits: Digits

    def __init__(
        self,
        share: float,
        rng: Callable[[], float],
        digits: Digits,
        client_share: float = 1.0,
        overall_share: float = 1.0,
        is_edge: bool = False,
    ) -> None:
        self._share = share
        self._client_share = client_share
        self._overall_share = overall_share
        self._is_edge = is_edge
        self._rng = rng
        self._digits = digits

    def _draw(self, head: Head) -> bool:
        wanted = wish(head, self._is_edge)
        if wanted is None:
            is_clients = head.get(b"x-client-trace-id") is not None and self._rng() < self._client_share
            wanted = is_clients or self._rng() < self._share
        return wanted and (self._overall_share >= 1.0 or self._rng() < self._overall_share)

    def begin(self, head: Head) -> TraceContext:
        """This hop's context.

        A caller's "not sampled" is passed on untouched: no span is recorded, so none may be named as a parent.
        """
        incoming = extract(head)
        if incoming is None:
            is_sampled = self._draw(head)
            trace_id, span_id = self._digits.take(32), self._digits.take(16)
            return TraceContext(trace_id, span_id, b"", is_sampled, trace_lines(trace_id, span_id, b"", is_sampled))
        trace_id, parent_id, sampled, is_debug = incoming
        if sampled is False:
            return TraceContext(trace_id, parent_id, parent_id, False)
        is_sampled = sampled is True or self._draw(head)
        span_id = self._digits.take(16)
        lines = trace_lines(trace_id, span_id, parent_id, is_sampled, is_debug)
        return TraceContext(trace_id, span_id, parent_id, is_sampled, lines, is_debug)


def trace_lines(trace_id: bytes, span_id: bytes, parent_id: bytes, is_sampled: bool, is_debug: bool = False) -> bytes:
    """traceparent and B3 multi for the next hop."""
    lines: bytes = b"".join(
        (
            b"traceparent: 00-",
            trace_id,
            b"-",
            span_id,
            b"-01\r\nx-b3-traceid: " if is_sampled else b"-00\r\nx-b3-traceid: ",
            trace_id,
            b"\r\nx-b3-spanid: ",
            span_id,
            b"\r\nx-b3-sampled: 1\r\n" if is_sampled else b"\r\nx-b3-sampled: 0\r\n",
        )
    )
    if parent_id:
        lines += b"x-b3-parentspanid: %b\r\n" % parent_id
    if is_debug:
        lines += b"x-b3-flags: 1\r\n"
    return lines
