# cython: language_level=3
"""Series: the numbers behind one set of labels; all that a request touches of the metrics."""

from __future__ import annotations

from bisect import bisect_left

import cython

# Envoy's default histogram buckets; used for milliseconds and for bytes alike.
BUCKETS = (
    0.5,
    1.0,
    5.0,
    10.0,
    25.0,
    50.0,
    100.0,
    250.0,
    500.0,
    1000.0,
    2500.0,
    5000.0,
    10000.0,
    30000.0,
    60000.0,
    300000.0,
    600000.0,
    1800000.0,
    3600000.0,
)


class Histogram:
    """Counts per bucket, not cumulative until exposition. One bucket more than BUCKETS: the overflow."""

    counts: list[int]
    sum: float
    _bucket: int
    _above: float
    _up_to: float

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS) + 1)
        self.sum = 0.0
        self._bucket = 0
        self._above = -1.0
        self._up_to = BUCKETS[0]

    def observe(self, value: cython.double) -> None:
        # Most values fall where the one before fell: the bounds of that bucket are kept at hand.
        if not self._above < value <= self._up_to:
            self._find(value)
        self.counts[self._bucket] += 1
        self.sum += value

    def _find(self, value: cython.double) -> None:
        self._bucket = bisect_left(BUCKETS, value)
        self._above = BUCKETS[self._bucket - 1] if self._bucket else -1.0
        self._up_to = BUCKETS[self._bucket] if self._bucket < len(BUCKETS) else float("inf")


class Series:
    """What one set of labels holds: a value (counter, gauge) or histograms, by the families that share the labels.

    is_live: False once it was dropped; whoever caches series looks it up again then.
    is_overflow: this is the "other" one: not to be cached under its caller's labels, as there may be room later.
    companion: the series of another group with the same labels, for whoever keeps the two together.
    """

    labels: str
    values: list[float]
    histograms: tuple[Histogram, ...]
    touched_at: float
    is_live: bool
    is_overflow: bool
    companion: Series | None

    def __init__(self, labels: str, values: int, histograms: int, now: cython.double) -> None:
        self.labels = labels
        self.values = [0.0] * values
        self.histograms = tuple([Histogram() for _ in range(histograms)])
        self.touched_at = now
        self.is_live = True
        self.is_overflow = False
        self.companion = None
