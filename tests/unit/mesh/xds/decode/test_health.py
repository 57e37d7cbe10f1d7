import envoy.config.cluster.v3.cluster_pb2 as cluster_pb
import pytest
from google.protobuf.json_format import ParseDict

from mesh.model.cluster import CircuitBreaker, RetryBudget
from mesh.xds.decode.common import Reader
from mesh.xds.decode.health import read_circuit_breaker, read_health
from mesh.xds.error import DecodeError

FIELDS = ("circuit_breakers", "outlier_detection", "common_lb_config")


def reader(**document) -> Reader:
    return Reader(ParseDict(document, cluster_pb.Cluster()), "c", "", FIELDS)


def test_high_priority_thresholds_are_nobodys():
    limits = [{"priority": "HIGH", "max_requests": 1}, {"max_requests": 2, "retry_budget": {}}]
    assert read_circuit_breaker(reader(circuit_breakers={"thresholds": limits})) == CircuitBreaker(
        1024, 1024, 2, 3, RetryBudget(20.0, 3)
    )


def test_panic_threshold_is_envoys_fifty_unless_said():
    outlier, _ = read_health(reader(outlier_detection={}))
    assert outlier.min_health_percent == 50
    outlier, _ = read_health(reader(outlier_detection={}, common_lb_config={"healthy_panic_threshold": {"value": 7}}))
    assert outlier.min_health_percent == 7


def test_local_failures_count_only_when_split():
    outlier, _ = read_health(reader(outlier_detection={"consecutive_local_origin_failure": 3}))
    assert outlier.consecutive_local_origin_failure == 0


def test_locality_weights_are_on_when_said():
    assert read_health(reader(common_lb_config={"locality_weighted_lb_config": {}})) == (None, True)


def test_zone_aware_routing_is_refused():
    with pytest.raises(DecodeError) as caught:
        read_health(reader(common_lb_config={"zone_aware_lb_config": {"min_cluster_size": 6}}))
    assert caught.value.field == "common_lb_config.zone_aware_lb_config.min_cluster_size"


def test_longer_base_than_max_ejection_is_evened_out():
    """Envoy: the default maximum is 300 s or the base, whichever is larger."""
    outlier, _ = read_health(reader(outlier_detection={"base_ejection_time": "400s"}))
    assert outlier.max_ejection_seconds == 400.0
