"""Addresses of LoadBalancer Services."""

from typing import Any

from mesh.sandbox.controllers.loadbalancer import address, plan
from mesh.sandbox.controllers.plan import Patch


def service(name: str, kind: str = "LoadBalancer", ip: str | None = None, **spec: Any) -> dict[str, Any]:
    status = {"loadBalancer": {"ingress": [{"ip": ip}]}} if ip else {}
    return {"metadata": {"name": name, "namespace": "ns"}, "spec": {"type": kind, **spec}, "status": status}


def given(found: dict[str, Any], *others: dict[str, Any]) -> list[Any]:
    return [a.body["status"]["loadBalancer"]["ingress"] for a in plan(found, others).actions if isinstance(a, Patch)]


def test_each_gets_an_address_of_its_own() -> None:
    assert given(service("a"), service("b", ip="198.18.255.1")) == [[{"ip": "198.18.255.2", "ipMode": "VIP"}]]


def test_who_has_one_keeps_it_and_who_changes_loses_it() -> None:
    assert given(service("a", ip="198.18.255.1")) == []
    assert given(service("a", kind="ClusterIP", ip="198.18.255.1")) == [None]
    assert address(service("a")) is None


def test_other_classes_are_others_business() -> None:
    assert given(service("a", loadBalancerClass="example.com/x")) == []
