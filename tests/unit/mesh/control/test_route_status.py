"""What each parent makes of a route."""

from __future__ import annotations

from mesh.model.origin import ObjectRef
from tests.support.world_status import cluster, short, statuses


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
