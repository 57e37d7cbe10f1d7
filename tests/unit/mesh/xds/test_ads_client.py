"""What the client asks, accepts and refuses. Whole conversations: tests/property/test_ads_convergence."""

from __future__ import annotations

import envoy.service.discovery.v3.discovery_pb2 as discovery_pb
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage

from mesh.model.cluster import Cluster, Discovery
from mesh.model.endpoint import LoadAssignment
from mesh.model.node import Node, Role
from mesh.model.secret import Secret, TlsCertificate, TrustBundle, UpstreamTls
from mesh.model.snapshot import Snapshot
from mesh.xds.ads_client import AdsClient, StateError
from mesh.xds.encode import encode_resource
from mesh.xds.error import ProtocolError
from mesh.xds.kind import BY_URL, Kind, Variant
from tests.support.xds_wire import NODE, assignment, cluster, http_listener, route_config

CDS, EDS, LDS, RDS, SDS = Kind.CLUSTER, Kind.ENDPOINT, Kind.LISTENER, Kind.ROUTE, Kind.SECRET
KINDS = {"Cluster": CDS, "LoadAssignment": EDS, "Listener": LDS, "RouteConfig": RDS, "Secret": SDS}


def requests(bodies):
    """(kind, subscribed, unsubscribed, nonce, error message) of delta requests."""
    shown = []
    for body in bodies:
        message = discovery_pb.DeltaDiscoveryRequest.FromString(body)
        names = (list(message.resource_names_subscribe), list(message.resource_names_unsubscribe))
        shown.append((BY_URL[message.type_url], *names, message.response_nonce, message.error_detail.message))
    return shown


def encoded(value):
    kind = KINDS[type(value).__name__]
    return encode_resource(kind, value.cluster_name if isinstance(value, LoadAssignment) else value.name, value)


def response(kind, *values, removed=(), nonce="n") -> bytes:
    message = discovery_pb.DeltaDiscoveryResponse(type_url=kind.value, nonce=nonce, removed_resources=removed)
    for resource in map(encoded, values):
        body = AnyMessage(type_url=kind.value, value=resource.body)
        message.resources.add(name=resource.name, version=resource.version, resource=body)
    return message.SerializeToString()


def broken(name: str, body: bytes = b"\xff", kind=CDS) -> bytes:
    message = discovery_pb.DeltaDiscoveryResponse(type_url=kind.value, nonce="n")
    message.resources.add(name=name, version="9", resource=AnyMessage(type_url=kind.value, value=body))
    return message.SerializeToString()


@pytest.fixture
def client() -> AdsClient:
    made = AdsClient(NODE)
    made.on_open()
    return made


def test_a_stream_begins_with_clusters_and_listeners_and_the_node():
    first, second = AdsClient(NODE).on_open()
    assert requests([first, second]) == [(CDS, [], [], "", ""), (LDS, [], [], "", "")]
    assert discovery_pb.DeltaDiscoveryRequest.FromString(first).node.id == NODE.id
    assert not discovery_pb.DeltaDiscoveryRequest.FromString(second).HasField("node")


def test_cluster_is_acked_and_its_endpoints_asked_for(client):
    update = client.on_response(response(CDS, cluster("c")))
    assert requests(update.requests) == [(CDS, [], [], "n", ""), (EDS, ["c"], [], "", "")]
    assert update.snapshot is None
    assert client.missing == {(EDS, "c")}


def test_snapshot_comes_when_it_is_warm(client):
    client.on_response(response(CDS, cluster("c")))
    update = client.on_response(response(EDS, assignment("c")))
    assert update.snapshot == Snapshot({"c": cluster("c")}, {"c": assignment("c")})


def test_complete_needs_both_answers_and_no_missing(client):
    assert not client.on_response(response(CDS)).complete
    assert not client.on_response(response(LDS, http_listener("l", "r"))).complete
    assert client.on_response(response(RDS, route_config("r"))).complete


def test_bad_resource_is_refused_by_name_and_the_others_taken(client):
    good, bad = encoded(cluster("good", 1, Discovery.STATIC)), encoded(cluster("bad", 1, Discovery.STATIC))
    message = discovery_pb.DeltaDiscoveryResponse(type_url=CDS.value, nonce="n")
    for resource in (good, bad):
        # Field 8 of Cluster: health_checks, one empty message.
        body = resource.body + (b"\x42\x00" if resource is bad else b"")
        message.resources.add(name=resource.name, version="1", resource=AnyMessage(type_url=CDS.value, value=body))
    update = client.on_response(message.SerializeToString())
    assert list(update.snapshot.clusters) == ["good"]
    assert [(error.resource, error.field) for error in update.rejected] == [("bad", "health_checks")]
    assert requests(update.requests)[0] == (CDS, [], [], "n", "bad: health_checks: is not supported")
    assert set(client.rejections) == {(CDS, "bad")}


