"""Metrics: counters, gauges and histograms with labels, and their text exposition (Prometheus 0.0.4, OpenMetrics 1.0).

A child of a family is looked up once and then only added to. Every family has a budget of series: what does not fit is
counted in one series whose labels all read "other", and `triomesh_metrics_overflow_total` says so. Series that nothing
touched for a while are dropped at the next exposition. Not thread-safe by locks: everything here runs on the trio thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cache
from itertools import chain

from mesh.proxy.observe.series import BUCKETS, Histogram, Series

TEXT_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS_CONTENT_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"

# Sets of labels in a group. A set of the request metrics is 67 lines of about a kilobyte: 500 sets are a scrape of
# 20 to 40 MB and 150 ms, which is where a budget has to end; an ordinary sidecar has a few dozen.
MAX_SERIES = 500
IDLE_SECONDS = 600.0
OTHER = "other"


class Kind(Enum):
    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    """One family's name, help text and kind, within a group that shares labels.

    per_unit: how many of what is observed make one of the name's unit: 1000 for milliseconds shown in seconds.
    """

    name: str
    help: str
    kind: Kind
    per_unit: int = 1


class Group:
    """Families that always carry the same labels, e.g. Istio's four for requests: one look-up serves them all.

    Args: idle_seconds: 0 = series live as long as the process (for gauges and small fixed sets).
    """

    def __init__(
        self,
        metrics: Sequence[Metric],
        label_names: Sequence[str],
        max_series: int = MAX_SERIES,
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        self.metrics = tuple(metrics)
        self.label_names = tuple(label_names)
        self.overflowed = 0
        self._max_series = max_series
        self._idle_seconds = idle_seconds
        self._expired_at = 0.0
        self._series: dict[tuple[str, ...], Series] = {}
        self._values = [metric for metric in metrics if metric.kind is not Kind.HISTOGRAM]
        self._histograms = [metric for metric in metrics if metric.kind is Kind.HISTOGRAM]

    def __len__(self) -> int:
        return len(self._series)

    def series(self, labels: Sequence[str], now: float) -> Series:
        """The series of these label values, in the order of `label_names`; the "other" one when the budget is used up."""
        key = tuple(labels)
        found = self._series.get(key)
        if found is None:
            found = self._add(key, now)
        found.touched_at = now
        return found

    def _add(self, key: tuple[str, ...], now: float) -> Series:
        if len(key) != len(self.label_names):
            raise ValueError(f"{self.metrics[0].name}: {len(key)} label values for {len(self.label_names)} labels")
        other = (OTHER,) * len(self.label_names)
        if len(self._series) >= self._max_series and key != other:
            if now - self._expired_at >= 1.0:  # a flood of new labels must not cost a scan each
                self.expire(now)
            if len(self._series) >= self._max_series:
                self.overflowed += 1
                return self._series.get(other) or self._add(other, now)
        text = ",".join(f'{name}="{escape(value)}"' for name, value in zip(self.label_names, key))
        series = Series(text, len(self._values), len(self._histograms), now)
        series.is_overflow = key == other
        self._series[key] = series
        return series

    def expire(self, now: float) -> None:
        """Drop what nothing touched for `idle_seconds`."""
        if not self._idle_seconds:
            return
        self._expired_at = now
        for key, series in list(self._series.items()):
            if now - series.touched_at > self._idle_seconds:
                series.is_live = False
                del self._series[key]

    def remove(self, labels: Sequence[str]) -> None:
        """Drop one series, e.g. of a cluster that is gone."""
        series = self._series.pop(tuple(labels), None)
        if series is not None:
            series.is_live = False

    def families(self) -> Iterable[Family]:
        for index, metric in enumerate(self._values):
            samples = [Sample("", series.labels, series.values[index]) for series in self._series.values()]
            yield Family(metric, samples)
        for index, metric in enumerate(self._histograms):
            yield Family(metric, HistogramSamples(tuple(self._series.values()), index, metric.per_unit))


@dataclass(frozen=True, slots=True)
class Sample:
    """suffix: appended to the family's name (`_bucket`); labels: `a="b",c="d"` already escaped, or ""."""

    suffix: str
    labels: str
    value: float


