"""The one place of precedence."""

from __future__ import annotations

import random

from mesh.control.translate.bindings import precedence
from mesh.model.match import HeaderMatch, PathKind, PathMatch, QueryMatch, RouteMatch, StringKind, StringMatch
from mesh.model.route import ForwardAction, Route
from mesh.model.snapshot import Snapshot
from tests.support.world import Cluster, bookinfo

GET = HeaderMatch(":method", StringMatch(StringKind.EXACT, "GET"))


def segment(value: str, *headers: HeaderMatch, query: int = 0) -> RouteMatch:
    return RouteMatch(
        PathMatch(PathKind.SEGMENT_PREFIX, value), headers, tuple(QueryMatch(f"q{i}") for i in range(query))
    )


def test_gateway_apis_order() -> None:
    ordered = [
        RouteMatch(PathMatch(PathKind.EXACT, "/long/path")),
        RouteMatch(PathMatch(PathKind.EXACT, "/a")),
        RouteMatch(PathMatch(PathKind.REGEX, "/.*")),
        segment("/long"),
        segment("/a", GET),
        segment("/a", HeaderMatch("x"), HeaderMatch("y")),
        segment("/a", HeaderMatch("x"), query=2),
        segment("/a", HeaderMatch("x")),
        segment("/a", query=2),
        segment("/a", query=1),
        segment("/a"),
        RouteMatch(),
    ]
    shuffled = ordered[:]
    random.Random(7).shuffle(shuffled)
    assert sorted(shuffled, key=precedence) == ordered


def routes_to(snapshot: Snapshot, name: str = "9080", host: str = "reviews.default.svc.cluster.local") -> list[Route]:
    return [
        route for vhost in snapshot.routes[name].virtual_hosts if vhost.name == f"{host}:9080" for route in vhost.routes
    ]


def origins(routes: list[Route]) -> list[str]:
    return [f"{route.origin.name} {route.origin.rule}" for route in routes if route.origin is not None]


def virtual_service(name: str, *rules: str, namespace: str = "default", extra: str = "") -> str:
    http = ", ".join(rules)
    return (
        f"apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {name}, namespace: {namespace}}}\n"
        f"spec: {{hosts: [reviews.default.svc.cluster.local], {extra} http: [{http}]}}"
    )


ANY = "{route: [{destination: {host: reviews.default.svc.cluster.local}}]}"
JASON = "{match: [{headers: {end-user: {exact: jason}}}], route: [{destination: {host: reviews.default.svc.cluster.local}}]}"
PATH = "{match: [{uri: {prefix: /a}}], route: [{destination: {host: reviews.default.svc.cluster.local}}]}"


def cluster(*texts: str) -> Cluster:
    made = Cluster()
    made.apply(bookinfo("platform/kube/bookinfo.yaml", "platform/kube/bookinfo-versions.yaml"))
    for text in texts:
        made.apply(text)
    return made


def test_two_virtual_services_for_one_host_are_merged_oldest_first_catch_all_last() -> None:
    made = cluster(virtual_service("z-old", JASON, ANY), virtual_service("a-new", PATH, ANY))
    assert origins(routes_to(made.sidecar("productpage"))) == ["z-old http[0]", "a-new http[0]", "z-old http[1]"]
    problems = [p for p in made.graph().bindings.problems if p.reason == "ConflictingMeshGatewayVirtualServiceHosts"]
    assert [problem.ref.name for problem in problems] == ["a-new"]


def test_rules_after_a_catch_all_are_reported_and_left_out() -> None:
    made = cluster(virtual_service("v", ANY, JASON))
    assert origins(routes_to(made.sidecar("productpage"))) == ["v http[0]"]
    unreachable = [p for p in made.graph().bindings.problems if p.reason == "VirtualServiceUnreachableRule"]
    assert [problem.field for problem in unreachable] == ["spec.http[1]"]


def test_source_namespace_and_labels_choose_the_client() -> None:
    scoped = "{match: [{sourceLabels: {app: productpage}, sourceNamespace: default}], directResponse: {status: 200}}"
    made = cluster(virtual_service("v", scoped, ANY))
    assert origins(routes_to(made.sidecar("productpage"))) == ["v http[0]"]
    assert origins(routes_to(made.sidecar("ratings"))) == ["v http[1]"]
    assert origins(routes_to(made.sidecar("productpage", "other"))) == ["v http[1]"]


def test_a_virtual_service_that_is_not_exported_is_invisible_elsewhere() -> None:
    made = cluster(virtual_service("v", ANY, extra="exportTo: ['.'],"))
    assert origins(routes_to(made.sidecar("x", "default"))) == ["v http[0]"]
    assert origins(routes_to(made.sidecar("x", "other"))) == ["reviews "]


