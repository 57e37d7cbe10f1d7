"""Statistics of the benchmarks: medians, paired ratios, and that a loss is called one."""

from benchmarks.report import as_json, as_text, ratios, rows
from benchmarks.rounds import Plan, Sample

SEEN = {
    "request_id": 1.0,
    "forwarded_for": 1.0,
    "traceparent": 1.0,
    "spans": 0.01,
    "client_certificate": 0.0,
    "handshakes": 0.0,
}
PLAN = Plan(("direct", "envoy", "triomesh"), 3, 1.0, 32, 1000.0, 100, "get", None, 0, 1)


def _sample(name: str, number: int, cpu_us: float | None, per_second: float, p50_us: float, errors: int = 0) -> Sample:
    return Sample(
        name, number, per_second, cpu_us, p50_us, p50_us * 10, None if cpu_us is None else 50.0, errors, 0, SEEN
    )


SAMPLES = [
    _sample("direct", 0, None, 100_000, 100),
    _sample("envoy", 0, 40, 20_000, 300),
    _sample("triomesh", 0, 20, 30_000, 250),
    _sample("triomesh", 1, 50, 10_000, 400, errors=2),
    _sample("envoy", 1, 100, 8_000, 500),
    _sample("direct", 1, None, 50_000, 200),
    _sample("direct", 2, None, 100_000, 100),
    _sample("envoy", 2, 40, 20_000, 300),
    _sample("triomesh", 2, 80, 15_000, 450),
]


def test_rows_are_medians() -> None:
    by_name = {row.name: row for row in rows(SAMPLES)}
    assert list(by_name) == ["direct", "envoy", "triomesh"]
    ours = by_name["triomesh"]
    assert (ours.cpu_us, ours.per_cpu_second, ours.per_second, ours.p50_us) == (50, 20_000, 15_000, 400)
    assert (ours.added_p50_us, ours.errors, ours.rss_mb) == (200, 2, 50)
    assert (by_name["direct"].cpu_us, by_name["direct"].added_p50_us) == (None, None)


def test_ratios_are_paired_within_a_round() -> None:
    (ratio,) = ratios(SAMPLES)
    assert (ratio.reference, ratio.per_cpu_second, ratio.low, ratio.high) == ("envoy", 2.0, 0.5, 2.0)
    assert (ratio.throughput, ratio.p50) == (1.25, 250 / 300)


def test_without_ours_there_are_no_ratios() -> None:
    assert ratios([sample for sample in SAMPLES if sample.name != "triomesh"]) == []


def test_a_loss_is_printed_as_one() -> None:
    losing = [_sample("envoy", 0, 40, 20_000, 300), _sample("triomesh", 0, 80, 10_000, 600)]
    text = as_text(PLAN, losing, {"haproxy": "no HAProxy"}, {"Envoy": "1.40.0"})
    assert "0.50x (0.50..0.50, BEHIND)" in text
    assert "haproxy was not measured: no HAProxy" in text


def test_json_holds_every_sample() -> None:
    document = as_json(PLAN, SAMPLES, {}, {})
    assert len(document["samples"]) == len(SAMPLES)
    assert document["plan"]["connections"] == 32
    assert document["ratios"][0]["reference"] == "envoy"
