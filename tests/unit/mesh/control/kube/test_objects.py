"""Parsed kinds."""

from __future__ import annotations

from mesh.control.kube.objects import Meta, PortProtocol, StaticEndpoint
from mesh.model.addr import Address
from mesh.model.origin import ObjectRef, Origin


def test_age_then_name_decides() -> None:
    old = Meta("VirtualService", "z", "z", created="2026-01-01T00:00:00Z")
    young = Meta("VirtualService", "a", "a", created="2026-01-01T00:00:01Z")
    same_age = Meta("VirtualService", "b", "a", created="2026-01-01T00:00:01Z")
    assert sorted([same_age, young, old], key=lambda meta: meta.age_order) == [old, young, same_age]


def test_references() -> None:
    meta = Meta("Gateway", "ns", "g", group="networking.istio.io")
    assert meta.ref == ObjectRef("Gateway", "ns", "g", "networking.istio.io")
    assert meta.origin("servers[0]") == Origin("Gateway", "ns", "g", "servers[0]")


def test_a_new_resource_version_alone_is_the_same_object() -> None:
    assert Meta("Pod", "n", "p", resource_version="1") == Meta("Pod", "n", "p", resource_version="2")


def test_http_protocols() -> None:
    assert [protocol for protocol in PortProtocol if protocol.is_http] == [PortProtocol.HTTP, PortProtocol.HTTP2]


def test_an_endpoints_own_port_wins() -> None:
    endpoint = StaticEndpoint("198.18.0.1", {"http": 8080})
    assert endpoint.address("http", 80) == Address("198.18.0.1", 8080)
    assert endpoint.address("other", 80) == Address("198.18.0.1", 80)
