"""Names under which a service is called."""

from __future__ import annotations

from mesh.control.translate.registry import registry
from mesh.control.translate.vhosts import domains
from tests.support.world import Cluster

TEXT = """
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {clusterIP: 198.19.0.7, clusterIPs: [198.19.0.7, "fd00::7"], ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: peers, namespace: shop}
spec: {clusterIP: None, ports: [{name: http, port: 80}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: e}
spec: {hosts: ["*.example.com", api.example.org], ports: [{number: 80, name: http, protocol: HTTP}]}
"""


def names(host: str, namespace: str) -> list[str]:
    cluster = Cluster()
    cluster.apply(TEXT)
    service = registry(cluster.world()).services[host]
    found = domains(service, 80, namespace)
    assert found[1::2] == tuple(f"{name}:80" for name in found[::2])
    return list(found[::2])


def test_a_service_within_its_namespace() -> None:
    assert names("web.shop.svc.cluster.local", "shop") == [
        "web.shop.svc.cluster.local",
        "web.shop.svc.cluster.local.",
        "web.shop.svc",
        "web.shop",
        "web",
        "198.19.0.7",
        "[fd00::7]",
    ]


def test_the_short_name_belongs_to_the_namespace() -> None:
    assert "web" not in names("web.shop.svc.cluster.local", "other")


def test_pods_of_a_headless_service_have_names_too() -> None:
    assert "*.peers.shop.svc.cluster.local" in names("peers.shop.svc.cluster.local", "shop")
    assert "*.peers" in names("peers.shop.svc.cluster.local", "shop")


def test_external_hosts() -> None:
    assert names("*.example.com", "default") == ["*.example.com"]
    assert names("api.example.org", "default") == ["api.example.org", "api.example.org."]
