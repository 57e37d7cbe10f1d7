"""Kubernetes' own kinds."""

from __future__ import annotations

from typing import Any

import pytest

from mesh.control.kube import parse_core
from mesh.control.kube.objects import PortProtocol, ServicePort, SliceEndpoint
from mesh.model.endpoint import Locality


@pytest.mark.parametrize(
    ("name", "app_protocol", "number", "expected"),
    [
        ("http", "", 9080, PortProtocol.HTTP),
        ("http-alt", "", 8080, PortProtocol.HTTP),
        ("http2", "", 1, PortProtocol.HTTP2),
        ("grpc", "", 1, PortProtocol.HTTP2),
        ("grpc-web", "", 1, PortProtocol.HTTP),
        ("HTTPS-x", "", 443, PortProtocol.TLS),
        ("mongo", "", 27017, PortProtocol.TCP),
        ("tcp", "", 3306, PortProtocol.TCP),
        ("", "", 3306, PortProtocol.TCP),
        ("web", "", 80, PortProtocol.AUTO),
        ("httpx", "", 80, PortProtocol.AUTO),
        ("", "", 80, PortProtocol.AUTO),
        ("tcp", "http", 1, PortProtocol.HTTP),
        ("http", "kubernetes.io/h2c", 1, PortProtocol.HTTP2),
        ("http", "kubernetes.io/ws", 1, PortProtocol.HTTP),
        ("http", "example.com/own", 1, PortProtocol.TCP),
        ("http", "unknown", 1, PortProtocol.AUTO),
    ],
)
def test_protocol_declaration(name: str, app_protocol: str, number: int, expected: PortProtocol) -> None:
    assert parse_core.protocol_of(name, app_protocol, number) is expected


def test_udp_is_not_ours() -> None:
    assert parse_core.protocol_of("http", "http", 80, "UDP") is PortProtocol.UDP


def service(**spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "s", "namespace": "n"}, "spec": spec}


def test_service_ports_and_addresses() -> None:
    parsed = parse_core.service(
        service(
            clusterIPs=["198.19.0.1", "fd00::1"],
            clusterIP="198.19.0.1",
            selector={"app": "s"},
            ports=[
                {"name": "http", "port": 80, "targetPort": "web"},
                {"name": "tcp-x", "port": 81, "targetPort": "8081"},
                {"name": "x", "port": 82},
            ],
        )
    )
    assert parsed.cluster_ips == ("198.19.0.1", "fd00::1")
    assert parsed.ports == (
        ServicePort(80, "http", PortProtocol.HTTP, "web"),
        ServicePort(81, "tcp-x", PortProtocol.TCP, 8081),
        ServicePort(82, "x", PortProtocol.AUTO, 82),
    )


def test_headless_and_external_services_have_no_cluster_ip() -> None:
    headless = parse_core.service(service(clusterIP="None", ports=[]))
    external = parse_core.service(service(type="ExternalName", externalName="a.example"))
    assert (headless.cluster_ips, headless.is_headless) == ((), True)
    assert (external.cluster_ips, external.is_headless, external.external_name) == ((), False, "a.example")


def test_a_bad_port_costs_itself_only() -> None:
    parsed = parse_core.service(service(ports=[{"port": "x"}, {"name": "http", "port": 80}]))
    assert [port.number for port in parsed.ports] == [80]
    assert [problem.field for problem in parsed.problems] == ["spec.ports[0].port"]


def test_slice_readiness_defaults_to_ready() -> None:
    parsed = parse_core.endpoint_slice(
        {
            "metadata": {"name": "s-1", "namespace": "n", "labels": {"kubernetes.io/service-name": "s"}},
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": 80}, {"name": "dns", "port": 53, "protocol": "UDP"}],
            "endpoints": [
                {
                    "addresses": ["198.18.0.1"],
                    "targetRef": {"kind": "Pod", "name": "p", "uid": "u"},
                    "nodeName": "node",
                },
                {"addresses": ["198.18.0.2"], "conditions": {"ready": False}},
            ],
        }
    )
    assert parsed.service == "s"
    assert parsed.ports == (("http", 80),)
    assert parsed.endpoints == (
        SliceEndpoint(("198.18.0.1",), True, ("p", "u"), "node"),
        SliceEndpoint(("198.18.0.2",), False),
    )


@pytest.mark.parametrize(
    ("metadata", "workload"),
    [
        ({"name": "p"}, "p"),
        (
            {
                "name": "reviews-v1-5b8-x",
                "labels": {"pod-template-hash": "5b8"},
                "ownerReferences": [{"kind": "ReplicaSet", "name": "reviews-v1-5b8", "controller": True}],
            },
            "reviews-v1",
        ),
        (
            {"name": "q", "ownerReferences": [{"kind": "ReplicaSet", "name": "web-7d4b9c6f5", "controller": True}]},
            "web",
        ),
        ({"name": "db-0", "ownerReferences": [{"kind": "StatefulSet", "name": "db", "controller": True}]}, "db"),
        ({"name": "r", "ownerReferences": [{"kind": "ReplicaSet", "name": "other"}]}, "r"),
    ],
)
def test_workload_is_the_name_users_know(metadata: dict[str, Any], workload: str) -> None:
    assert parse_core.pod({"metadata": metadata}).workload == workload


def test_pod_state() -> None:
    pod = parse_core.pod(
        {
            "metadata": {"name": "p", "deletionTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {
                "initContainers": [{"name": "triomesh-proxy", "restartPolicy": "Always"}],
                "containers": [{"name": "app", "ports": [{"name": "web", "containerPort": 8080}]}],
            },
            "status": {"phase": "Succeeded", "podIP": "198.18.0.1"},
        }
    )
    assert (pod.meta.is_deleting, pod.is_over, pod.is_meshed, pod.ips) == (True, True, True, ("198.18.0.1",))
    assert pod.ports == {"web": 8080}


def test_node_locality() -> None:
    labels = {"topology.kubernetes.io/region": "r", "topology.kubernetes.io/zone": "z"}
    assert parse_core.node({"metadata": {"name": "n", "labels": labels}}).locality == Locality("r", "z")


def test_secret_data_is_decoded_and_hidden() -> None:
    secret = parse_core.secret({"metadata": {"name": "s"}, "data": {"tls.key": "c2VjcmV0", "tls.crt": "%", "other": "%"}})
    assert secret.data == {"tls.key": b"secret"}
    assert [problem.field for problem in secret.problems] == ["data[tls.crt]"]
    assert "secret" not in repr(secret).replace("KubeSecret", "").replace("kind='Secret'", "")


def test_a_crd_counts_once_established() -> None:
    item: dict[str, Any] = {
        "metadata": {"name": "virtualservices.networking.istio.io"},
        "spec": {
            "group": "networking.istio.io",
            "names": {"plural": "virtualservices"},
            "versions": [{"name": "v1", "served": True}, {"name": "v1alpha3", "served": False}],
        },
    }
    assert parse_core.custom_resource(item).versions == ()
    item["status"] = {"conditions": [{"type": "Established", "status": "True"}]}
    assert parse_core.custom_resource(item).versions == ("v1",)
