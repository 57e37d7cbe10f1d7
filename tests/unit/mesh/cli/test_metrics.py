"""Numbers out of metrics texts."""

import math

import pytest

from mesh.cli.metrics import Stats, grouped, is_failure

TEXT = """
# TYPE istio_requests_total counter
istio_requests_total{reporter="source",source_workload="a",response_code="200"} 8
istio_requests_total{reporter="source",source_workload="a",response_code="503"} 2
istio_requests_total{reporter="destination",source_workload="a",response_code="200"} 99
# TYPE istio_request_duration_milliseconds histogram
istio_request_duration_milliseconds_bucket{reporter="source",source_workload="a",le="10"} 5
istio_request_duration_milliseconds_bucket{reporter="source",source_workload="a",le="20"} 10
istio_request_duration_milliseconds_bucket{reporter="source",source_workload="a",le="+Inf"} 10
istio_request_duration_milliseconds_count{reporter="source",source_workload="a"} 10
istio_request_duration_milliseconds_sum{reporter="source",source_workload="a"} 100
"""


def test_proxies_are_summed_and_other_reporters_left_out():
    stats = grouped([TEXT, TEXT], ("source_workload",), {"reporter": "source"})[("a",)]
    assert (stats.requests, stats.failures, stats.success_percent) == (20, 4, 80.0)


def test_quantile_is_linear_inside_a_bucket():
    stats = grouped([TEXT], ("source_workload",), {"reporter": "source"})[("a",)]
    assert stats.quantile(0.5) == pytest.approx(10)
    assert stats.quantile(0.95) == pytest.approx(19)


def test_quantile_beyond_the_last_bound_is_that_bound():
    assert Stats(1, 0, {10.0: 0.0, math.inf: 1.0}).quantile(0.99) == 10.0


def test_quantile_without_data_is_none():
    assert Stats().quantile(0.5) is None


def test_a_counter_that_went_back_counts_from_zero():
    assert Stats(3, 1, {}).minus(Stats(10, 2, {})) == Stats(3, 1, {})


@pytest.mark.parametrize(("labels", "failed"), [({"response_code": "499"}, False), ({"response_code": "500"}, True), ({"response_code": "0"}, True), ({"response_code": "200", "grpc_response_status": "14"}, True)])
def test_what_counts_as_failure(labels, failed):
    assert is_failure(labels) is failed
