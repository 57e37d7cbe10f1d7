"""Services and slices → nat rules' input."""

from typing import Any

from mesh.sandbox.network import Backend, ServicePort
from mesh.sandbox.node.services import backends, host_forwards, service_ports

PORT = {"name": "http", "port": 80, "protocol": "TCP", "nodePort": 30080}
SERVICE: dict[str, Any] = {
    "metadata": {"namespace": "ns", "name": "web"},
    "spec": {"type": "LoadBalancer", "clusterIP": "198.19.1.1", "clusterIPs": ["198.19.1.1", "fd00::1"], "ports": [PORT]},
    "status": {"loadBalancer": {"ingress": [{"ip": "198.18.255.1"}]}},
}


def slice_of(*endpoints: tuple[str, dict[str, bool]], port: int = 8000) -> dict[str, Any]:
    return {
        "metadata": {"namespace": "ns", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": port, "protocol": "TCP"}],
        "endpoints": [{"addresses": [address], "conditions": conditions} for address, conditions in endpoints],
    }


def test_a_service_port_has_every_address_and_the_ready_endpoints() -> None:
    slices = [slice_of(("198.18.1.2", {"ready": True}), ("198.18.1.3", {"ready": False})), slice_of(("198.18.1.1", {}), port=9000)]
    assert service_ports([SERVICE], slices) == [
        ServicePort("ns/web:80/TCP", "tcp", ("198.19.1.1", "198.18.255.1"), 80, 30080, (Backend("198.18.1.1", 9000), Backend("198.18.1.2", 8000)))
    ]


def test_terminating_endpoints_serve_when_nobody_else_does() -> None:
    ending = slice_of(("198.18.1.2", {"ready": False, "serving": True, "terminating": True}), ("198.18.1.3", {"ready": False, "serving": False, "terminating": True}))
    assert backends([ending], PORT) == (Backend("198.18.1.2", 8000),)


def test_headless_and_external_services_have_no_rules() -> None:
    for spec in ({"clusterIP": "None"}, {"type": "ExternalName", "externalName": "x"}):
        assert service_ports([{"metadata": SERVICE["metadata"], "spec": {**spec, "ports": [PORT]}}], []) == []


def test_load_balancers_are_forwarded_from_the_host() -> None:
    assert host_forwards([SERVICE, {**SERVICE, "spec": {**SERVICE["spec"], "type": "ClusterIP"}}]) == {"ns/web": {"80": "198.19.1.1:80"}}