def test_last_good_version_stays_in_force(client):
    static = cluster("c", 1, Discovery.STATIC)
    client.on_response(response(CDS, static))
    update = client.on_response(broken("c"))
    assert update.snapshot is None
    assert client.snapshot.clusters == {"c": static}
    assert "not a envoy.config.cluster.v3.Cluster" in str(update.rejected[0])


def test_wrong_type_inside_is_refused(client):
    message = discovery_pb.DeltaDiscoveryResponse(type_url=CDS.value, nonce="n")
    message.resources.add(name="c", version="1", resource=AnyMessage(type_url=LDS.value))
    assert client.on_response(message.SerializeToString()).rejected[0].resource == "c"


def test_unneeded_endpoints_are_unsubscribed_and_forgotten(client):
    client.on_response(response(CDS, cluster("c")))
    client.on_response(response(EDS, assignment("c")))
    update = client.on_response(response(CDS, removed=["c"]))
    assert requests(update.requests)[1:] == [(EDS, [], ["c"], "", "")]
    assert update.snapshot == Snapshot()


def test_endpoints_that_do_not_exist_are_no_reason_to_wait(client):
    client.on_response(response(CDS, cluster("c")))
    update = client.on_response(response(EDS, removed=["c"]))
    assert update.snapshot.endpoints == {"c": LoadAssignment("c")}


def test_giving_up_goes_on_without(client):
    client.on_response(response(CDS, cluster("c")))
    client.on_response(response(LDS, http_listener("l", "r")))
    update = client.give_up_waiting()
    assert update.complete
    assert set(update.snapshot.listeners) == {"l"}
    assert update.snapshot.routes["r"].virtual_hosts == ()


def test_secrets_cannot_be_given_up(client):
    tls = Cluster("c", Discovery.ORIGINAL_DST, tls=UpstreamTls(trust_name="roots"))
    client.on_response(response(CDS, tls))
    assert client.give_up_waiting().snapshot is None
    assert client.missing == {(SDS, "roots")}


def test_reconnect_tells_what_it_has_and_what_it_wants(client):
    client.on_response(response(CDS, cluster("c")))
    client.on_response(response(EDS, assignment("c")))
    client.on_close()
    bodies = client.on_open()
    cds, _, eds = (discovery_pb.DeltaDiscoveryRequest.FromString(body) for body in bodies)
    assert dict(cds.initial_resource_versions) == {"c": encoded(cluster("c")).version}
    assert dict(eds.initial_resource_versions) == {"c": encoded(assignment("c")).version}
    assert list(eds.resource_names_subscribe) == ["c"]


def test_unchanged_resource_keeps_its_identity(client):
    client.on_response(response(CDS, cluster("a", 1, Discovery.STATIC)))
    before = client.snapshot.clusters["a"]
    update = client.on_response(
        response(CDS, cluster("a", 1, Discovery.STATIC), cluster("b", 1, Discovery.STATIC), nonce="m")
    )
    assert update.snapshot.clusters["a"] is before


def test_heartbeat_changes_nothing(client):
    client.on_response(response(CDS, cluster("a", 1, Discovery.STATIC)))
    beat = discovery_pb.DeltaDiscoveryResponse(type_url=CDS.value, nonce="n")
    beat.resources.add(name="a", version="1")
    assert client.on_response(beat.SerializeToString()).snapshot is None


@pytest.mark.parametrize("data", [b"\xff", b"", discovery_pb.DeltaDiscoveryResponse(type_url="x").SerializeToString()])
def test_what_was_not_asked_for_ends_the_stream(client, data):
    with pytest.raises(ProtocolError):
        client.on_response(data)


def sotw(kind, *values, version="1", nonce="n") -> bytes:
    packed = [AnyMessage(type_url=kind.value, value=encoded(value).body) for value in values]
    message = discovery_pb.DiscoveryResponse(type_url=kind.value, nonce=nonce, version_info=version, resources=packed)
    return message.SerializeToString()


def test_sotw_repeats_names_and_version():
    client = AdsClient(NODE, Variant.SOTW)
    client.on_open()
    update = client.on_response(sotw(CDS, cluster("c"), cluster("d")))
    ack, eds = (discovery_pb.DiscoveryRequest.FromString(body) for body in update.requests)
    assert (ack.version_info, ack.response_nonce) == ("1", "n")
    assert list(eds.resource_names) == ["c", "d"]


