from mesh.xds.kind import Kind, Variant
from mesh.xds.ordering import Ordering
from mesh.xds.resource import Resource
from mesh.xds.subscription import Subscription

CDS, EDS, LDS, RDS = Kind.CLUSTER, Kind.ENDPOINT, Kind.LISTENER, Kind.ROUTE
CLUSTER = Resource(CDS, "c", "1", b"", frozenset({(EDS, "c")}))
ENDPOINTS = Resource(EDS, "c", "1", b"")
ROUTE = Resource(RDS, "r", "1", b"", frozenset({(CDS, "c")}))
LISTENER = Resource(LDS, "l", "1", b"", frozenset({(RDS, "r")}))
ALL = {(resource.kind, resource.name): resource for resource in (CLUSTER, ENDPOINTS, ROUTE, LISTENER)}


def subscription(kind: Kind, *acked: Resource, wildcard: bool = True) -> Subscription:
    made = Subscription(kind, Variant.DELTA, is_wildcard=wildcard, names={resource.name for resource in acked})
    made.acked = {resource.name: resource for resource in acked}
    return made


def ordering(*subscriptions: Subscription) -> Ordering:
    by_kind = {sub.kind: sub for sub in subscriptions}
    return Ordering(by_kind, lambda kind, name: ALL.get((kind, name)), 5.0)


def test_route_needs_cluster_and_endpoints_at_the_client():
    assert not ordering(subscription(CDS)).may_send(ROUTE, 0.0)
    assert not ordering(subscription(CDS, CLUSTER), subscription(EDS, wildcard=False)).may_send(ROUTE, 0.0)
    warm = ordering(subscription(CDS, CLUSTER), subscription(EDS, ENDPOINTS, wildcard=False))
    assert warm.may_send(ROUTE, 0.0)


def test_named_clusters_are_the_clients_own_business():
    assert ordering(subscription(CDS, wildcard=False)).may_send(ROUTE, 0.0)
    assert ordering().may_send(ROUTE, 0.0)


def test_reference_to_nowhere_holds_nothing():
    lost = Resource(RDS, "x", "1", b"", frozenset({(CDS, "nowhere")}))
    assert ordering(subscription(CDS)).may_send(lost, 0.0)


def test_hold_ends_and_is_forgotten_when_nobody_asks():
    judge = ordering(subscription(CDS))
    judge.begin()
    assert not judge.may_send(ROUTE, 1.0)
    judge.end()
    assert judge.deadline == 6.0
    judge.begin()
    assert not judge.may_send(ROUTE, 5.9)
    judge.end()
    judge.begin()
    assert judge.may_send(ROUTE, 6.0)
    judge.end()
    assert judge.deadline == float("inf")


def test_cluster_in_use_stays():
    assert not ordering(subscription(CDS, CLUSTER), subscription(RDS, ROUTE)).may_remove((CDS, "c"), 0.0)
    assert ordering(subscription(CDS, CLUSTER), subscription(RDS)).may_remove((CDS, "c"), 0.0)


def test_cold_listener_keeps_the_clusters_of_its_last_version():
    held = (subscription(CDS, CLUSTER), subscription(LDS, LISTENER))
    assert not ordering(*held, subscription(RDS, wildcard=False)).may_remove((CDS, "c"), 0.0)
    unrelated = Resource(RDS, "r", "2", b"")
    assert ordering(*held, subscription(RDS, unrelated, wildcard=False)).may_remove((CDS, "c"), 0.0)


def test_what_was_brought_along_waits_for_those_who_may_need_it():
    clusters = subscription(CDS, CLUSTER)
    clusters.unseen = {"c"}
    assert not ordering(clusters).may_remove((CDS, "c"), 0.0)
    assert ordering(clusters, subscription(LDS)).may_remove((CDS, "c"), 0.0)
    assert not ordering(clusters, subscription(LDS, LISTENER)).may_remove((CDS, "c"), 0.0)
