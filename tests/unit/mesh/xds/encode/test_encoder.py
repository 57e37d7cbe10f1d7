import copy

import pytest

from mesh.model.endpoint import LoadAssignment
from mesh.model.snapshot import Snapshot
from mesh.xds.encode import Encoder, encode_resource
from mesh.xds.error import EncodeError
from mesh.xds.kind import Kind
from tests.support.xds_samples import KITCHEN_SINK
from tests.support.xds_wire import cluster, snapshot


def test_equal_snapshots_are_encoded_once():
    encoder = Encoder()
    first = encoder.bundle(KITCHEN_SINK)
    count = encoder.encoded
    again = encoder.bundle(copy.deepcopy(KITCHEN_SINK))
    assert encoder.encoded == count
    assert all(again.of(kind)[name] is resource for kind in Kind for name, resource in first.of(kind).items())


def test_version_is_the_contents():
    one, same, other = (Encoder().bundle(snapshot(cluster("c", timeout))) for timeout in (1.0, 1.0, 2.0))
    assert one.of(Kind.CLUSTER)["c"].version == same.of(Kind.CLUSTER)["c"].version
    assert one.of(Kind.CLUSTER)["c"].version != other.of(Kind.CLUSTER)["c"].version


def test_bad_resource_is_left_out_and_listed():
    bundle = Encoder().bundle(snapshot(cluster("bad", -1.0), cluster("good")))
    assert set(bundle.of(Kind.CLUSTER)) == {"good"}
    ((kind, error),) = bundle.errors
    assert (kind, error.resource, error.field) == (Kind.CLUSTER, "bad", "connect_timeout_seconds")


def test_eds_cluster_without_assignment_gets_an_empty_one():
    bundle = Encoder().bundle(Snapshot(clusters={"c": cluster("c")}))
    assert bundle.of(Kind.ENDPOINT)["c"] == encode_resource(Kind.ENDPOINT, "c", LoadAssignment("c"))


def test_resource_under_a_foreign_name_is_refused():
    with pytest.raises(EncodeError, match="calls itself 'c'"):
        encode_resource(Kind.CLUSTER, "other", cluster("c"))


def test_text_that_protobuf_refuses_is_an_encode_error():
    with pytest.raises(EncodeError):
        encode_resource(Kind.CLUSTER, "\ud800", cluster("\ud800"))


def test_memory_is_bounded():
    encoder = Encoder(max_entries=3)
    for timeout in range(1, 20):
        encoder.bundle(snapshot(cluster("c", float(timeout))))
    assert len(encoder._by_content) <= 3
    assert len(encoder._by_identity) <= 3
