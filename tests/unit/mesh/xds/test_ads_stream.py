"""When to answer, in which order, and what a hold or a limit does. The conversations at large: tests/property."""

from __future__ import annotations

import envoy.service.discovery.v3.discovery_pb2 as discovery_pb
import pytest
from google.rpc import status_pb2

from mesh.xds import ads_stream
from mesh.xds import response as response_module
from mesh.xds.ads_stream import AdsStream
from mesh.xds.encode import Encoder
from mesh.xds.error import DecodeError, LimitError, ProtocolError
from mesh.xds.kind import BY_URL, Kind, Variant
from mesh.xds.nack import write_nack
from mesh.xds.node import write_node
from mesh.xds.resource import Bundle
from tests.support.xds_wire import NODE, assignment, cluster, http_listener, route_config, snapshot, tcp_listener

CDS, EDS, LDS, RDS = Kind.CLUSTER, Kind.ENDPOINT, Kind.LISTENER, Kind.ROUTE
ENCODER = Encoder()
WEB = ENCODER.bundle(snapshot(cluster("c"), assignment("c"), http_listener("l", "r"), route_config("r", "c")))


def bundle(*values) -> Bundle:
    return ENCODER.bundle(snapshot(*values))


class Peer:
    """A hand-driven client: says what it is told to say, shows what it got as (kind, names, removed)."""

    def __init__(self, variant: Variant = Variant.DELTA, served: Bundle | None = WEB, **options) -> None:
        self.stream = AdsStream(variant, "s", **options)
        self.is_delta = variant is Variant.DELTA
        self.now = 0.0
        self.nonces: dict[str, str] = {}
        self.refusals = []
        self.is_stale = False
        if served is not None:
            self.stream.on_snapshot(served, 0.0)

    def ask(self, kind, *names, drop=(), nonce="", error=None, versions=None, url=None, detail=None):
        url = url or kind.value
        node = write_node(NODE) if self.stream.node is None else None
        if self.is_delta:
            request = discovery_pb.DeltaDiscoveryRequest(
                node=node,
                type_url=url,
                resource_names_subscribe=names,
                resource_names_unsubscribe=drop,
                initial_resource_versions=versions,
                response_nonce=nonce,
            )
        else:
            request = discovery_pb.DiscoveryRequest(
                node=node, type_url=url, resource_names=names, response_nonce=nonce, version_info="v" if nonce else ""
            )
        if error is not None:
            request.error_detail.CopyFrom(status_pb2.Status(code=3, message=error))
        if detail is not None:
            request.error_detail.CopyFrom(detail)
        reaction = self.stream.on_request(request.SerializeToString(), self.now)
        self.refusals = [(refusal.kind, refusal.resource) for refusal in reaction.refusals]
        self.is_stale = reaction.is_stale
        return self.show(reaction.responses)

    def ack(self, kind, *names, error=None):
        """names: of the whole subscription, which SotW repeats."""
        return self.ask(kind, *(() if self.is_delta else names), nonce=self.nonces[kind.value], error=error)

    def publish(self, served: Bundle):
        return self.show(self.stream.on_snapshot(served, self.now))

    def wait(self, seconds: float):
        self.now += seconds
        return self.show(self.stream.on_time(self.now))

    def show(self, responses):
        shown = []
        for response in responses:
            if self.is_delta:
                message = discovery_pb.DeltaDiscoveryResponse.FromString(response.body)
                names = [item.name for item in message.resources]
                removed = list(message.removed_resources)
            else:
                message = discovery_pb.DiscoveryResponse.FromString(response.body)
                names, removed = [self._name(packed) for packed in message.resources], []
            self.nonces[message.type_url] = message.nonce
            shown.append((BY_URL.get(message.type_url), sorted(names), removed))
        return shown

    def _name(self, packed) -> str:
        from mesh.xds.decode import decode

        value = decode(BY_URL[packed.type_url], packed.value)
        return getattr(value, "name", None) or value.cluster_name


def both(test):
    return pytest.mark.parametrize("variant", Variant, ids=lambda variant: variant.name.lower())(test)


@both
def test_first_request_gets_everything(variant):
    peer = Peer(variant)
    assert peer.ask(CDS) == [(CDS, ["c"], [])]
    assert peer.ask(EDS, "c") == [(EDS, ["c"], [])]
    assert peer.ask(LDS) == [(LDS, ["l"], [])]


@both
def test_ack_is_not_answered(variant):
    peer = Peer(variant)
    peer.ask(CDS)
    assert peer.ack(CDS) == []


