"""Story: the shop opens its door to the world, with either API and with both."""

from __future__ import annotations

from mesh.control.status import plan
from tests.support.world import INGRESS_GATEWAY, Cluster, bookinfo

PATHS = ["/productpage", "/static", "/login", "/logout", "/api/v1/products"]


def shop(*files: str) -> Cluster:
    cluster = Cluster()
    cluster.apply(INGRESS_GATEWAY)
    cluster.apply(bookinfo("platform/kube/bookinfo.yaml", *files))
    return cluster


def served(cluster: Cluster) -> list[tuple[str, str]]:
    """(path, the kind of object that says so) on the gateway's port 8080, in order."""
    return [
        (route.match.path.value, route.origin.kind if route.origin is not None else "")
        for config in cluster.gateway().routes.values()
        for vhost in config.virtual_hosts
        for route in vhost.routes
    ]


def test_istios_gateway() -> None:
    cluster = shop("networking/bookinfo-gateway.yaml")
    assert served(cluster) == [(path, "VirtualService") for path in PATHS]


def test_gateway_apis_gateway() -> None:
    cluster = shop("gateway-api/bookinfo-gateway.yaml")
    assert sorted(path for path, _ in served(cluster)) == sorted(PATHS)
    assert {kind for _, kind in served(cluster)} == {"HTTPRoute"}


def test_both_at_once_prefer_gateway_api() -> None:
    cluster = shop("networking/bookinfo-gateway.yaml", "gateway-api/bookinfo-gateway.yaml")
    kinds = [kind for _, kind in served(cluster)]
    assert kinds == ["HTTPRoute"] * 5 + ["VirtualService"] * 5


def test_rules_may_come_before_their_gateway() -> None:
    gateway, virtual_service = bookinfo("networking/bookinfo-gateway.yaml")
    cluster = shop()
    cluster.apply([virtual_service])
    assert served(cluster) == []
    assert "ReferencedResourceNotFound" in {problem.reason for problem in cluster.graph().problems()}
    cluster.apply([gateway])
    assert len(served(cluster)) == 5


def test_closing_the_door() -> None:
    cluster = shop("networking/bookinfo-gateway.yaml")
    cluster.delete("Gateway", "bookinfo-gateway")
    assert cluster.gateway().listeners == {}


def test_the_sidecars_know_nothing_of_gateway_rules() -> None:
    cluster = shop("networking/bookinfo-gateway.yaml")
    vhosts = cluster.sidecar("reviews").routes["9080"].virtual_hosts
    assert {route.name for vhost in vhosts for route in vhost.routes} == {"default", "allow_any"}


def test_a_stranger_may_not_hang_routes_on_the_gateway() -> None:
    cluster = shop("gateway-api/bookinfo-gateway.yaml")
    cluster.apply(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: stranger, namespace: elsewhere}\n"
        "spec: {parentRefs: [{name: bookinfo-gateway, namespace: default}], rules: [{backendRefs: [{name: x, port: 80}]}]}"
    )
    assert len(served(cluster)) == 5
    patches = {p.meta.name: p.status for p in plan(cluster.graph(), lambda _ref: {}, {}, "now")}
    (parent,) = patches["stranger"]["parents"]
    accepted = next(c for c in parent["conditions"] if c["type"] == "Accepted")
    assert (accepted["status"], accepted["reason"]) == ("False", "NotAllowedByListeners")
