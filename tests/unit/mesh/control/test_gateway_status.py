"""GatewayClasses, Gateways and their listeners."""

from __future__ import annotations

from tests.support.world import Cluster, bookinfo
from tests.support.world_status import cluster, short, statuses


def test_a_gateway_has_addresses_and_attached_routes() -> None:
    status = statuses(cluster("gateway-api/bookinfo-gateway.yaml"))["gateways.gateway.networking.k8s.io/bookinfo-gateway"]
    assert status["addresses"] == [{"type": "IPAddress", "value": "198.19.9.9"}]
    assert short(status["conditions"]) == {"Accepted": ("True", "Accepted"), "Programmed": ("True", "Programmed")}
    (listener,) = status["listeners"]
    assert (listener["name"], listener["attachedRoutes"]) == ("http", 1)
    assert [kind["kind"] for kind in listener["supportedKinds"]] == ["HTTPRoute", "GRPCRoute"]


def test_a_gateway_without_pods_is_not_programmed() -> None:
    made = Cluster()
    made.apply(bookinfo("gateway-api/bookinfo-gateway.yaml"))
    status = statuses(made)["gateways.gateway.networking.k8s.io/bookinfo-gateway"]
    assert short(status["conditions"])["Programmed"] == ("False", "AddressNotAssigned")


def test_bad_listeners_say_why() -> None:
    made = cluster()
    made.apply(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: g}\nspec: {gatewayClassName: triomesh, listeners: ["
        "{name: udp, port: 53, protocol: UDP}, {name: tls, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: nope}]}}, "
        "{name: kinds, port: 80, protocol: HTTP, allowedRoutes: {kinds: [{kind: UDPRoute}]}}]}"
    )
    listeners = statuses(made)["gateways.gateway.networking.k8s.io/g"]["listeners"]
    found = {listener["name"]: short(listener["conditions"]) for listener in listeners}
    assert found["udp"]["Accepted"] == ("False", "UnsupportedProtocol")
    assert found["tls"]["ResolvedRefs"] == ("False", "InvalidCertificateRef")
    assert found["kinds"]["ResolvedRefs"] == ("False", "InvalidRouteKinds")


def test_our_gateway_classes_are_accepted() -> None:
    made = cluster()
    made.apply(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: {name: triomesh, namespace: ''}\n"
        "spec: {controllerName: triomesh.io/gateway-controller}"
    )
    status = statuses(made)["gatewayclasses.gateway.networking.k8s.io/triomesh"]
    assert short(status["conditions"]) == {"Accepted": ("True", "Accepted")}
