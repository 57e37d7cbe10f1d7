"""A VirtualService hands a part of its requests to another one's rules."""

from __future__ import annotations

import pytest

from mesh.control.kube.rules import RuleMatch, Where
from mesh.control.translate.delegation import narrowed
from mesh.model.match import HeaderMatch, PathKind, PathMatch, RouteMatch, StringKind, StringMatch
from mesh.model.route import ForwardAction, Route
from tests.support.world import INGRESS_GATEWAY, Cluster, bookinfo

ROOT = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: root}
spec:
  hosts: ["*"]
  gateways: [bookinfo-gateway]
  http:
  - {match: [{uri: {prefix: /reviews}}], timeout: 5s, delegate: {name: reviews, namespace: team}}
  - {route: [{destination: {host: productpage, port: {number: 9080}}}]}
"""
DELEGATE = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews, namespace: team}
spec:
  http:
  - {match: [{uri: {prefix: /reviews/v2}}], route: [{destination: {host: reviews.default.svc.cluster.local, port: {number: 9080}}}]}
  - {match: [{uri: {prefix: /elsewhere}}], route: [{destination: {host: details.default.svc.cluster.local, port: {number: 9080}}}]}
  - {timeout: 1s, route: [{destination: {host: ratings.default.svc.cluster.local, port: {number: 9080}}}]}
"""


def cluster(*texts: str) -> Cluster:
    made = Cluster()
    made.apply(INGRESS_GATEWAY)
    made.apply(bookinfo("platform/kube/bookinfo.yaml"))
    made.apply(bookinfo("networking/bookinfo-gateway.yaml")[:1])
    for text in texts:
        made.apply(text)
    return made


def shown(route: Route) -> tuple[str, str, float, str]:
    assert isinstance(route.action, ForwardAction)
    target = route.action.clusters[0].name.split("|")[3].split(".")[0]
    return (route.match.path.value, target, route.action.timeout_seconds, str(route.origin))


def test_the_delegates_rules_take_the_rules_place_within_its_match() -> None:
    made = cluster(ROOT, DELEGATE)
    (vhost,) = made.gateway().routes["http.8080"].virtual_hosts
    assert [shown(route) for route in vhost.routes] == [
        ("/reviews/v2", "reviews", 5.0, "VirtualService/team/reviews http[0]"),
        ("/reviews", "ratings", 1.0, "VirtualService/team/reviews http[2]"),
        ("/", "productpage", 0.0, "VirtualService/default/root http[1]"),
    ]
    problems = made.graph().bindings.problems
    assert [(p.ref.name, p.field, p.reason) for p in problems] == [
        ("reviews", "spec.http[1].match", "DelegateConflict")
    ]


def test_a_delegate_alone_has_no_effect_and_says_so() -> None:
    assert [p.reason for p in cluster(DELEGATE).graph().bindings.problems] == ["Unreferenced"]


@pytest.mark.parametrize(
    ("delegate", "reason"),
    [
        ("", "ReferencedResourceNotFound"),
        (DELEGATE.replace("spec:\n", "spec:\n  hosts: [a.b]\n"), "InvalidDelegate"),
        (DELEGATE.replace("spec:\n", "spec:\n  exportTo: ['.']\n"), "InvalidDelegate"),
    ],
)
def test_bad_delegates_cost_their_rule_only(delegate: str, reason: str) -> None:
    made = cluster(*filter(None, (ROOT, delegate)))
    (vhost,) = made.gateway().routes["http.8080"].virtual_hosts
    assert [shown(route)[1] for route in vhost.routes] == ["productpage"]
    (problem,) = [p for p in made.graph().bindings.problems if p.reason == reason]
    assert (problem.ref.name, problem.field) == ("root", "spec.http[0].delegate")


def path(kind: PathKind, value: str) -> RuleMatch:
    return RuleMatch(RouteMatch(PathMatch(kind, value)))


def header(value: str) -> RuleMatch:
    return RuleMatch(RouteMatch(headers=(HeaderMatch("a", StringMatch(StringKind.EXACT, value)),)))


@pytest.mark.parametrize(
    ("outer", "inner", "expected"),
    [
        (RuleMatch(), path(PathKind.EXACT, "/a"), path(PathKind.EXACT, "/a")),
        (path(PathKind.PREFIX, "/a"), RuleMatch(), path(PathKind.PREFIX, "/a")),
        (path(PathKind.PREFIX, "/a"), path(PathKind.EXACT, "/a/b"), path(PathKind.EXACT, "/a/b")),
        (path(PathKind.PREFIX, "/a"), path(PathKind.PREFIX, "/b"), None),
        (path(PathKind.EXACT, "/a"), path(PathKind.PREFIX, "/a"), None),
        (header("x"), header("x"), header("x")),
        (header("x"), header("y"), None),
        (RuleMatch(where=Where(port=80)), RuleMatch(where=Where(port=81)), None),
        (RuleMatch(where=Where(source_labels={"a": "b"})), RuleMatch(where=Where(source_labels={"a": "c"})), None),
        (RuleMatch(where=Where(frozenset({"mesh"}))), RuleMatch(where=Where(frozenset({"n/g"}))), None),
    ],
)
def test_a_delegate_can_only_narrow(outer: RuleMatch, inner: RuleMatch, expected: RuleMatch | None) -> None:
    assert narrowed(outer, inner) == expected
