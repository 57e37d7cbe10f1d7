import shutil
import subprocess

import pytest

from mesh.proxy.observe.metrics import BUCKETS, Family, Group, Kind, Metric, Registry, Sample, escape, number

COUNT = Metric("app_things_total", "Things \\ seen.\nTwo lines.", Kind.COUNTER)
LEVEL = Metric("app_level", "A level.", Kind.GAUGE)
TIME = Metric("app_size_bytes", "Sizes.", Kind.HISTOGRAM)


def registry() -> Registry:
    found = Registry()
    group = found.add(Group((COUNT, TIME), ("name",)))
    series = group.series(('a"b\\c\nd',), 0.0)
    series.values[0] += 2
    for value in (0.5, 0.6, 4_000_000.0):
        series.histograms[0].observe(value)
    found.group(LEVEL).series((), 0.0).values[0] = 1.5
    return found


GOLDEN_LINES = [
    "# HELP app_things_total Things \\\\ seen.\\nTwo lines.",
    "# TYPE app_things_total counter",
    'app_things_total{name="a\\"b\\\\c\\nd"} 2',
    "# HELP app_size_bytes Sizes.",
    "# TYPE app_size_bytes histogram",
    'app_size_bytes_bucket{name="a\\"b\\\\c\\nd",le="0.5"} 1',
    *(
        f'app_size_bytes_bucket{{name="a\\"b\\\\c\\nd",le="{bound}"}} 2'
        for bound in (
            ["1", "5", "10", "25", "50", "100", "250", "500", "1000", "2500", "5000", "10000", "30000", "60000", "300000", "600000", "1800000", "3600000"]
        )
    ),
    'app_size_bytes_bucket{name="a\\"b\\\\c\\nd",le="+Inf"} 3',
    'app_size_bytes_sum{name="a\\"b\\\\c\\nd"} 4000001.1',
    'app_size_bytes_count{name="a\\"b\\\\c\\nd"} 3',
    "# HELP app_level A level.",
    "# TYPE app_level gauge",
    "app_level 1.5",
]


def test_the_text_format() -> None:
    assert registry().expose(1.0).decode().splitlines() == GOLDEN_LINES


def test_openmetrics_names_counters_without_total_and_has_an_end() -> None:
    lines = registry().expose(1.0, openmetrics=True).decode().splitlines()
    assert lines[1] == "# TYPE app_things counter"
    assert lines[2].startswith("app_things_total{")
    assert lines[-1] == "# EOF"


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_has_nothing_to_say() -> None:
    done = subprocess.run(["promtool", "check", "metrics"], input=registry().expose(1.0), capture_output=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")


def test_buckets_take_values_up_to_their_bound() -> None:
    group = Group((TIME,), ())
    histogram = group.series((), 0.0).histograms[0]
    for bound in BUCKETS:
        histogram.observe(bound)
    assert histogram.counts == [1] * len(BUCKETS) + [0]


def test_milliseconds_can_be_shown_in_seconds() -> None:
    found = Registry()
    histogram = found.add(Group((Metric("app_seconds", "Time.", Kind.HISTOGRAM, per_unit=1000),), ())).series((), 0.0).histograms[0]
    for milliseconds in (0.5, 3.0, 250.0):
        histogram.observe(milliseconds)
    lines = found.expose(0.0).decode().splitlines()[2:]
    assert lines[:3] == ['app_seconds_bucket{le="0.0005"} 1', 'app_seconds_bucket{le="0.001"} 1', 'app_seconds_bucket{le="0.005"} 2']
    assert lines[7:10] == ['app_seconds_bucket{le="0.25"} 3', 'app_seconds_bucket{le="0.5"} 3', 'app_seconds_bucket{le="1"} 3']
    assert lines[-3:] == ['app_seconds_bucket{le="+Inf"} 3', "app_seconds_sum 0.2535", "app_seconds_count 3"]


def test_series_are_found_again() -> None:
    group = Group((COUNT,), ("a",))
    assert group.series(("x",), 0.0) is group.series(("x",), 5.0)
    assert group.series(("x",), 5.0) is not group.series(("y",), 5.0)


def test_what_exceeds_the_budget_is_counted_as_other() -> None:
    found = Registry()
    group = found.add(Group((COUNT,), ("a", "b"), max_series=2))
    for number_of in range(10):
        group.series((str(number_of), "x"), 0.0).values[0] += 1
    text = found.expose(0.0).decode()
    assert 'app_things_total{a="other",b="other"} 8' in text
    assert 'triomesh_metrics_overflow_total{metric="app_things_total"} 8' in text
    assert len(group) == 3


def test_idle_series_make_room() -> None:
    group = Group((COUNT,), ("a",), max_series=1, idle_seconds=600.0)
    old = group.series(("old",), 0.0)
    new = group.series(("new",), 601.0)
    assert (old.is_live, new.is_live, len(group), group.overflowed) == (False, True, 1, 0)


def test_idle_series_are_not_shown() -> None:
    found = Registry()
    group = found.add(Group((COUNT,), ("a",)))
    kept, dropped = group.series(("kept",), 0.0), group.series(("dropped",), 0.0)
    kept.touched_at = 500.0
    assert found.expose(700.0).decode().splitlines()[2:] == ['app_things_total{a="kept"} 0']
    assert not dropped.is_live


def test_fixed_series_never_expire() -> None:
    found = Registry()
    found.group(LEVEL).series((), 0.0)
    assert b"app_level 0" in found.expose(1e9)


def test_a_series_can_be_removed() -> None:
    group = Group((COUNT,), ("a",))
    series = group.series(("x",), 0.0)
    group.remove(("x",))
    assert (series.is_live, len(group)) == (False, 0)


def test_collectors_join_families_of_the_same_name() -> None:
    found = registry()
    found.add_collector(lambda now: [Family(LEVEL, [Sample("", 'at="x"', now)])])
    lines = found.expose(7.0).decode().splitlines()
    assert lines[-2:] == ["app_level 1.5", 'app_level{at="x"} 7']
    assert lines.count("# TYPE app_level gauge") == 1


def test_label_values_must_fit_the_names() -> None:
    with pytest.raises(ValueError, match="1 label values for 2 labels"):
        Group((COUNT,), ("a", "b")).series(("x",), 0.0)


@pytest.mark.parametrize(("value", "expected"), [(1.0, "1"), (0.1, "0.1"), (2.5e20, "2.5e+20"), (3, "3")])
def test_numbers(value: float, expected: str) -> None:
    assert number(value) == expected


def test_ordinary_labels_are_not_touched() -> None:
    assert escape("reviews-v1") == "reviews-v1"
