"""Story: a team moves traffic from one version of reviews to the next.

World in, snapshot out: who gets how much, and which object says so.
"""

from __future__ import annotations

from mesh.control.status import plan
from mesh.model.route import ForwardAction
from tests.support.world import Cluster, bookinfo


def split(cluster: Cluster) -> dict[str, int]:
    """Shares of reviews' versions as productpage's sidecar is told."""
    snapshot = cluster.sidecar("productpage-v1", app="productpage", version="v1")
    (vhost,) = [v for v in snapshot.routes["9080"].virtual_hosts if v.name.startswith("reviews.")]
    (route,) = vhost.routes
    assert isinstance(route.action, ForwardAction)
    return {share.name.split("|")[2] or "any": share.weight for share in route.action.clusters}


def pods(cluster: Cluster, subset: str) -> list[str]:
    snapshot = cluster.sidecar("productpage-v1")
    assignment = snapshot.endpoints[f"outbound|9080|{subset}|reviews.default.svc.cluster.local"]
    return [endpoint.workload.name for endpoint in assignment.endpoints() if endpoint.workload is not None]


def bookstore() -> Cluster:
    cluster = Cluster()
    cluster.apply(bookinfo("platform/kube/bookinfo.yaml"))
    return cluster


def test_without_rules_every_version_answers() -> None:
    cluster = bookstore()
    assert split(cluster) == {"any": 1}
    assert pods(cluster, "") == ["reviews-v1", "reviews-v2", "reviews-v3"]


def test_ninety_to_ten_then_half_then_all() -> None:
    cluster = bookstore()
    cluster.apply(bookinfo("networking/destination-rule-all.yaml"))
    for name, expected in (
        ("90-10", {"v1": 90, "v2": 10}),
        ("50-v3", {"v1": 50, "v3": 50}),
        ("v3", {"v3": 1}),
    ):
        cluster.apply(bookinfo(f"networking/virtual-service-reviews-{name}.yaml"))
        assert split(cluster) == expected
    assert (pods(cluster, "v1"), pods(cluster, "v2"), pods(cluster, "v3")) == (
        ["reviews-v1"],
        ["reviews-v2"],
        ["reviews-v3"],
    )


def test_the_rules_may_come_before_the_subsets() -> None:
    cluster = bookstore()
    cluster.apply(bookinfo("networking/virtual-service-reviews-90-10.yaml"))
    assert "ReferencedResourceNotFound" in {problem.reason for problem in cluster.graph().problems()}
    cluster.apply(bookinfo("networking/destination-rule-all.yaml"))
    assert "ReferencedResourceNotFound" not in {problem.reason for problem in cluster.graph().problems()}
    assert split(cluster) == {"v1": 90, "v2": 10}


def test_taking_the_rules_away_restores_plain_forwarding() -> None:
    cluster = bookstore()
    cluster.apply(bookinfo("networking/destination-rule-all.yaml", "networking/virtual-service-reviews-90-10.yaml"))
    cluster.delete("VirtualService", "reviews")
    assert split(cluster) == {"any": 1}


def test_a_scaled_down_version_stays_a_valid_target_and_the_rule_says_so() -> None:
    cluster = bookstore()
    cluster.apply(bookinfo("networking/destination-rule-all.yaml", "networking/virtual-service-reviews-90-10.yaml"))
    cluster.delete("Pod", "reviews-v2-abc12-x")
    assert split(cluster) == {"v1": 90, "v2": 10}
    assert pods(cluster, "v2") == []
    patches = {(p.meta.kind, p.meta.name): p.status for p in plan(cluster.graph(), lambda _ref: {}, {}, "now")}
    messages = patches["DestinationRule", "reviews"]["validationMessages"]
    assert [(message["level"], message["field"]) for message in messages] == [("WARNING", "spec.subsets[1].labels")]


def test_the_same_split_by_gateway_api() -> None:
    cluster = bookstore()
    cluster.apply(bookinfo("platform/kube/bookinfo-versions.yaml", "gateway-api/route-reviews-90-10.yaml"))
    snapshot = cluster.sidecar("productpage-v1")
    (vhost,) = snapshot.routes["reviews.default.svc.cluster.local:9080"].virtual_hosts
    action = vhost.routes[0].action
    assert isinstance(action, ForwardAction)
    assert [(share.name.split("|")[3].split(".")[0], share.weight) for share in action.clusters] == [
        ("reviews-v1", 90),
        ("reviews-v2", 10),
    ]
    assert str(vhost.routes[0].origin) == "HTTPRoute/default/reviews rules[0]"
