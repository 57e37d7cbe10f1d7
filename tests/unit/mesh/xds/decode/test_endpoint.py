import pytest

from mesh.model.addr import Address
from mesh.model.endpoint import Endpoint, Health, Workload
from mesh.xds.kind import Kind
from tests.support.xds_json import from_json, refused


def assignment(endpoint: dict, **group) -> dict:
    return {"cluster_name": "c", "endpoints": [{"lb_endpoints": [endpoint], **group}]}


def at(host: str = "10.0.0.1", **fields) -> dict:
    return {"endpoint": {"address": {"socket_address": {"address": host, "port_value": 80}}}, **fields}


def one(endpoint: dict) -> Endpoint:
    return from_json(Kind.ENDPOINT, assignment(endpoint)).endpoints()[0]


def test_bare_endpoint_is_healthy_and_outside_the_mesh():
    assert one(at()) == Endpoint(Address("10.0.0.1", 80))


def test_istios_metadata_makes_it_meshed_and_named():
    metadata = {
        "filter_metadata": {
            "istio": {"workload": "reviews-v1;default;reviews;v1;Kubernetes"},
            "envoy.transport_socket_match": {"tlsMode": "istio"},
        }
    }
    endpoint = one(at(metadata=metadata))
    assert endpoint.workload == Workload("reviews-v1", "default", "reviews", "v1", "Kubernetes")
    assert (endpoint.is_meshed, endpoint.tls_mode) == (True, "istio")


@pytest.mark.parametrize("text", ["", "alone", 7])
def test_odd_workloads_are_no_reason_to_refuse(text):
    assert one(at(metadata={"filter_metadata": {"istio": {"workload": text}}})).workload is None


@pytest.mark.parametrize(
    ("status", "health"), [("UNKNOWN", Health.HEALTHY), ("TIMEOUT", Health.UNHEALTHY), ("DRAINING", Health.DRAINING)]
)
def test_health(status, health):
    assert one(at(health_status=status)).health is health


@pytest.mark.parametrize(
    ("document", "field"),
    [
        (assignment({"endpoint": {}}), "endpoints[0].lb_endpoints[0].endpoint.address"),
        (
            assignment({"endpoint": {"address": {"pipe": {"path": "/x"}}}}),
            "endpoints[0].lb_endpoints[0].endpoint.address.pipe",
        ),
        (assignment(at(health_status="DEGRADED")), "endpoints[0].lb_endpoints[0].health_status"),
        (assignment(at(load_balancing_weight=0)), "endpoints[0].lb_endpoints[0].load_balancing_weight"),
        ({"cluster_name": "c", "policy": {"drop_overloads": [{}]}}, "policy.drop_overloads"),
        ({"cluster_name": "c", "policy": {"overprovisioning_factor": 200}}, "policy.overprovisioning_factor"),
        (
            {"cluster_name": "c", "endpoints": [{"leds_cluster_locality_config": {}}]},
            "endpoints[0].leds_cluster_locality_config",
        ),
    ],
)
def test_what_would_change_behaviour_is_refused(document, field):
    assert refused(Kind.ENDPOINT, document) == field
