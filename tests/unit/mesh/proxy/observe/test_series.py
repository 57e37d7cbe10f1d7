from bisect import bisect_left

from hypothesis import given
from hypothesis import strategies as st

from mesh.proxy.observe.series import BUCKETS, Histogram, Series


@given(st.lists(st.one_of(st.floats(0, 1e8), st.sampled_from(BUCKETS))))
def test_every_value_falls_into_its_bucket_whatever_came_before(values: list[float]) -> None:
    histogram = Histogram()
    expected = [0] * (len(BUCKETS) + 1)
    for value in values:
        histogram.observe(value)
        expected[bisect_left(BUCKETS, value)] += 1
    assert histogram.counts == expected
    assert abs(histogram.sum - sum(values)) <= 1e-6 * max(1.0, sum(values))


def test_a_series_begins_at_zero() -> None:
    series = Series('a="b"', 2, 3, 5.0)
    assert (series.labels, series.values, len(series.histograms), series.touched_at) == ('a="b"', [0.0, 0.0], 3, 5.0)
    assert series.is_live and not series.is_overflow and series.companion is None
