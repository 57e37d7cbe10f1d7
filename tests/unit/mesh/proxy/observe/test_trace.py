import random

import pytest

from mesh.proxy.observe.digits import Digits
from mesh.proxy.observe.trace import Incoming, Sampler, TraceContext, extract, trace_lines
from tests.support.observe import head

T, S = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def begin(share: float = 0.0, point: float = 0.0, **headers: str) -> TraceContext:
    return Sampler(share, lambda: point, digits("aab")).begin(head("GET", "/", "h", **headers))


def digits(end: str) -> Digits:
    """Ids of zeros but for their end: every draw ends so."""
    return Digits(lambda bits: int(end.rjust(16, "0") * (bits // 64), 16))


@pytest.mark.parametrize(
    ("value", "sampled"),
    [(f"00-{T}-{S}-01", True), (f"00-{T}-{S}-00", False), (f"00-{T}-{S}-03", True), (f"cc-{T}-{S}-01-what", True)],
)
def test_traceparent(value: str, sampled: bool) -> None:
    assert extract(head("GET", "/", "h", traceparent=value)) == Incoming(T.encode(), S.encode(), sampled)


@pytest.mark.parametrize(
    "value",
    [
        "",
        f"00-{T}-{S}",
        f"ff-{T}-{S}-01",
        f"00-{T}-{S}-01-x",
        f"00-{'0' * 32}-{S}-01",
        f"00-{T}-{'0' * 16}-01",
        f"00-{T.upper()}-{S}-01",
        f"00-{T}-{S}-0x",
    ],
)
def test_a_bad_traceparent_counts_as_absent(value: str) -> None:
    assert extract(head("GET", "/", "h", traceparent=value)) is None


@pytest.mark.parametrize(
    ("value", "sampled", "debug"),
    [(f"{T}-{S}-1", True, False), (f"{T}-{S}-0", False, False), (f"{T}-{S}-d", True, True), (f"{T}-{S}", None, False), (f"{T}-{S}-1-{S}", True, False)],
)
def test_b3_single(value: str, sampled: bool | None, debug: bool) -> None:
    assert extract(head("GET", "/", "h", b3=value)) == Incoming(T.encode(), S.encode(), sampled, debug)


def test_b3_multi() -> None:
    found = extract(head("GET", "/", "h", x_b3_traceid=T, x_b3_spanid=S, x_b3_sampled="1"))
    assert found == Incoming(T.encode(), S.encode(), True)


def test_a_64_bit_trace_id_is_padded() -> None:
    found = extract(head("GET", "/", "h", x_b3_traceid=S, x_b3_spanid=S))
    assert found == Incoming(b"0" * 16 + S.encode(), S.encode(), None)


def test_w3c_goes_before_b3() -> None:
    found = extract(head("GET", "/", "h", traceparent=f"00-{T}-{S}-00", b3=f"{S}-{S}-1"))
    assert found == Incoming(T.encode(), S.encode(), False)


def test_b3_helps_when_w3c_is_broken() -> None:
    found = extract(head("GET", "/", "h", traceparent="junk", b3=f"{T}-{S}-1"))
    assert found is not None and found.is_sampled


@pytest.mark.parametrize("headers", [{"b3": "0"}, {"x_b3_sampled": "0"}])
def test_a_decision_without_ids_is_honoured(headers: dict[str, str]) -> None:
    context = begin(1.0, **headers)
    assert not context.is_sampled
    assert context.parent_id == b"" and context.lines


@pytest.mark.parametrize("headers", [{"b3": "1"}, {"b3": "d"}, {"x_b3_sampled": "1"}, {"x_envoy_force_trace": "true"}])
def test_a_wish_without_ids_is_honoured(headers: dict[str, str]) -> None:
    assert begin(0.0, 0.5, **headers).is_sampled


def test_nobody_outside_can_force_a_trace() -> None:
    edge = Sampler(0.0, lambda: 0.5, digits("1"), is_edge=True)
    assert not decided(edge, x_envoy_force_trace="true") and decided(edge, b3="1")


def test_a_root_is_drawn() -> None:
    assert [begin(0.01, point).is_sampled for point in (0.0099, 0.01)] == [True, False]
    assert not begin(0.0, 0.0).is_sampled


def test_a_root_passes_its_decision_on_also_when_it_is_no() -> None:
    context = begin(0.0)
    assert b"traceparent: 00-" + (b"0" * 13 + b"aab") * 2 + b"-" + b"0" * 13 + b"aab-00" in context.lines
    assert context.lines.count(b"-00\r\n") == 1 and b"x-b3-sampled: 0\r\n" in context.lines


def test_a_sampled_caller_becomes_the_parent() -> None:
    context = begin(0.0, traceparent=f"00-{T}-{S}-01")
    assert (context.trace_id, context.span_id, context.parent_id) == (T.encode(), b"0000000000000aab", S.encode())
    assert context.is_sampled and not context.is_debug
    assert context.lines == trace_lines(T.encode(), b"0000000000000aab", S.encode(), True)
    assert f"x-b3-parentspanid: {S}\r\n".encode() in context.lines


def test_an_unsampled_callers_headers_go_on_untouched() -> None:
    context = begin(1.0, traceparent=f"00-{T}-{S}-00")
    assert (context.is_sampled, context.lines, context.trace_id) == (False, b"", T.encode())


def test_debug_is_passed_on() -> None:
    context = begin(0.0, x_b3_traceid=T, x_b3_spanid=S, x_b3_flags="1")
    assert context.is_sampled and b"x-b3-flags: 1\r\n" in context.lines


def test_sampling_converges() -> None:
    rng = random.Random(4)
    sampler, request = Sampler(0.01, rng.random, Digits(rng.getrandbits)), head()
    share = sum(sampler.begin(request).is_sampled for _ in range(100_000)) / 100_000
    assert abs(share - 0.01) < 0.003


def decided(sampler: Sampler, **headers: str) -> bool:
    return sampler.begin(head("GET", "/", "h", **headers)).is_sampled


def test_clients_may_ask_by_their_trace_id() -> None:
    always = Sampler(0.0, lambda: 0.5, digits("1"))
    half = Sampler(0.0, lambda: 0.5, digits("1"), client_share=0.5)
    assert decided(always, x_client_trace_id="a") and not decided(always)
    assert not decided(half, x_client_trace_id="a")


def test_the_overall_share_cuts_what_we_chose_but_not_what_the_caller_did() -> None:
    sampler = Sampler(1.0, lambda: 0.5, digits("1"), overall_share=0.5)
    assert not decided(sampler) and not decided(sampler, x_envoy_force_trace="1")
    assert decided(sampler, traceparent=f"00-{T}-{S}-01")