def test_sotw_deletes_what_is_left_out_of_a_full_state():
    client = AdsClient(NODE, Variant.SOTW)
    client.on_open()
    client.on_response(sotw(CDS, cluster("a", 1, Discovery.STATIC), cluster("b", 1, Discovery.STATIC)))
    update = client.on_response(sotw(CDS, cluster("b", 1, Discovery.STATIC), version="2"))
    assert list(update.snapshot.clusters) == ["b"]


def test_sotw_nack_keeps_the_old_version():
    client = AdsClient(NODE, Variant.SOTW)
    client.on_open()
    client.on_response(sotw(CDS, cluster("a", 1, Discovery.STATIC)))
    bad = AnyMessage(type_url=CDS.value, value=encoded(cluster("a", 1, Discovery.STATIC)).body + b"\x42\x00")
    message = discovery_pb.DiscoveryResponse(type_url=CDS.value, nonce="m", version_info="2", resources=[bad])
    update = client.on_response(message.SerializeToString())
    nack = discovery_pb.DiscoveryRequest.FromString(update.requests[0])
    assert (nack.version_info, nack.response_nonce) == ("1", "m")
    assert list(client.snapshot.clusters) == ["a"]


def test_dump_restores_a_complete_configuration(client):
    client.on_response(response(CDS, cluster("c")))
    client.on_response(response(EDS, assignment("c")))
    client.on_response(response(LDS, http_listener("l", "r")))
    client.on_response(response(RDS, route_config("r", "c")))
    again = AdsClient(NODE)
    update = again.restore(client.dump())
    assert (update.snapshot, update.complete, update.requests) == (client.snapshot, True, ())
    assert again.versions == client.versions
    assert [kind for kind, *_ in requests(again.on_open())] == [CDS, LDS, EDS, RDS]


def test_private_keys_are_dumped_on_request_only(client):
    tls = Cluster("c", Discovery.ORIGINAL_DST, tls=UpstreamTls("cert", "roots"))
    client.on_response(response(CDS, tls))
    secrets = (
        Secret("cert", TlsCertificate(b"chain", b"-key-")),
        Secret("roots", trust=TrustBundle(b"roots")),
    )
    client.on_response(response(SDS, *secrets))
    assert b"-key-" not in client.dump()
    assert b"-key-" in client.dump(with_keys=True)


def test_another_nodes_dump_is_refused(client):
    with pytest.raises(StateError):
        AdsClient(Node("other", Role.SIDECAR, "", "", "")).restore(client.dump())


def test_what_turns_out_to_be_of_no_use_is_refused_instead_of_acked(client):
    client.on_response(response(LDS))
    update = client.on_response(response(CDS, cluster("c", 1.0, Discovery.STATIC), cluster("d", 1.0, Discovery.STATIC)))
    assert requests(client.on_applied(update, {"c": "no such key", "nobody": "x"})) == [
        (CDS, [], [], "n", "c: no such key")
    ]
    update = client.on_response(response(CDS, cluster("e", 1.0, Discovery.STATIC), nonce="n2"))
    assert requests(client.on_applied(update, {"c": "no such key"})) == [(CDS, [], [], "n2", "")]


def test_what_came_earlier_is_refused_by_name_once(client):
    client.on_response(response(CDS, cluster("c", 1.0, Discovery.STATIC), nonce="n1"))
    client.on_response(response(LDS, http_listener("l", "r"), nonce="n2"))
    update = client.on_response(response(RDS, route_config("r", "c"), nonce="n3"))
    late = (LDS, [], [], "n2", "l: the port is taken")
    assert requests(client.on_applied(update, {"l": "the port is taken"})) == [(RDS, [], [], "n3", ""), late]
    update = client.on_response(response(RDS, route_config("r", "d"), nonce="n4"))
    assert requests(client.on_applied(update, {"l": "the port is taken"})) == [(RDS, [], [], "n4", "")]


def test_what_is_of_no_use_is_asked_for_again_on_a_new_stream(client):
    client.on_response(response(LDS))
    update = client.on_response(response(CDS, cluster("c", 1.0, Discovery.STATIC), cluster("d", 1.0, Discovery.STATIC)))
    client.on_applied(update, {"c": "no such key"})
    client.on_close()
    first = discovery_pb.DeltaDiscoveryRequest.FromString(client.on_open()[0])
    assert list(first.initial_resource_versions) == ["d"]
    update = client.on_response(response(LDS))
    assert requests(client.on_applied(update, {"c": "no such key"})) == [(LDS, [], [], "n", "")]
    update = client.on_response(response(CDS, cluster("c", 1.0, Discovery.STATIC)))
    assert requests(client.on_applied(update, {"c": "no such key"}))[0] == (CDS, [], [], "n", "c: no such key")
