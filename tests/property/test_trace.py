"""Trace context: what one hop writes the next one reads, and nothing a client sends breaks it."""

from __future__ import annotations

import uuid
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.codec.h1 import RequestHead
from mesh.proxy.observe.digits import Digits
from mesh.proxy.observe.request_id import make_request_id
from mesh.proxy.observe.trace import TRACE_HEADERS, Sampler, TraceContext, extract
from tests.support.observe import head_of

NAMES = st.sampled_from([name.decode() for name in TRACE_HEADERS])
HEX = st.text("0123456789abcdefABCDEF-", max_size=60)
PRINTABLE = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=60)


def sampler(seed: int, share: float) -> Sampler:
    rng = Random(seed)
    return Sampler(share, rng.random, Digits(rng.getrandbits))


def head_from(lines: bytes) -> RequestHead:
    pairs = [line.decode().split(": ", 1) for line in lines.split(b"\r\n") if line]
    return head_of("GET", "/", "h", [(name, value) for name, value in pairs])


def only(lines: bytes, *prefixes: bytes) -> bytes:
    return b"".join(line + b"\r\n" for line in lines.split(b"\r\n") if line.startswith(prefixes))


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 1 << 32), st.sampled_from([0.0, 0.5, 1.0]), st.sampled_from([(b"traceparent",), (b"x-b3",), (b"t", b"x")]))
def test_a_context_survives_the_wire_in_either_form(seed: int, share: float, form: tuple[bytes, ...]) -> None:
    first = sampler(seed, share).begin(head_of("GET", "/", "h", []))
    read = extract(head_from(only(first.lines, *form)))
    assert read is not None
    assert (read.trace_id, read.span_id, read.is_sampled) == (first.trace_id, first.span_id, first.is_sampled)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 1 << 32), st.floats(0, 1))
def test_hops_form_one_chain(seed: int, share: float) -> None:
    """Each hop's parent is the last recorded span, and all take the first one's decision."""
    found = sampler(seed, share)
    hops: list[TraceContext] = [found.begin(head_of("GET", "/", "h", []))]
    lines = hops[0].lines
    for _ in range(4):
        hops.append(found.begin(head_from(lines)))
        lines = hops[-1].lines or lines
    assert len({hop.trace_id for hop in hops}) == 1
    assert len({hop.is_sampled for hop in hops}) == 1
    if hops[0].is_sampled:
        assert [hop.parent_id for hop in hops[1:]] == [hop.span_id for hop in hops[:-1]]
        assert len({hop.span_id for hop in hops}) == len(hops)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(NAMES, HEX | PRINTABLE), max_size=6), st.integers(0, 1 << 32))
def test_no_header_breaks_it(headers: list[tuple[str, str]], seed: int) -> None:
    context = sampler(seed, 0.5).begin(head_of("GET", "/", "h", headers))
    assert len(context.trace_id) == 32 and len(context.span_id) == 16
    assert int(context.trace_id, 16) and int(context.span_id, 16)
    assert b"\n" not in context.trace_id + context.span_id + context.parent_id


@settings(max_examples=100, deadline=None)
@given(st.integers(0, (1 << 32768) - 1))
def test_request_ids_are_uuids_of_version_4(bits: int) -> None:
    made = uuid.UUID(make_request_id(Digits(lambda _: bits)).decode())
    assert (made.version, made.variant) == (4, uuid.RFC_4122)
