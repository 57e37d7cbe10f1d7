from mesh.xds.kind import Kind, Variant
from mesh.xds.resource import Resource
from mesh.xds.resource_status import ResourceStatus, not_sent, resource_status
from mesh.xds.subscription import Status, Subscription

OLD, NEW = (Resource(Kind.CLUSTER, "c", version, version.encode()) for version in ("1", "2"))


def test_refused_version_is_told_beside_what_was_sent():
    sub = Subscription(Kind.CLUSTER, Variant.DELTA, is_wildcard=True)
    sub.on_sent("n", {"c": NEW}, 3.0)
    sub.on_nack("n", ["c"], "bad", 4.0)
    assert list(resource_status(sub, {"c": NEW}, True)) == [
        ResourceStatus(Kind.CLUSTER, "c", "2", Status.ERROR, 3.0, "bad", "2", 4.0, b"2")
    ]


def test_what_is_to_go_away_is_stale_until_it_is_gone():
    sub = Subscription(Kind.CLUSTER, Variant.DELTA, is_wildcard=True)
    sub.on_sent("n", {"c": OLD}, 3.0)
    sub.on_ack("n")
    (line,) = resource_status(sub, {}, False)
    assert (line.status, line.body) == (Status.STALE, b"")


def test_wanted_and_never_sent():
    sub = Subscription(Kind.CLUSTER, Variant.DELTA, is_wildcard=True)
    (line,) = resource_status(sub, {"c": NEW}, False)
    assert line == ResourceStatus(Kind.CLUSTER, "c", "", Status.NOT_SENT, 0.0)
    assert list(not_sent(Kind.CLUSTER, ["c"])) == [line]


def test_a_secrets_body_is_shown_to_nobody():
    sub = Subscription(Kind.SECRET, Variant.DELTA)
    key = Resource(Kind.SECRET, "s", "1", b"a private key")
    sub.on_sent("n", {"s": key}, 3.0)
    (line,) = resource_status(sub, {"s": key}, True)
    assert (line.name, line.version, line.body) == ("s", "1", b"")
