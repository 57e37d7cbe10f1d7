"""Counters of the server, and their Prometheus text (kube-apiserver's names where there is one)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

BUCKETS = (0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 10.0)


class Histogram:
    """Seconds by label values, in `BUCKETS`."""

    def __init__(self, name: str, labels: tuple[str, ...], help_text: str) -> None:
        self._name, self._labels, self._help = name, labels, help_text
        self._buckets: dict[tuple[str, ...], list[int]] = {}
        self._sums: Counter[tuple[str, ...]] = Counter()

    def observe(self, values: tuple[str, ...], seconds: float) -> None:
        """Count one observation."""
        counts = self._buckets.setdefault(values, [0] * (len(BUCKETS) + 1))
        counts[next((i for i, bound in enumerate(BUCKETS) if seconds <= bound), len(BUCKETS))] += 1
        self._sums[values] += seconds  # type: ignore[assignment]

    def lines(self) -> Iterator[str]:
        """Prometheus text."""
        yield f"# HELP {self._name} {self._help}"
        yield f"# TYPE {self._name} histogram"
        for values, counts in sorted(self._buckets.items()):
            shown, total = _labels(dict(zip(self._labels, values))), 0
            for bound, count in zip((*map(str, BUCKETS), "+Inf"), counts):
                total += count
                yield f'{self._name}_bucket{{{shown},le="{bound}"}} {total}'
            yield f"{self._name}_sum{{{shown}}} {self._sums[values]:.6f}"
            yield f"{self._name}_count{{{shown}}} {total}"


class Metrics:
    """Everything counted."""

    def __init__(self) -> None:
        self._requests: Counter[tuple[str, str, str, int]] = Counter()
        self._seconds = Histogram("apiserver_request_duration_seconds", ("verb", "resource"), "Response latency in seconds, watches and relays aside.")
        self._hooks = Histogram("apiserver_admission_webhook_admission_duration_seconds", ("name", "outcome"), "Admission webhook latency in seconds.")

    def observe_request(self, verb: str, resource: str, subresource: str, code: int, seconds: float) -> None:
        """Count one answered request."""
        self._requests[verb, resource, subresource, code] += 1
        if verb != "watch":
            self._seconds.observe((verb, resource), seconds)

    def observe_hook(self, name: str, outcome: str, seconds: float) -> None:
        """Count one webhook call."""
        self._hooks.observe((name, outcome), seconds)

    def text(self, gauges: Mapping[str, float]) -> str:
        """The exposition. `gauges` are values read just now."""
        lines = ["# HELP apiserver_request_total Requests by verb, resource and HTTP code.", "# TYPE apiserver_request_total counter"]
        for (verb, resource, subresource, code), count in sorted(self._requests.items()):
            shown = _labels({"verb": verb, "resource": resource, "subresource": subresource, "code": str(code)})
            lines.append(f"apiserver_request_total{{{shown}}} {count}")
        lines += [*self._seconds.lines(), *self._hooks.lines()]
        for name, value in gauges.items():
            lines += [f"# HELP {name} Present value.", f"# TYPE {name} gauge", f"{name} {value:g}"]
        return "\n".join(lines) + "\n"


def _labels(values: dict[str, str]) -> str:
    escaped = {k: v.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") for k, v in values.items()}
    return ",".join(f'{k}="{v}"' for k, v in escaped.items())
