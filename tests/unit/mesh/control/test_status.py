"""What every object's status should say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mesh.control.status import plan
from mesh.model.origin import ObjectRef
from tests.support.world import INGRESS_GATEWAY, Cluster, bookinfo

NOW = "2026-01-01T00:00:00Z"


def cluster(*files: str) -> Cluster:
    made = Cluster()
    made.apply(INGRESS_GATEWAY)
    made.apply(bookinfo("platform/kube/bookinfo.yaml", "platform/kube/bookinfo-versions.yaml", *files))
    return made


def statuses(
    made: Cluster, old: Mapping[ObjectRef, Any] | None = None, nacks: Mapping[ObjectRef, str] | None = None
) -> dict[str, Any]:
    patches = plan(made.graph(), lambda ref: (old or {}).get(ref, {}), nacks or {}, NOW)
    return {f"{patch.kind}/{patch.meta.name}": patch.status for patch in patches}


def short(conditions: list[dict[str, Any]]) -> dict[str, tuple[str, str]]:
    return {c["type"]: (c["status"], c["reason"]) for c in conditions}


REVIEWS = "virtualservices.networking.istio.io/reviews"


def test_a_good_virtual_service() -> None:
    made = cluster("networking/destination-rule-all.yaml", "networking/virtual-service-reviews-90-10.yaml")
    status = statuses(made)[REVIEWS]
    assert short(status["conditions"]) == {
        "Accepted": ("True", "Accepted"),
        "ResolvedRefs": ("True", "ResolvedRefs"),
        "Programmed": ("True", "Programmed"),
    }
    assert status["validationMessages"] == []


def test_a_dangling_subset_is_a_reference() -> None:
    status = statuses(cluster("networking/virtual-service-reviews-90-10.yaml"))[REVIEWS]
    assert short(status["conditions"])["ResolvedRefs"] == ("False", "ReferencedResourceNotFound")
    assert short(status["conditions"])["Accepted"] == ("True", "Accepted")
    assert status["validationMessages"][0]["field"] == "spec.http[0].route[0].destination.subset"


def test_mutual_tls_is_nothing_to_remark_on() -> None:
    found = statuses(cluster("networking/destination-rule-all-mtls.yaml"))
    for name in ("productpage", "details"):
        status = found[f"destinationrules.networking.istio.io/{name}"]
        assert short(status["conditions"])["Accepted"] == ("True", "Accepted")
        assert [message["type"]["name"] for message in status["validationMessages"] if "tls" in message["field"].lower()] == []


def test_a_sidecar_that_limits_hosts_is_accepted() -> None:
    made = cluster()
    made.apply("apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: default}\nspec: {egress: [{hosts: ['./*']}]}")
    assert short(statuses(made)["sidecars.networking.istio.io/default"]["conditions"])["Accepted"] == ("True", "Accepted")


UNENFORCED = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: deny-all, generation: 2}
spec: {}
---
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: mesh-default}
spec: {accessLogging: [{disabled: true}]}
"""


def test_what_has_no_effect_says_so() -> None:
    made = cluster()
    made.apply(UNENFORCED)
    found = statuses(made)
    policy = found["authorizationpolicies.security.istio.io/deny-all"]
    assert short(policy["conditions"]) == {"Accepted": ("False", "NotSupported")}
    assert "NetworkPolicies" in policy["conditions"][0]["message"]
    assert policy["validationMessages"][0]["level"] == "ERROR"
    assert policy["observedGeneration"] == 2
    assert short(found["telemetries.telemetry.istio.io/mesh-default"]["conditions"]) == {"Accepted": ("False", "NotSupported")}


