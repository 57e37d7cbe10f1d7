from __future__ import annotations

import ipaddress
import random
from typing import Any

from mesh.sandbox.apiserver import services


def service(**spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "s"}, "spec": {"type": "ClusterIP", "ports": [{"port": 80, "protocol": "TCP"}], **spec}}


def allocate(made: dict[str, Any], *others: dict[str, Any]) -> list[str]:
    return [f"{c.field}: {c.message}" for c in services.allocate(made, list(others), random.Random(1))]


def test_address_is_free_and_outside_of_the_static_band() -> None:
    others: list[dict[str, Any]] = []
    for _ in range(300):
        made = service()
        assert allocate(made, *others) == []
        others.append(made)
    found = {ipaddress.ip_address(o["spec"]["clusterIP"]) for o in others}
    assert len(found) == 300 and all(a in services.NETWORK and int(a) - int(services.NETWORK[0]) >= services.STATIC_BAND for a in found)


def test_asked_addresses_are_checked() -> None:
    taken = service(clusterIP="198.19.0.10")
    assert allocate(taken) == [] and taken["spec"]["clusterIPs"] == ["198.19.0.10"]
    assert "already allocated" in allocate(service(clusterIP="198.19.0.10"), taken)[0]
    assert "not in the valid range" in allocate(service(clusterIP="10.0.0.1"))[0]
    assert "must be a valid IP" in allocate(service(clusterIP="x"))[0]


def test_headless_external_name_and_families() -> None:
    headless = service(clusterIP="None")
    assert allocate(headless) == [] and headless["spec"]["clusterIPs"] == ["None"]
    external = service(type="ExternalName", externalName="a.b")
    assert allocate(external) == [] and "clusterIP" not in external["spec"]
    prefer = service(ipFamilyPolicy="PreferDualStack")
    assert allocate(prefer) == [] and prefer["spec"]["ipFamilies"] == ["IPv4"]
    assert allocate(service(ipFamilyPolicy="RequireDualStack"))[0].startswith("spec.ipFamilyPolicy")


def test_node_ports() -> None:
    made = service(type="NodePort", ports=[{"port": 80, "protocol": "TCP", "nodePort": 30080}, {"port": 81, "protocol": "TCP"}])
    assert allocate(made) == [] and made["spec"]["ports"][1]["nodePort"] in services.NODE_PORTS
    assert "already allocated" in allocate(service(type="NodePort", ports=[{"port": 80, "protocol": "TCP", "nodePort": 30080}]), made)[0]
    assert "30000-32767" in allocate(service(type="NodePort", ports=[{"port": 80, "protocol": "TCP", "nodePort": 80}]))[0]


def test_update_carries_over_what_was_chosen() -> None:
    before = service(type="NodePort", clusterIP="198.19.1.1", clusterIPs=["198.19.1.1"], ports=[{"port": 80, "protocol": "TCP", "nodePort": 30001}])
    after = service(type="NodePort")
    services.carry_over(after, before)
    assert after["spec"]["clusterIP"] == "198.19.1.1" and after["spec"]["ports"][0]["nodePort"] == 30001
    plain = service(ports=[{"port": 80, "protocol": "TCP", "nodePort": 30001}])
    services.carry_over(plain, before)
    assert "nodePort" not in plain["spec"]["ports"][0]