@both
def test_same_snapshot_again_says_nothing(variant):
    peer = Peer(variant)
    peer.ask(CDS)
    peer.ack(CDS)
    assert peer.publish(WEB) == []


@both
def test_empty_wildcard_is_answered_once(variant):
    peer = Peer(variant, served=bundle())
    assert peer.ask(CDS) == [(CDS, [], [])]
    assert peer.ack(CDS) == []


@both
def test_nothing_is_said_before_the_first_snapshot(variant):
    peer = Peer(variant, served=None)
    assert peer.ask(CDS) == []
    assert peer.publish(WEB) == [(CDS, ["c"], [])]


@both
def test_nack_is_reported_and_not_answered(variant):
    peer = Peer(variant)
    peer.ask(CDS)
    assert peer.ack(CDS, error="bad") == []
    assert peer.refusals == [(CDS, "c")]
    assert peer.publish(WEB) == []
    assert [(line.name, line.status.name, line.error) for line in peer.stream.status() if line.kind is CDS] == [
        ("c", "ERROR", "bad")
    ]


def test_what_was_taken_may_be_refused_later_by_name():
    peer = Peer()
    peer.ask(CDS)
    peer.ack(CDS)
    detail = status_pb2.Status()
    write_nack(detail, [DecodeError("c", "", "of no use"), DecodeError("unknown", "", "x")])
    peer.ask(CDS, nonce=peer.nonces[CDS.value], detail=detail)
    assert (peer.refusals, peer.is_stale) == ([(CDS, "c")], False)
    assert [(line.status.name, line.error) for line in peer.stream.status() if line.kind is CDS] == [
        ("ERROR", "of no use")
    ]
    peer.ask(CDS, nonce="another-1", detail=detail)
    assert (peer.refusals, peer.is_stale) == ([], True)
    peer.publish(bundle(cluster("c", 2.0)))
    peer.ack(CDS)
    assert [line.status.name for line in peer.stream.status() if line.kind is CDS] == ["SYNCED"]


@both
def test_new_content_follows_a_nack(variant):
    peer = Peer(variant)
    peer.ask(CDS)
    peer.ack(CDS, error="bad")
    assert peer.publish(bundle(cluster("c", 2.0))) == [(CDS, ["c"], [])]


@both
def test_stale_nonce_is_noticed(variant):
    peer = Peer(variant)
    peer.ask(EDS, "c")
    peer.ask(EDS, nonce="older")
    assert peer.is_stale


def test_sotw_names_with_a_stale_nonce_are_ignored():
    peer = Peer(Variant.SOTW, bundle(cluster("c"), cluster("d"), assignment("c"), assignment("d")))
    peer.ask(EDS, "c")
    assert peer.ask(EDS, "c", "d", nonce="older") == []
    assert peer.ack(EDS, "c", "d") == [(EDS, ["d"], [])]


def test_delta_names_count_whatever_the_nonce():
    peer = Peer(Variant.DELTA, bundle(cluster("c"), cluster("d")))
    peer.ask(EDS, "c")
    assert peer.ask(EDS, "d", nonce="older") == [(EDS, ["d"], [])]
    assert peer.is_stale


@both
def test_fewer_names_are_not_answered(variant):
    peer = Peer(variant, bundle(cluster("c"), cluster("d")))
    peer.ask(EDS, "c", "d")
    if variant is Variant.SOTW:
        assert peer.ack(EDS, "c") == []
    else:
        assert peer.ask(EDS, drop=["d"]) == []
    assert peer.publish(bundle(cluster("c"), cluster("d"), assignment("d"))) == []


def test_sotw_more_names_before_the_first_answer_are_only_that():
    """Envoy asks for one secret and then for two before it has seen our answer to the first request."""
    two = bundle(cluster("a"), cluster("b"), assignment("a"), assignment("b"))
    peer = Peer(Variant.SOTW, two)
    assert peer.ask(EDS, "a") == [(EDS, ["a"], [])]
    first = peer.nonces[EDS.value]
    assert peer.ask(EDS, "a", "b") == [(EDS, ["b"], [])]
    assert peer.ask(EDS, "a", "b", nonce=first) == []
    assert not peer.is_stale
    assert peer.ack(EDS, "a", "b") == [] and not peer.is_stale
    assert peer.stream.is_settled


def test_sotw_without_nonce_starts_over():
    peer = Peer(Variant.SOTW)
    peer.ask(CDS)
    peer.ack(CDS)
    assert peer.ask(CDS) == [(CDS, ["c"], [])]


