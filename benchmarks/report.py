"""Statistics and tables: medians over the rounds, and ratios paired within a round."""

import os
import platform
import statistics
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.resources import TLS_SIDES
from benchmarks.rounds import Plan, Sample

OURS = "triomesh"
_SHAPES = {
    "get": "GET, {} keep-alive connections",
    "post": "POST of 1 KiB, {} keep-alive connections",
    "connections": "GET, a connection for each, {} at once",
}
REFERENCES = ("envoy", "envoy-lean", "haproxy")


@dataclass(frozen=True, slots=True)
class Row:
    """Medians of one contender. added_p50_us: over `direct` of the same round."""

    name: str
    per_second: float
    cpu_us: float | None
    per_cpu_second: float | None
    p50_us: float
    added_p50_us: float | None
    p99_us: float
    rss_mb: float | None
    errors: int
    behind: int
    seen: dict[str, float]


@dataclass(frozen=True, slots=True)
class Ratio:
    """Ours over a reference in requests per CPU-second (above 1 is better), median and range over the rounds.

    throughput: likewise. p50, p99: ours over theirs, below 1 is better.
    """

    reference: str
    per_cpu_second: float
    low: float
    high: float
    throughput: float
    p50: float
    p99: float


def rows(samples: Sequence[Sample]) -> list[Row]:
    """One per contender, in the order of first appearance."""
    direct = {sample.round: sample for sample in samples if sample.name == "direct"}
    names = list(dict.fromkeys(sample.name for sample in samples))
    return [_row(name, [sample for sample in samples if sample.name == name], direct) for name in names]


def ratios(samples: Sequence[Sample]) -> list[Ratio]:
    """Ours against every reference that was measured in the same rounds."""
    ours = {sample.round: sample for sample in samples if sample.name == OURS}
    found = []
    for name in REFERENCES:
        pairs = [(ours[each.round], each) for each in samples if each.name == name and each.round in ours]
        if not pairs:
            continue
        cpu = [theirs.cpu_us / mine.cpu_us for mine, theirs in pairs if theirs.cpu_us and mine.cpu_us]
        found.append(
            Ratio(
                reference=name,
                per_cpu_second=statistics.median(cpu),
                low=min(cpu),
                high=max(cpu),
                throughput=statistics.median(mine.per_second / theirs.per_second for mine, theirs in pairs),
                p50=statistics.median(mine.p50_us / theirs.p50_us for mine, theirs in pairs),
                p99=statistics.median(mine.p99_us / theirs.p99_us for mine, theirs in pairs),
            )
        )
    return found


def as_json(
    plan: Plan, samples: Sequence[Sample], failures: dict[str, str], versions: dict[str, str]
) -> dict[str, Any]:
    """Everything, for `--json`."""
    return {
        "machine": machine(),
        "versions": versions,
        "plan": asdict(plan),
        "rows": [asdict(row) for row in rows(samples)],
        "ratios": [asdict(ratio) for ratio in ratios(samples)],
        "samples": [asdict(sample) for sample in samples],
        "not_measured": failures,
    }


def as_text(plan: Plan, samples: Sequence[Sample], failures: dict[str, str], versions: dict[str, str]) -> str:
    """Tables and what they mean."""
    title = (
        f"{_SHAPES[plan.shape].format(plan.connections)}{_tls(plan)}, {plan.answer_bytes}-byte answers; {plan.rounds} rounds x {plan.seconds:g} s;"
        f" latency at {plan.rate:g} requests/s, open loop, from the time each was due; medians"
    )
    where = machine()
    lines = [title, "  ".join(f"{name} {version}" for name, version in versions.items())]
    lines.append(
        f"{where['cpu']}, {where['cores']} cores, Linux {where['kernel']}, load average {where['load_average'][0]:.1f}"
    )
    if where["load_average"][0] > where["cores"]:
        lines.append(
            "WARNING: more wants to run here than there are cores; latencies and throughput are not to be quoted"
        )
    lines.append("")
    lines.append(
        f"{'':12}{'req/s':>9}{'cpu us/req':>12}{'req/cpu-s':>11}{'p50 us':>9}{'added':>8}{'p99 us':>9}{'RSS MB':>8}"
        f"{'errors':>8}   per request: id  xff  traceparent  spans  xfcc  handshakes upstream"
    )
    lines += [_line(row) for row in rows(samples)]
    lines.append("")
    for ratio in ratios(samples):
        verdict = "ahead" if ratio.per_cpu_second >= 1 else "BEHIND"
        lines.append(
            f"ours / {ratio.reference:11} requests per CPU-second {ratio.per_cpu_second:5.2f}x ({ratio.low:.2f}..{ratio.high:.2f}, {verdict})"
            f"   throughput {ratio.throughput:5.2f}x   p50 {ratio.p50:5.2f}x   p99 {ratio.p99:5.2f}x (latency: below 1 is better)"
        )
    lines += [f"{name} was not measured: {why}" for name, why in failures.items()]
    return "\n".join(lines)


def machine() -> dict[str, Any]:
    """Where it ran: ratios between a computing and a system-calling proxy move with the machine."""
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "cpu": models[0].partition(":")[2].strip() if models else platform.machine(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_average": os.getloadavg(),
    }


def first_line(arguments: list[str]) -> str:
    """What a program says of its version."""
    done = subprocess.run(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    return lines[0].strip() if lines else "unknown"


def _tls(plan: Plan) -> str:
    if plan.tls is None:
        return ""
    what = "a full handshake for each" if plan.shape == "connections" else "TLS 1.3, P-256"
    return f", {TLS_SIDES[plan.tls]} ({what}; nobody resumes sessions)"


def _row(name: str, samples: Sequence[Sample], direct: dict[int, Sample]) -> Row:
    cpu = [sample.cpu_us for sample in samples if sample.cpu_us]
    rss = [sample.rss_mb for sample in samples if sample.rss_mb]
    added = [
        sample.p50_us - direct[sample.round].p50_us for sample in samples if sample.round in direct and name != "direct"
    ]
    return Row(
        name=name,
        per_second=statistics.median(sample.per_second for sample in samples),
        cpu_us=statistics.median(cpu) if cpu else None,
        per_cpu_second=1e6 / statistics.median(cpu) if cpu else None,
        p50_us=statistics.median(sample.p50_us for sample in samples),
        added_p50_us=statistics.median(added) if added else None,
        p99_us=statistics.median(sample.p99_us for sample in samples),
        rss_mb=statistics.median(rss) if rss else None,
        errors=sum(sample.errors for sample in samples),
        behind=sum(sample.behind for sample in samples),
        seen={key: statistics.median(sample.seen[key] for sample in samples) for key in samples[0].seen},
    )


def _line(row: Row) -> str:
    def number(value: float | None, width: int, digits: int = 0) -> str:
        return f"{'-':>{width}}" if value is None else f"{value:>{width}.{digits}f}"

    seen = row.seen
    return (
        f"{row.name:12}{number(row.per_second, 9)}{number(row.cpu_us, 12, 1)}{number(row.per_cpu_second, 11)}{number(row.p50_us, 9)}"
        f"{number(row.added_p50_us, 8)}{number(row.p99_us, 9)}{number(row.rss_mb, 8, 1)}{row.errors + row.behind:>8}"
        f"   {seen['request_id']:15.2f} {seen['forwarded_for']:4.2f} {seen['traceparent']:12.2f} {seen['spans']:6.3f} {seen['client_certificate']:5.2f} {seen['handshakes']:5.2f}"
    )
