from dataclasses import replace

import pytest

from mesh.model.addr import Address
from mesh.model.cluster import Cluster, Discovery
from mesh.model.endpoint import Endpoint, Health, LoadAssignment, LocalityEndpoints
from mesh.proxy.observe.collector import target_of


def assigned(*hosts: str) -> LoadAssignment:
    return LoadAssignment("c", (LocalityEndpoints(tuple(Endpoint(Address(host, 4317)) for host in hosts)),))


@pytest.mark.parametrize(
    ("hosts", "target"),
    [
        (("10.0.0.1", "10.0.0.2"), "ipv4:10.0.0.1:4317,10.0.0.2:4317"),
        (("fd00::1", "10.0.0.2"), "ipv6:[fd00::1]:4317"),
        (("otel.example", "10.0.0.2"), "dns:///otel.example:4317"),
        ((), ""),
    ],
)
def test_endpoints_in_grpcs_words(hosts: tuple[str, ...], target: str) -> None:
    assert target_of(Cluster("c", Discovery.STATIC, assignment=assigned(*hosts)), None) == target
    assert target_of(Cluster("c", Discovery.EDS), assigned(*hosts)) == target


def test_where_there_is_nothing_to_send_to() -> None:
    dead = LoadAssignment("c", (LocalityEndpoints((replace(Endpoint(Address("10.0.0.1", 1)), health=Health.UNHEALTHY),)),))
    assert target_of(None, None) == target_of(Cluster("c", Discovery.EDS), None) == ""
    assert target_of(Cluster("c", Discovery.EDS), dead) == target_of(Cluster("c", Discovery.ORIGINAL_DST), None) == ""
