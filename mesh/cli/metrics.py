"""Numbers out of metrics texts: counters by labels, and quantiles of histograms."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families

Labels = Mapping[str, str]
REQUESTS = "istio_requests_total"
DURATION = "istio_request_duration_milliseconds_bucket"


@dataclass(slots=True)
class Stats:
    """Requests of one group (an edge, a route): counts since the proxies started, or between two scrapes.

    buckets: cumulative counts by upper bound in milliseconds (a Prometheus histogram).
    received: requests that the server's proxy has counted, too; secured: those of them that came over mutual TLS.
    """

    requests: float = 0.0
    failures: float = 0.0
    buckets: dict[float, float] = field(default_factory=lambda: defaultdict(float))
    received: float = 0.0
    secured: float = 0.0

    @property
    def secured_percent(self) -> float | None:
        """Share that came over mutual TLS; None where no proxy of the mesh received anything."""
        return 100.0 * self.secured / self.received if self.received else None

    @property
    def success_percent(self) -> float | None:
        """Share of answers below 500; None without requests."""
        return 100.0 * (1 - self.failures / self.requests) if self.requests else None

    def quantile(self, q: float) -> float | None:
        """Milliseconds below which a share `q` lies, linear inside a bucket as Prometheus' histogram_quantile; None without data."""
        bounds = sorted(self.buckets)
        if not bounds or not self.buckets[bounds[-1]]:
            return None
        rank = q * self.buckets[bounds[-1]]
        lower, below = 0.0, 0.0
        for bound in bounds:
            count = self.buckets[bound]
            if count >= rank:
                if math.isinf(bound):
                    return lower
                return lower + (bound - lower) * ((rank - below) / (count - below) if count > below else 1.0)
            lower, below = bound, count
        return lower

    def minus(self, earlier: Stats) -> Stats:
        """What happened after `earlier`. A counter that went back means a restarted proxy: then everything is new."""
        if self.requests < earlier.requests:
            return self
        buckets = {bound: count - earlier.buckets.get(bound, 0.0) for bound, count in self.buckets.items()}
        counts = (self.requests - earlier.requests, self.failures - earlier.failures)
        received, secured = self.received - earlier.received, self.secured - earlier.secured
        # Two proxies count an edge: the server's may have been restarted when the client's was not.
        return Stats(*counts, defaultdict(float, buckets), *((received, secured) if received >= 0 and secured >= 0 else (self.received, self.secured)))


def grouped(
    texts: Iterable[str], keys: Sequence[str], where: Labels, requests: str = REQUESTS, duration: str = DURATION
) -> dict[tuple[str, ...], Stats]:
    """Sum the request counter and the duration histogram of many proxies.

    Args: keys: labels that make the group; where: labels that must have a value; duration: of buckets in the unit that the
        name says, milliseconds or seconds.
    Returns: stats by the keys' values, in the keys' order.
    """
    found: dict[tuple[str, ...], Stats] = defaultdict(Stats)
    milliseconds = 1000.0 if duration.endswith("_seconds_bucket") else 1.0
    for text in texts:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name not in (requests, duration) or any(sample.labels.get(key) != value for key, value in where.items()):
                    continue
                stats = found[tuple(sample.labels.get(key, "") for key in keys)]
                if sample.name == requests:
                    stats.requests += sample.value
                    if is_failure(sample.labels):
                        stats.failures += sample.value
                else:
                    stats.buckets[float(sample.labels["le"]) * milliseconds] += sample.value
    return dict(found)


def is_failure(labels: Labels) -> bool:
    """An answer counts as failed from 500 on, when there was none (code 0), or by its gRPC status."""
    code = labels.get("response_code", "")
    return code == "0" or code.startswith("5") or labels.get("grpc_response_status", "") in ("2", "4", "8", "12", "13", "14", "15")