def test_peer_authentication_is_accepted_and_what_is_wrong_with_it_is_told() -> None:
    made = cluster()
    head = "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: %s}\nspec: "
    made.apply(head % "strict" + "{mtls: {mode: STRICT}}")
    made.apply(head % "late" + "{mtls: {mode: DISABLE}}")
    made.apply(head % "odd" + "{selector: {matchLabels: {app: web}}, mtls: {mode: strict}}")
    found = {name.rpartition("/")[2]: s for name, s in statuses(made).items() if name.startswith("peerauthentications.")}
    assert short(found["strict"]["conditions"])["Accepted"] == ("True", "Accepted")
    assert short(found["odd"]["conditions"])["Accepted"] == ("False", "UnsupportedValue")
    (message,) = found["late"]["validationMessages"]
    assert (message["type"]["name"], message["level"]) == ("Conflict", "WARNING")


def test_a_refusal_by_a_proxy_reaches_the_object() -> None:
    made = cluster("networking/destination-rule-all.yaml", "networking/virtual-service-reviews-90-10.yaml")
    ref = ObjectRef("VirtualService", "default", "reviews", "networking.istio.io")
    status = statuses(made, nacks={ref: "bad regex"})[REVIEWS]
    assert short(status["conditions"])["Programmed"] == ("False", "ProxyRejected")


def test_what_is_already_so_is_not_written() -> None:
    made = cluster("networking/destination-rule-all.yaml", "gateway-api/route-all-v1.yaml", "gateway-api/bookinfo-gateway.yaml")
    graph = made.graph()
    first = plan(graph, lambda _ref: {}, {}, NOW)
    written = {patch.meta.ref: patch.status for patch in first}
    assert plan(graph, lambda ref: written[ref], {}, "2026-02-02T00:00:00Z") == []


def test_a_route_with_a_service_parent() -> None:
    status = statuses(cluster("gateway-api/route-reviews-90-10.yaml"))["httproutes.gateway.networking.k8s.io/reviews"]
    (parent,) = status["parents"]
    assert parent["parentRef"] == {"group": "", "kind": "Service", "name": "reviews", "port": 9080}
    assert parent["controllerName"] == "triomesh.io/gateway-controller"
    assert short(parent["conditions"]) == {"Accepted": ("True", "Accepted"), "ResolvedRefs": ("True", "ResolvedRefs")}


ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r, generation: 3}
spec:
  parentRefs: [{group: "", kind: Service, name: %s}]
  rules: [%s]
"""
BACKEND = "{backendRefs: [{name: reviews-v1, port: 9080}]}"


def route_conditions(parent: str = "reviews", rules: str = BACKEND) -> dict[str, tuple[str, str]]:
    made = cluster()
    made.apply(ROUTE % (parent, rules))
    (entry,) = statuses(made)["httproutes.gateway.networking.k8s.io/r"]["parents"]
    assert {condition["observedGeneration"] for condition in entry["conditions"]} == {3}
    return short(entry["conditions"])


def test_route_verdicts() -> None:
    bad = "{filters: [{type: ExtensionRef}], backendRefs: [{name: reviews-v1, port: 9080}]}"
    assert route_conditions(parent="nobody")["Accepted"] == ("False", "NoMatchingParent")
    assert route_conditions(rules="{backendRefs: [{name: nobody, port: 80}]}")["ResolvedRefs"] == ("False", "BackendNotFound")
    kind = "{backendRefs: [{group: x, kind: Bucket, name: b, port: 80}]}"
    assert route_conditions(rules=kind)["ResolvedRefs"] == ("False", "InvalidKind")
    assert route_conditions(rules=bad)["Accepted"] == ("False", "UnsupportedValue")
    partly = route_conditions(rules=f"{bad}, {BACKEND}")
    assert (partly["Accepted"], partly["PartiallyInvalid"]) == (("True", "Accepted"), ("True", "UnsupportedValue"))


def test_other_controllers_entries_are_kept() -> None:
    made = cluster("gateway-api/route-reviews-v1.yaml")
    foreign = {"parentRef": {"name": "x"}, "controllerName": "example.com/other", "conditions": []}
    ref = ObjectRef("HTTPRoute", "default", "reviews", "gateway.networking.k8s.io")
    status = statuses(made, {ref: {"parents": [foreign]}})["httproutes.gateway.networking.k8s.io/reviews"]
    assert [entry["controllerName"] for entry in status["parents"]] == ["example.com/other", "triomesh.io/gateway-controller"]


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
