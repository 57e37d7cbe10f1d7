from dataclasses import replace

import pytest

from mesh.model.addr import Address
from mesh.model.endpoint import Endpoint, LoadAssignment, LocalityEndpoints, Workload
from tests.support.xds_json import to_json, unencodable

ONE = Endpoint(Address("127.0.0.1", 80), weight=3, workload=Workload("w", "ns", "canon", "v1", "k8s"))


def assignment(*endpoints: Endpoint, **group) -> LoadAssignment:
    return LoadAssignment("c", (LocalityEndpoints(endpoints, **group),))


def metadata(endpoint: Endpoint) -> dict:
    (entry,) = to_json(assignment(endpoint))["endpoints"][0]["lb_endpoints"]
    return entry["metadata"]["filter_metadata"]


def test_workload_travels_as_istio_writes_it():
    assert metadata(ONE) == {"istio": {"workload": "w;ns;canon;v1;k8s"}}


def test_meshed_endpoint_without_tls_says_so_in_our_own_metadata():
    assert metadata(replace(ONE, is_meshed=True))["triomesh.io"] == {"meshed": True}


def test_mesh_tls_says_it_all():
    told = metadata(replace(ONE, is_meshed=True, tls_mode="istio"))
    assert told["envoy.transport_socket_match"] == {"tlsMode": "istio"}
    assert "triomesh.io" not in told


def test_locality_and_weight_are_always_there_for_grpc():
    (group,) = to_json(assignment(ONE, ONE))["endpoints"]
    assert (group["locality"], group["load_balancing_weight"]) == ({}, 6)


@pytest.mark.parametrize(
    ("value", "field"),
    [
        (assignment(replace(ONE, weight=0)), "localities[0].endpoints[0].weight"),
        (assignment(ONE, replace(ONE, address=Address("", 1))), "localities[0].endpoints[1].address"),
        (assignment(ONE, priority=129), "localities[0].priority"),
        (assignment(replace(ONE, workload=Workload("a;b", "ns"))), "localities[0].endpoints[0].workload"),
    ],
)
def test_what_envoy_would_refuse_is_refused_first(value, field):
    assert unencodable(value) == field