def test_delta_asked_for_again_is_sent_again():
    peer = Peer()
    peer.ask(EDS, "c")
    peer.ack(EDS)
    assert peer.ask(EDS, "c") == [(EDS, ["c"], [])]


def test_delta_says_what_does_not_exist_once():
    peer = Peer()
    assert peer.ask(RDS, "nowhere") == [(RDS, [], ["nowhere"])]
    assert peer.ack(RDS) == []
    assert peer.publish(bundle(cluster("c"))) == []
    created = bundle(route_config("nowhere"))
    assert peer.publish(created) == [(RDS, ["nowhere"], [])]


def test_reconnect_with_the_same_versions_sends_nothing_again():
    peer = Peer()
    version = WEB.of(CDS)["c"].version
    assert peer.ask(CDS, versions={"c": version}) == [(CDS, [], [])]
    assert peer.ask(EDS, "c", versions={"c": WEB.of(EDS)["c"].version}) == []


def test_reconnect_learns_what_is_gone():
    peer = Peer(served=bundle(cluster("c")))
    peer.ask(LDS)
    peer.ack(LDS)
    assert peer.ask(CDS, versions={"c": "older", "gone": "1"}) == [(CDS, ["c"], ["gone"])]


@both
def test_route_waits_for_its_cluster_and_endpoints(variant):
    peer = Peer(variant, served=None)
    for kind, names in ((CDS, ()), (EDS, ("c",)), (LDS, ()), (RDS, ("r",))):
        peer.ask(kind, *names)
    assert [kind for kind, _, _ in peer.publish(WEB)] == [CDS, EDS, LDS]
    assert peer.ack(LDS) == []
    assert peer.ack(CDS) == []
    assert peer.ack(EDS, "c") == [(RDS, ["r"], [])]


@both
def test_the_first_listeners_come_all_together(variant):
    # A proxy that got some of its listeners first would think itself complete and accept traffic for the rest.
    peer = Peer(variant, bundle(cluster("c"), assignment("c"), tcp_listener("held", "c"), tcp_listener("free", "static")))
    peer.ask(CDS)
    assert peer.ask(LDS) == []
    assert peer.ask(EDS, "c") == [(EDS, ["c"], [])]
    assert peer.ack(CDS) == []
    assert peer.ack(EDS, "c") == [(LDS, ["free", "held"], [])]


@both
def test_a_silent_client_holds_nothing_up_for_ever(variant):
    peer = Peer(variant, served=None, hold_seconds=5)
    for kind, names in ((CDS, ()), (EDS, ("c",)), (RDS, ("r",))):
        peer.ask(kind, *names)
    peer.publish(WEB)
    assert peer.stream.deadline == 5.0
    assert peer.wait(4.9) == []
    assert peer.wait(0.1) == [(RDS, ["r"], [])]
    assert peer.stream.deadline == float("inf")


@both
def test_refused_cluster_holds_nothing_up(variant):
    peer = Peer(variant)
    peer.ask(CDS)
    peer.ask(RDS, "r")
    assert peer.ack(CDS, error="c is bad") == [(RDS, ["r"], [])]


@both
def test_cluster_leaves_after_the_listener_that_named_it(variant):
    peer = Peer(variant, served=bundle(cluster("c"), cluster("d"), tcp_listener("l", "c")))
    for kind in (CDS, EDS, LDS):
        peer.ask(kind, *(["c", "d"] if kind is EDS else []))
        peer.ack(kind, *(["c", "d"] if kind is EDS else []))
    peer.ack(LDS)
    assert peer.publish(bundle(cluster("d"), tcp_listener("l", "d"))) == [(LDS, ["l"], [])]
    kind, names, removed = peer.ack(LDS)[0]
    assert (kind, names or removed) == (CDS, ["d"] if variant is Variant.SOTW else ["c"])


@both
def test_changed_cluster_gets_its_endpoints_again(variant):
    """Envoy warms a changed cluster anew and waits for them."""
    peer = Peer(variant)
    peer.ask(CDS)
    peer.ack(CDS)
    peer.ask(EDS, "c")
    peer.ack(EDS, "c")
    changed = bundle(cluster("c", 2.0), assignment("c"))
    assert peer.publish(changed) == [(CDS, ["c"], []), (EDS, ["c"], [])]


