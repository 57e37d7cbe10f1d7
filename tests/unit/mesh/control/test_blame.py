"""Whose object is refused."""

from __future__ import annotations

from mesh.control.blame import Refusals, origins
from mesh.model.origin import ObjectRef
from tests.support.world import Cluster, bookinfo, project, sidecar_node

REF = ObjectRef("VirtualService", "default", "reviews", "networking.istio.io")


def cluster() -> Cluster:
    made = Cluster()
    made.apply(bookinfo("platform/kube/bookinfo.yaml", "networking/destination-rule-all.yaml"))
    made.apply(bookinfo("networking/virtual-service-all-v1.yaml"))
    return made


def test_a_route_configuration_is_made_of_many_objects() -> None:
    snapshot = cluster().sidecar("x")
    found = {origin.name for origin in origins(snapshot, "9080", "something is wrong")}
    assert found == {"details", "productpage", "ratings", "reviews"}


def test_the_message_may_name_the_guilty_one() -> None:
    snapshot = cluster().sidecar("x")
    (origin,) = origins(snapshot, "9080", "virtual host reviews.default.svc.cluster.local:9080: bad regex")
    assert str(origin) == "VirtualService/default/reviews http[0]"


def test_clusters_are_their_destination_rules() -> None:
    snapshot = cluster().sidecar("x")
    (origin,) = origins(snapshot, "outbound|9080|v1|reviews.default.svc.cluster.local", "no")
    assert (origin.kind, origin.rule) == ("DestinationRule", "subsets[0]")


def test_a_refusal_lasts_for_its_generation() -> None:
    made = cluster()
    graph = made.graph()
    refusals = Refusals()
    node = sidecar_node("x")
    refusals.note(graph.world, project(graph, node), node.id, "ROUTE", "9080", "reviews is bad")
    assert set(refusals.of_objects(graph.world)) == {REF}
    assert refusals.view()[0]["message"] == "reviews is bad"
    (item,) = bookinfo("networking/virtual-service-reviews-90-10.yaml")
    item["metadata"]["generation"] = 2
    made.apply([item])
    assert refusals.of_objects(made.world()) == {}
