import base64

import pytest
from google.protobuf.struct_pb2 import Struct

from mesh.proxy.observe.peer import (
    HEADERS,
    UNKNOWN,
    Peer,
    PeerCache,
    encode_headers,
    peer_of_metadata,
    peer_of_principal,
    peer_of_workload,
)
from tests.support.observe import REVIEWS_V1

METADATA = {
    "NAME": "productpage-v1-abc",
    "NAMESPACE": "default",
    "WORKLOAD_NAME": "productpage-v1",
    "CLUSTER_ID": "Kubernetes",
    "LABELS": {"app": "productpage", "version": "v1", "secret": "s"},
    "ANNOTATIONS": {"private": "p"},
}


def labels(peer: Peer) -> tuple[str, ...]:
    return (peer.workload, peer.namespace, peer.app, peer.version, peer.canonical_service, peer.canonical_revision, peer.cluster)


PRODUCTPAGE = ("productpage-v1", "default", "productpage", "v1", "productpage", "v1", "Kubernetes")


def value_of(lines: bytes) -> bytes:
    return lines.split(b"\r\n")[1].split(b": ", 1)[1]


def test_labels_of_our_own_metadata() -> None:
    assert labels(peer_of_metadata(METADATA)) == PRODUCTPAGE


def test_what_one_proxy_sends_the_other_reads() -> None:
    lines = encode_headers("sidecar~1~a~b", METADATA)
    assert lines.startswith(b"x-envoy-peer-metadata-id: sidecar~1~a~b\r\nx-envoy-peer-metadata: ")
    assert labels(PeerCache().peer(value_of(lines))) == PRODUCTPAGE


def test_nothing_private_is_sent() -> None:
    sent = base64.b64decode(value_of(encode_headers("n", METADATA)))
    assert b"secret" not in sent and b"private" not in sent


def test_a_canonical_name_wins_over_the_app_label() -> None:
    peer = peer_of_metadata({"LABELS": {"app": "a", "service.istio.io/canonical-name": "c"}, "NAME": "pod"})
    assert (peer.app, peer.canonical_service, peer.canonical_revision, peer.workload) == ("a", "c", "latest", "pod")


def test_labels_of_an_endpoint() -> None:
    assert labels(peer_of_workload(REVIEWS_V1)) == ("reviews-v1", "default", "reviews", "v1", "reviews", "v1", "Kubernetes")
    assert peer_of_workload(None) is UNKNOWN


def test_a_peer_is_decoded_once() -> None:
    cache, value = PeerCache(), value_of(encode_headers("n", METADATA))
    assert cache.peer(value) is cache.peer(bytes(bytearray(value)))


def test_no_header_is_an_unknown_peer() -> None:
    assert PeerCache().peer(None) is UNKNOWN


@pytest.mark.parametrize("value", [b"!!!", b"AAA", base64.b64encode(b"\xff\xff\xff"), b"A" * 20_000])
def test_garbage_is_an_unknown_peer_and_counted(value: bytes) -> None:
    cache = PeerCache()
    assert cache.peer(value) is UNKNOWN
    assert cache.malformed == 1


def test_values_of_the_wrong_type_are_ignored() -> None:
    struct = Struct()
    struct.update({"WORKLOAD_NAME": 7, "LABELS": "x", "NAMESPACE": "n" * 500})
    peer = PeerCache().peer(base64.b64encode(struct.SerializeToString()))
    assert (peer.workload, len(peer.namespace)) == ("unknown", 128)


def test_many_peers_do_not_fill_the_memory() -> None:
    cache = PeerCache()
    for number in range(2_000):
        cache.peer(b"bad%d" % number)
    assert len(cache._peers) <= 512


def test_names_to_strip() -> None:
    assert set(HEADERS) == {b"x-envoy-peer-metadata", b"x-envoy-peer-metadata-id"}


@pytest.mark.parametrize("principal", ["spiffe://td/ns/shop", "spiffe://td/x/shop/sa/web", "urn:a", ""])
def test_only_a_workloads_id_has_a_namespace(principal: str) -> None:
    assert peer_of_principal(principal) is UNKNOWN
    assert peer_of_principal("spiffe://td/ns/shop/sa/web").namespace == "shop"