@dataclass(frozen=True, slots=True)
class HistogramSamples:
    """The samples of one histogram of many series, made as they are asked for: they are most of a scrape."""

    series: tuple[Series, ...]
    index: int
    per_unit: int

    def __bool__(self) -> bool:
        return bool(self.series)

    def __iter__(self) -> Iterator[Sample]:
        for series in self.series:
            yield from _histogram_samples(series.labels, series.histograms[self.index], self.per_unit)


@dataclass(frozen=True, slots=True)
class Family:
    metric: Metric
    samples: Sequence[Sample] | HistogramSamples


Collector = Callable[[float], Iterable[Family]]
"""Makes families when somebody asks, from state kept elsewhere. Gets `now`."""


class Registry:
    """All groups and collectors of the process."""

    def __init__(self) -> None:
        self._groups: list[Group] = []
        self._collectors: list[Collector] = []

    def add(self, group: Group) -> Group:
        self._groups.append(group)
        return group

    def add_collector(self, collector: Collector) -> None:
        """Concurrency: called on the thread that exposes (trio's)."""
        self._collectors.append(collector)

    def group(self, metric: Metric, label_names: Sequence[str] = ()) -> Group:
        """A group of one family that never expires: for counters of fixed sets."""
        return self.add(Group((metric,), label_names, idle_seconds=0.0))

    def families(self, now: float) -> list[Family]:
        """Everything, idle series dropped, in the order it was added."""
        families: list[Family] = []
        overflow: list[Sample] = []
        for group in self._groups:
            group.expire(now)
            families.extend(group.families())
            if group.overflowed:
                overflow.append(Sample("", f'metric="{group.metrics[0].name}"', group.overflowed))
        for collector in self._collectors:
            families.extend(collector(now))
        families.append(Family(_OVERFLOW, overflow))
        return [family for family in families if family.samples]

    def expose(self, now: float, *, openmetrics: bool = False) -> bytes:
        """The text of everything. Args: openmetrics: the 1.0.0 form (counters without `_total` in TYPE, `# EOF`)."""
        return "\n".join(self.lines(now, openmetrics=openmetrics)).encode()

    def lines(self, now: float, *, openmetrics: bool = False) -> Iterator[str]:
        """The same line by line, the last one empty. What changes while they are taken may or may not be in them."""
        return expose(self.families(now), openmetrics=openmetrics)


_OVERFLOW = Metric(
    "triomesh_metrics_overflow_total", "Look-ups of series that did not fit into a metric's budget.", Kind.COUNTER
)


def expose(families: Iterable[Family], *, openmetrics: bool = False) -> Iterator[str]:
    """Lines of text. Families of one name are put together, as the format demands."""
    merged: dict[str, tuple[Metric, list[Iterable[Sample]]]] = {}
    for family in families:
        merged.setdefault(family.metric.name, (family.metric, []))[1].append(family.samples)
    for name, (metric, parts) in merged.items():
        shown = name.removesuffix("_total") if openmetrics and metric.kind is Kind.COUNTER else name
        yield f"# HELP {shown} {escape_help(metric.help)}"
        yield f"# TYPE {shown} {metric.kind.value}"
        for sample in chain.from_iterable(parts):
            labels = f"{{{sample.labels}}}" if sample.labels else ""
            yield f"{name}{sample.suffix}{labels} {number(sample.value)}"
    if openmetrics:
        yield "# EOF"
    yield ""


def _histogram_samples(labels: str, histogram: Histogram, per_unit: int) -> Iterable[Sample]:
    comma = "," if labels else ""
    total = 0
    counts, value_sum = tuple(histogram.counts), histogram.sum  # of one moment
    for bound, count in zip(_bound_texts(per_unit), counts):
        total += count
        yield Sample("_bucket", f'{labels}{comma}le="{bound}"', total)
    yield Sample("_sum", labels, value_sum / per_unit)
    yield Sample("_count", labels, total)


def number(value: float) -> str:
    """Integers without a fraction, everything else so that it reads back the same."""
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(float(value))


@cache
def _bound_texts(per_unit: int) -> tuple[str, ...]:
    return (*(number(bound / per_unit) for bound in BUCKETS), "+Inf")


def escape(value: str) -> str:
    """A label's value: backslash, quote and line feed (exposition format 0.0.4)."""
    if "\\" in value or '"' in value or "\n" in value:
        return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return value


def escape_help(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")
