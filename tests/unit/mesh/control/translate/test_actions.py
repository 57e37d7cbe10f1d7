"""Rules become routes."""

from __future__ import annotations

import pytest

from mesh.control.kube.objects import Meta
from mesh.control.kube.parse_retry import DEFAULT_RETRY
from mesh.control.kube.rules import Backend, HttpRule, RuleMatch, Where
from mesh.control.translate.actions import Client, Names, applies, backend_problems, compiled, is_catch_all
from mesh.control.translate.policies import Policies
from mesh.control.translate.registry import Registry
from mesh.model.match import HeaderMatch, PathKind, PathMatch, RouteMatch
from mesh.model.route import DirectResponse, ForwardAction, PrefixRewrite, RetryPolicy, WeightedCluster
from tests.support.world import Cluster, bookinfo

VS = Meta("VirtualService", "default", "v", "networking.istio.io")
ROUTE = Meta("HTTPRoute", "default", "r", "gateway.networking.k8s.io")
CLIENT = Client("mesh", 9080, "default", {"app": "productpage"})
NAMES = Names(Registry(), Policies())
REVIEWS = Backend("reviews.default.svc.cluster.local", subset="v1", field="spec.http[0].route[0].destination")


def rule(**fields: object) -> HttpRule:
    values: dict[str, object] = {"path": "http[0]", "matches": (RuleMatch(),), "backends": (REVIEWS,), **fields}
    return HttpRule(**values)  # type: ignore[arg-type]


def forward(made: HttpRule, meta: Meta = VS) -> ForwardAction:
    (route,) = compiled(made, meta, NAMES, CLIENT)
    assert isinstance(route.action, ForwardAction)
    return route.action


def test_a_rule_carries_its_origin_and_istios_operation() -> None:
    (route,) = compiled(rule(name="main"), VS, NAMES, CLIENT)
    assert (str(route.origin), route.name) == ("VirtualService/default/v http[0]", "main")
    assert route.operation == "reviews.default.svc.cluster.local:9080/*"


def test_a_missing_port_is_the_requests() -> None:
    assert forward(rule()).clusters == (WeightedCluster("outbound|9080|v1|reviews.default.svc.cluster.local"),)


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (Where(), True),
        (Where(gateways=frozenset({"mesh"})), True),
        (Where(gateways=frozenset({"default/g"})), False),
        (Where(port=9080), True),
        (Where(port=80), False),
        (Where(source_labels={"app": "productpage"}), True),
        (Where(source_labels={"app": "other"}), False),
        (Where(source_namespace="other"), False),
    ],
)
def test_matches_speak_of_some_clients(where: Where, expected: bool) -> None:
    assert applies(RuleMatch(where=where), CLIENT) is expected


def test_the_default_retries_and_their_absence() -> None:
    assert forward(rule()).retry == DEFAULT_RETRY
    assert forward(rule(retry=RetryPolicy(frozenset({"5xx"}), 0))).retry is None


def test_rewrites_go_with_their_match() -> None:
    matches = (RuleMatch(), RuleMatch(RouteMatch(PathMatch(PathKind.EXACT, "/a"))))
    routes = list(compiled(rule(matches=matches, rewrites=(PrefixRewrite("/x"), None)), VS, NAMES, CLIENT))
    assert [route.action.path_rewrite for route in routes if isinstance(route.action, ForwardAction)] == [
        PrefixRewrite("/x"),
        None,
    ]


def test_virtual_services_answer_503_and_http_routes_500_for_what_is_missing() -> None:
    assert forward(rule()).missing_cluster_status == 503
    assert forward(rule(), ROUTE).missing_cluster_status == 500


def test_an_invalid_backend_keeps_its_share_of_the_weight() -> None:
    action = forward(rule(backends=(Backend("x", 1, weight=3, field="f", invalid="InvalidKind"), REVIEWS)), ROUTE)
    assert [(cluster.name, cluster.weight) for cluster in action.clusters] == [
        ("InvalidBackend|f", 3),
        ("outbound|9080|v1|reviews.default.svc.cluster.local", 1),
    ]


def test_broken_rules_and_weightless_ones_answer_500() -> None:
    for made in (rule(broken="InvalidFilter"), rule(backends=(Backend("x", 1, weight=0),))):
        (route,) = compiled(made, ROUTE, NAMES, CLIENT)
        assert isinstance(route.action, DirectResponse) and route.action.status == 500


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        (RouteMatch(), True),
        (RouteMatch(PathMatch(PathKind.REGEX, ".*")), True),
        (RouteMatch(PathMatch(PathKind.PREFIX, "/a")), False),
        (RouteMatch(PathMatch(PathKind.EXACT, "/")), False),
        (RouteMatch(headers=(HeaderMatch("a"),)), False),
    ],
)
def test_catch_all(match: RouteMatch, expected: bool) -> None:
    assert is_catch_all(match) is expected


@pytest.mark.parametrize(
    ("backend", "field", "reason"),
    [
        (Backend("nobody", field="f"), "f.host", "ReferencedResourceNotFound"),
        (Backend("reviews.default.svc.cluster.local", 81, field="f"), "f.port", "ReferencedResourceNotFound"),
        (Backend("reviews.default.svc.cluster.local", 9080, "v9", field="f"), "f.subset", "ReferencedResourceNotFound"),
    ],
)
def test_dangling_references_are_named(backend: Backend, field: str, reason: str) -> None:
    cluster = Cluster()
    cluster.apply(bookinfo("platform/kube/bookinfo.yaml", "networking/destination-rule-all.yaml"))
    (problem,) = backend_problems(VS, (backend,), cluster.graph().names)
    assert (problem.field, problem.reason) == (field, reason)