def route(
    name: str, backend: str, namespace: str = "default", kind: str = "HTTPRoute", parent: str = "", rules: str = ""
) -> str:
    rules = rules or f"{{backendRefs: [{{name: {backend}, namespace: default, port: 9080}}]}}"
    return (
        f"apiVersion: gateway.networking.k8s.io/v1\nkind: {kind}\nmetadata: {{name: {name}, namespace: {namespace}}}\n"
        f"spec: {{parentRefs: [{{group: '', kind: Service, name: reviews, namespace: default{parent}}}], rules: [{rules}]}}"
    )


def backends(made: Cluster, namespace: str = "default") -> list[str]:
    snapshot = made.sidecar("x", namespace)
    name = "reviews.default.svc.cluster.local:9080"
    found = snapshot.routes.get(name)
    vhosts = found.virtual_hosts if found is not None else ()
    return [
        cluster.name.split("|")[3].split(".")[0]
        for vhost in vhosts
        for r in vhost.routes
        if isinstance(r.action, ForwardAction)
        for cluster in r.action.clusters
    ]


def test_a_consumers_route_overrides_the_producers_in_its_own_namespace() -> None:
    made = cluster(route("producer", "reviews-v1"), route("consumer", "reviews-v2", namespace="shop"))
    assert backends(made, "default") == ["reviews-v1"]
    assert backends(made, "other") == ["reviews-v1"]
    assert backends(made, "shop") == ["reviews-v2"]


def test_a_consumers_route_alone_concerns_nobody_else() -> None:
    made = cluster(route("consumer", "reviews-v2", namespace="shop"))
    assert backends(made, "shop") == ["reviews-v2"]
    assert backends(made, "default") == []
    assert origins(routes_to(made.sidecar("x"))) == ["reviews "]


def test_a_parents_port_limits_the_route() -> None:
    assert backends(cluster(route("r", "reviews-v1", parent=", port: 9080"))) == ["reviews-v1"]
    assert backends(cluster(route("r", "reviews-v1", parent=", port: 80"))) == []


def test_http_routes_beat_virtual_services_and_say_so() -> None:
    made = cluster(virtual_service("v", ANY), route("r", "reviews-v1"))
    assert origins(routes_to(made.sidecar("x"))) == ["r rules[0]"]
    overridden = [p for p in made.graph().bindings.problems if p.reason == "OverriddenByHTTPRoute"]
    assert [(p.ref.kind, p.ref.name) for p in overridden] == [("VirtualService", "v")]


def test_grpc_routes_beat_http_routes() -> None:
    made = cluster(route("http", "reviews-v1"), route("grpc", "reviews-v2", kind="GRPCRoute"))
    assert backends(made) == ["reviews-v2"]
    assert [p.ref.name for p in made.graph().bindings.problems if p.reason == "OverriddenByGRPCRoute"] == ["http"]


def test_routes_of_one_service_are_merged_by_precedence_then_age() -> None:
    exact = "{matches: [{path: {type: Exact, value: /x}}], backendRefs: [{name: reviews-v3, port: 9080}]}"
    made = cluster(route("old", "reviews-v1"), route("young", "reviews-v2"), route("exact", "", rules=exact))
    assert backends(made) == ["reviews-v3", "reviews-v1", "reviews-v2"]


def test_a_route_without_catch_all_warns_of_404() -> None:
    exact = "{matches: [{path: {type: Exact, value: /x}}], backendRefs: [{name: reviews-v3, port: 9080}]}"
    made = cluster(route("exact", "", rules=exact))
    assert [p.reason for p in made.graph().bindings.problems] == ["NoCatchAll"]


def test_another_route_may_catch_all() -> None:
    exact = "{matches: [{path: {type: Exact, value: /x}}], backendRefs: [{name: reviews-v3, port: 9080}]}"
    assert cluster(route("exact", "", rules=exact), route("rest", "reviews-v1")).graph().bindings.problems == ()


def test_http_rules_for_an_opaque_port_are_reported() -> None:
    db = "apiVersion: v1\nkind: Service\nmetadata: {name: db}\nspec: {ports: [{name: tcp, port: 3306}]}"
    rule = virtual_service("v", ANY).replace("hosts: [reviews.default.svc.cluster.local]", "hosts: [db]")
    attached = route("r", "reviews-v1").replace("name: reviews,", "name: db,")
    problems = [p for p in cluster(db, rule, attached).graph().bindings.problems if p.reason == "IneffectiveOnProtocol"]
    assert {(p.ref.kind, p.field) for p in problems} == {
        ("VirtualService", "spec.http"),
        ("HTTPRoute", "spec.parentRefs"),
    }
