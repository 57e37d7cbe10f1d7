"""Metrics: the control plane's counters, gauges and histograms, and their Prometheus text (version 0.0.4)."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator

Labels = tuple[tuple[str, str], ...]

# pilot/pkg/xds/monitoring.go: the buckets of pilot_proxy_convergence_time, in seconds.
BUCKETS = (0.01, 0.05, 0.1, 0.5, 1.0, 3.0, 5.0, 10.0, 20.0, 30.0)
_HELP = {
    "pilot_k8s_reg_events": "Events from Kubernetes by kind and type.",
    "pilot_k8s_watch_relists": "Watches that were too old and listed again.",
    "pilot_k8s_watch_last_event_seconds": "Unix time of the last event or bookmark of a watch.",
    "pilot_proxy_convergence_time": "Seconds from the first change to its configuration being sent to a proxy.",
    "pilot_debounce_time": "Seconds that changes were held before the build.",
    "pilot_build_time": "Seconds that building the graph took.",
    "pilot_push_triggers": "Builds by the kind of object that caused them.",
    "pilot_services": "Hosts in the registry.",
    "pilot_problems": "Problems of users' objects by severity.",
    "triomesh_status_writes_total": "Status patches by result.",
    "citadel_server_csr_count": "Requests for a certificate.",
    "citadel_server_success_cert_issuance_count": "Certificates issued.",
    "citadel_server_authentication_failure_count": "Requests for a certificate by somebody who is not known.",
    "citadel_server_csr_parsing_err_count": "Requests for a certificate whose CSR cannot be signed.",
    "citadel_server_csr_sign_err_count": "Requests for a certificate that the CA could not answer.",
    "citadel_server_root_cert_expiry_timestamp": "Unix time at which the root ends.",
    "citadel_server_root_cert_expiry_seconds": "Seconds until the root ends.",
    "citadel_server_cert_chain_expiry_timestamp": "Unix time at which the CA's chain ends.",
    "citadel_server_cert_chain_expiry_seconds": "Seconds until the CA's chain ends.",
}


class MetricsRegistry:
    """Concurrency: one thread."""

    def __init__(self) -> None:
        self._counters: dict[str, dict[Labels, int]] = {}
        self._gauges: dict[str, dict[Labels, float]] = {}
        self._histograms: dict[str, dict[Labels, tuple[list[int], list[float]]]] = {}

    def count(self, name: str, labels: Labels = (), by: int = 1) -> None:
        series = self._counters.setdefault(name, {})
        series[labels] = series.get(labels, 0) + by

    def gauge(self, name: str, value: float, labels: Labels = ()) -> None:
        self._gauges.setdefault(name, {})[labels] = value

    def observe(self, name: str, value: float, labels: Labels = ()) -> None:
        series = self._histograms.setdefault(name, {})
        counts, total = series.setdefault(labels, ([0] * (len(BUCKETS) + 1), [0.0]))
        counts[bisect_left(BUCKETS, value)] += 1
        total[0] += value

    def text(self) -> str:
        """Everything, by name."""
        return "".join(f"{line}\n" for line in self._lines())

    def _lines(self) -> Iterator[str]:
        for name in sorted(self._counters):
            yield from _head(name, "counter")
            for labels, count in self._counters[name].items():
                yield f"{name}{_labels(labels)} {count}"
        for name in sorted(self._gauges):
            yield from _head(name, "gauge")
            for labels, value in self._gauges[name].items():
                yield f"{name}{_labels(labels)} {_number(value)}"
        for name in sorted(self._histograms):
            yield from _head(name, "histogram")
            for labels, (counts, total) in self._histograms[name].items():
                running = 0
                for bound, in_bucket in zip((*BUCKETS, None), counts, strict=True):
                    running += in_bucket
                    limit = "+Inf" if bound is None else _number(bound)
                    yield f"{name}_bucket{_labels((*labels, ('le', limit)))} {running}"
                yield f"{name}_sum{_labels(labels)} {_number(total[0])}"
                yield f"{name}_count{_labels(labels)} {running}"


def _head(name: str, kind: str) -> Iterator[str]:
    yield f"# HELP {name} {_HELP.get(name, name.replace('_', ' ') + '.')}"
    yield f"# TYPE {name} {kind}"


def _labels(labels: Labels) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escape(value)}"' for name, value in labels) + "}"


def _escape(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)