def test_grpc_client_waits_for_nobody_and_gets_listeners_on_demand():
    demanded = {"web:80": WEB}
    peer = Peer(served=bundle(), demand=lambda name: demanded.get(name))
    assert peer.ask(LDS, "web:80") == [(LDS, [], ["web:80"])]
    demanded["web:80"] = bundle(cluster("c"), http_listener("web:80", "r"), route_config("r", "c"))
    assert peer.publish(bundle()) == [(LDS, ["web:80"], [])]
    assert peer.ask(RDS, "r") == [(RDS, ["r"], [])]
    assert peer.ask(CDS, "c") == [(CDS, ["c"], [])]
    assert peer.ask(EDS, "c") == [(EDS, ["c"], [])]


@both
def test_unnamed_refusal_of_several_is_looked_into(variant):
    served = bundle(route_config("a"), route_config("b"))
    peer = Peer(variant, served)
    peer.ask(RDS, "a", "b")
    again = peer.ack(RDS, "a", "b", error="something is bad")
    assert sorted(names for _, names, _ in again) == [["a"], ["b"]]
    assert peer.refusals == []
    assert peer.ack(RDS, "a", "b", error="something is bad") == []
    assert len(peer.refusals) == 1


@both
def test_unknown_type_is_answered_once_with_nothing(variant):
    peer = Peer(variant)
    url = "type.googleapis.com/envoy.config.route.v3.ScopedRouteConfiguration"
    assert peer.ask(None, url=url) == [(None, [], [])]
    assert peer.ask(None, url=url, nonce=peer.nonces[url]) == []


@both
def test_unknown_types_are_bounded(variant):
    peer = Peer(variant)
    with pytest.raises(LimitError):
        for i in range(100):
            peer.ask(None, url=f"type.googleapis.com/x.Y{i}")


@both
@pytest.mark.parametrize("data", [b"\xff\xff", b"\x0a\x05ab"])
def test_bytes_that_are_no_request_end_the_stream(variant, data):
    with pytest.raises(ProtocolError, match="not a"):
        AdsStream(variant, "s").on_request(data, 0.0)


def test_first_request_must_say_who_asks():
    request = discovery_pb.DeltaDiscoveryRequest(type_url=CDS.value)
    with pytest.raises(ProtocolError, match="node"):
        AdsStream(Variant.DELTA, "s").on_request(request.SerializeToString(), 0.0)


def test_request_without_type_ends_the_stream():
    with pytest.raises(ProtocolError, match="type_url"):
        Peer().stream.on_request(discovery_pb.DeltaDiscoveryRequest(node=write_node(NODE)).SerializeToString(), 0.0)


@both
def test_too_many_names_end_the_stream(variant, monkeypatch):
    monkeypatch.setattr(ads_stream, "MAX_NAMES", 3)
    with pytest.raises(LimitError, match="more than 3"):
        Peer(variant).ask(EDS, *"abcd")


def test_delta_response_is_split_at_its_limit(monkeypatch):
    monkeypatch.setattr(response_module, "_MAX_RESPONSE_BYTES", 300)
    peer = Peer(served=bundle(*[cluster(f"c{i}") for i in range(5)]))
    responses = peer.ask(CDS)
    assert len(responses) > 1
    assert sorted(name for _, names, _ in responses for name in names) == [f"c{i}" for i in range(5)]


def test_changes_pile_up_behind_a_client_that_never_answers(monkeypatch):
    monkeypatch.setattr(ads_stream, "_MAX_IN_FLIGHT", 2)
    peer = Peer(served=bundle(cluster("c", 1.0)))
    peer.ask(CDS)
    first = peer.nonces[CDS.value]
    assert peer.publish(bundle(cluster("c", 2.0))) != []
    assert peer.publish(bundle(cluster("c", 3.0))) == []
    assert peer.publish(bundle(cluster("c", 4.0))) == []
    assert peer.ask(CDS, nonce=first) == [(CDS, ["c"], [])]
    assert not peer.stream.is_settled


def test_wildcard_client_that_drops_a_name_is_told_again():
    peer = Peer()
    peer.ask(CDS, "*", "c")
    peer.ack(CDS)
    assert peer.ask(CDS, drop=["c"]) == [(CDS, ["c"], [])]


def test_dropping_the_wildcard_keeps_the_names():
    peer = Peer(served=bundle(cluster("c"), cluster("d")))
    peer.ask(CDS, "*", "c")
    peer.ack(CDS)
    peer.ask(CDS, drop=["*"])
    assert peer.publish(bundle(cluster("c", 2.0), cluster("d", 2.0))) == [(CDS, ["c"], [])]


def test_status_without_subscription_is_not_sent():
    peer = Peer()
    assert {(line.name, line.status.name) for line in peer.stream.status() if line.kind is LDS} == {("l", "NOT_SENT")}
