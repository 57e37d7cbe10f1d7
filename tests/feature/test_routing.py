"""Story: requests are told apart by who sends them and what they say."""

from __future__ import annotations

from mesh.model.match import HeaderMatch, StringKind, StringMatch
from mesh.model.route import Fault, FaultAbort, FaultDelay, ForwardAction, Route
from tests.support.world import Cluster, bookinfo

JASON = HeaderMatch("end-user", StringMatch(StringKind.EXACT, "jason"))


def cluster(*files: str) -> Cluster:
    made = Cluster()
    made.apply(bookinfo("platform/kube/bookinfo.yaml", "networking/destination-rule-all.yaml"))
    made.apply(bookinfo(*files))
    return made


def routes(made: Cluster, service: str, client: str = "productpage", namespace: str = "default") -> list[Route]:
    found = made.sidecar(client, namespace).routes["9080"].virtual_hosts
    return [route for vhost in found if vhost.name.startswith(f"{service}.default.") for route in vhost.routes]


def version(route: Route) -> str:
    assert isinstance(route.action, ForwardAction)
    return route.action.clusters[0].name.split("|")[2]


def test_jason_sees_the_new_reviews() -> None:
    made = cluster("networking/virtual-service-reviews-test-v2.yaml")
    assert [(route.match.headers, version(route)) for route in routes(made, "reviews")] == [
        ((JASON,), "v2"),
        ((), "v1"),
    ]


def test_jason_waits_seven_seconds_for_ratings() -> None:
    made = cluster("networking/virtual-service-ratings-test-delay.yaml")
    first, second = routes(made, "ratings", "reviews")
    assert (first.match.headers, first.fault) == ((JASON,), Fault(FaultDelay(7.0, 100.0)))
    assert (second.match.headers, second.fault) == ((), None)


def test_details_answers_555() -> None:
    (route,) = routes(cluster("networking/fault-injection-details-v1.yaml"), "details")
    assert route.fault == Fault(abort=FaultAbort(100.0, http_status=555))
    assert str(route.origin) == "VirtualService/default/details http[0]"


def test_a_mistake_in_one_rule_leaves_the_others_working() -> None:
    made = cluster("networking/virtual-service-all-v1.yaml")
    made.apply(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: ratings}\nspec: {hosts: [ratings], http: ["
        "{match: [{headers: {a: {regex: '('}}}], route: [{destination: {host: ratings, subset: v2}}]}, "
        "{timeout: soon, route: [{destination: {host: ratings, subset: v2}}]}, "
        "{route: [{destination: {host: ratings, subset: v1}}]}]}"
    )
    assert [version(route) for route in routes(made, "ratings")] == ["v1"]
    assert [version(route) for route in routes(made, "reviews")] == ["v1"]
    fields = {problem.field for problem in made.graph().problems() if problem.ref.name == "ratings"}
    assert {"spec.http[0].match[0].headers[a].regex", "spec.http[1].timeout"} <= fields


def test_one_teams_rules_can_be_kept_to_their_own_clients() -> None:
    made = cluster()
    made.apply(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: ours}\nspec: {hosts: [reviews], http: ["
        "{match: [{sourceLabels: {app: productpage}}], route: [{destination: {host: reviews, subset: v2}}]}, "
        "{route: [{destination: {host: reviews, subset: v1}}]}]}"
    )
    assert [version(route) for route in routes(made, "reviews", "productpage")] == ["v2"]
    assert [version(route) for route in routes(made, "reviews", "other-app")] == ["v1"]


def test_calls_to_google_are_encrypted_on_the_way_out() -> None:
    made = cluster("networking/egress-rule-google-apis.yaml")
    snapshot = made.sidecar("details")
    (vhost,) = [v for v in snapshot.routes["80"].virtual_hosts if v.name == "www.googleapis.com:80"]
    action = vhost.routes[0].action
    assert isinstance(action, ForwardAction)
    assert [share.name for share in action.clusters] == ["outbound|443||www.googleapis.com"]
    tls = snapshot.clusters["outbound|443||www.googleapis.com"].tls
    assert tls is not None and (tls.sni, tls.system_roots) == ("www.googleapis.com", True)
    assert snapshot.clusters["outbound|80||www.googleapis.com"].tls is None
