from mesh.xds.kind import Kind, Variant
from mesh.xds.resource import Resource
from mesh.xds.subscription import Status, Subscription


def resource(name: str, version: str = "1") -> Resource:
    return Resource(Kind.CLUSTER, name, version, b"")


def wildcard(variant: Variant = Variant.DELTA) -> Subscription:
    return Subscription(Kind.CLUSTER, variant, is_wildcard=True)


def test_ack_makes_what_was_sent_the_clients():
    sub = wildcard()
    sub.on_sent("n1", {"a": resource("a")}, 1.0)
    assert sub.status("a", "1") is Status.STALE
    sub.on_ack("n1")
    assert sub.acked == {"a": resource("a")}
    assert sub.status("a", "1") is Status.SYNCED


def test_nack_keeps_the_old_version_and_takes_the_others():
    sub = wildcard()
    sub.on_sent("n1", {"a": resource("a")}, 1.0)
    sub.on_ack("n1")
    sub.on_sent("n2", {"a": resource("a", "2"), "b": resource("b")}, 2.0)
    sub.on_nack("n2", ["a"], "bad", 3.0)
    assert sub.acked == {"a": resource("a"), "b": resource("b")}
    assert sub.status("a", "2") is Status.ERROR
    assert (sub.rejected["a"].version, sub.rejected["a"].message, sub.rejected["a"].at) == ("2", "bad", 3.0)


def test_a_good_version_heals_a_rejection():
    sub = wildcard()
    sub.on_sent("n1", {"a": resource("a", "bad")}, 1.0)
    sub.on_nack("n1", ["a"], "bad", 1.0)
    sub.on_sent("n2", {"a": resource("a", "good")}, 2.0)
    sub.on_ack("n2")
    assert sub.rejected == {}


def test_sotw_ack_settles_everything_before_it():
    sub = wildcard(Variant.SOTW)
    sub.on_sent("n1", {"a": resource("a")}, 1.0)
    sub.on_sent("n2", {"a": resource("a", "2")}, 1.0)
    sub.on_ack("n2")
    assert not sub.in_flight
    assert sub.acked["a"].version == "2"


def test_delta_ack_settles_its_own_response_only():
    sub = wildcard()
    sub.on_sent("n1", {"a": resource("a")}, 1.0)
    sub.on_sent("n2", {"b": resource("b")}, 1.0)
    sub.on_ack("n2")
    assert list(sub.in_flight) == ["n1"]


def test_resource_being_removed_is_not_settled():
    sub = wildcard()
    sub.on_sent("n1", {"a": resource("a")}, 1.0)
    sub.on_ack("n1")
    sub.on_sent("n2", {"a": None}, 1.0)
    assert not sub.is_settled("a")
    assert [held.name for held in sub.held_by_client()] == ["a"]
    sub.on_ack("n2")
    assert list(sub.held_by_client()) == []


def test_what_is_brought_along_is_unseen_until_recognized():
    sub = wildcard()
    sub.bring_along({"a": "1", "b": "old"})
    assert sub.unseen == {"a", "b"}
    sub.recognize({"a": resource("a"), "b": resource("b", "new")})
    assert sub.unseen == {"b"}
    assert sub.status("a", "1") is Status.SYNCED


def test_named_absence_is_remembered_and_wildcard_removal_is_not():
    named = Subscription(Kind.ENDPOINT, Variant.DELTA, names={"a"})
    named.on_sent("n1", {"a": None}, 1.0)
    assert named.sent == {"a": None}
    everything = wildcard()
    everything.on_sent("n1", {"a": None}, 1.0)
    assert everything.sent == {}


def test_vague_nack_wants_each_resource_alone():
    sub = Subscription(Kind.ROUTE, Variant.DELTA, names={"a", "b"})
    sub.on_sent("n1", {"a": resource("a"), "b": resource("b")}, 1.0)
    sub.on_vague_nack("n1")
    assert sub.alone == {"a", "b"}
    assert sub.sent == {}
    sub.on_sent("n2", {"a": resource("a")}, 1.0)
    assert sub.alone == {"b"}


def test_late_ack_of_what_was_unsubscribed_is_not_recorded():
    sub = Subscription(Kind.ENDPOINT, Variant.DELTA, names={"a"})
    sub.on_sent("n1", {"a": resource("a")}, 1.0)
    sub.forget(["a"])
    sub.on_ack("n1")
    assert sub.acked == {}
