from dataclasses import replace

import pytest

from mesh.model.cluster import Cluster, Discovery
from mesh.model.failure import Flag
from mesh.model.match import RouteMatch
from mesh.model.origin import Origin
from mesh.model.route import ForwardAction, Route, RouteConfig, VirtualHost, WeightedCluster
from mesh.proxy.observe.istio import REQUEST_LABELS, ROUTE_LABELS, TCP_LABELS, RequestLabels, flags_text, route_labels
from mesh.proxy.observe.peer import peer_of_metadata
from mesh.proxy.route import RouteTable
from mesh.proxy.tls import security_of
from tests.support.observe import REVIEWS, REVIEWS_V1, host, record

LOCAL = peer_of_metadata({"WORKLOAD_NAME": "me", "NAMESPACE": "ns", "LABELS": {"app": "me", "version": "v9"}})
OTHER = peer_of_metadata({"WORKLOAD_NAME": "you", "NAMESPACE": "theirs", "LABELS": {"app": "you"}})


def test_the_clients_report() -> None:
    item = record()
    item.status, item.cluster, item.host = 200, REVIEWS, host(workload=REVIEWS_V1)
    found = dict(zip(REQUEST_LABELS, RequestLabels(LOCAL, is_inbound=False).of(item, item.cluster, item.host), strict=True))
    assert found == {
        "reporter": "source",
        "source_workload": "me",
        "source_canonical_service": "me",
        "source_canonical_revision": "v9",
        "source_workload_namespace": "ns",
        "source_principal": "unknown",
        "source_app": "me",
        "source_version": "v9",
        "source_cluster": "unknown",
        "destination_workload": "reviews-v1",
        "destination_workload_namespace": "default",
        "destination_principal": "unknown",
        "destination_app": "reviews",
        "destination_version": "v1",
        "destination_service": "reviews.default.svc.cluster.local",
        "destination_canonical_service": "reviews",
        "destination_canonical_revision": "v1",
        "destination_service_name": "reviews",
        "destination_service_namespace": "default",
        "destination_cluster": "Kubernetes",
        "request_protocol": "http",
        "response_code": "200",
        "grpc_response_status": "",
        "response_flags": "-",
        "connection_security_policy": "unknown",
    }


def test_the_servers_report() -> None:
    item = record()
    item.status, item.cluster, item.peer, item.is_grpc, item.grpc_status = 200, REVIEWS, OTHER, True, 14
    item.connection = replace(item.connection, is_mutual_tls=True, peer_principal="spiffe://a", local_principal="spiffe://b")
    found = dict(zip(REQUEST_LABELS, RequestLabels(LOCAL, is_inbound=True).of(item, item.cluster, None), strict=True))
    wanted = {
        "reporter": "destination",
        "source_workload": "you",
        "destination_workload": "me",
        "source_principal": "spiffe://a",
        "destination_principal": "spiffe://b",
        "request_protocol": "grpc",
        "grpc_response_status": "14",
        "connection_security_policy": "mutual_tls",
    }
    assert {name: found[name] for name in wanted} == wanted


def test_plaintext_is_none_to_the_server() -> None:
    labels = RequestLabels(LOCAL, is_inbound=True).of(record(), None, None)
    assert labels[REQUEST_LABELS.index("connection_security_policy")] == "none"


@pytest.mark.parametrize("name", ["PassthroughCluster", "BlackHoleCluster", "InboundPassthroughCluster"])
def test_catch_all_clusters_are_named_as_the_service(name: str) -> None:
    labels = RequestLabels(LOCAL, is_inbound=False).of(record(), Cluster(name, Discovery.ORIGINAL_DST), None)
    found = dict(zip(REQUEST_LABELS, labels, strict=True))
    assert (found["destination_service_name"], found["destination_service"]) == (name, "unknown")


def test_no_label_comes_from_the_host_header() -> None:
    item = record()
    assert not any("9080" in value for value in RequestLabels(LOCAL, is_inbound=False).of(item, None, None))


def test_tcp_has_labels_of_its_own() -> None:
    found = dict(zip(TCP_LABELS, RequestLabels(LOCAL, is_inbound=False).of_tcp(record(), REVIEWS, None), strict=True))
    assert (found["request_protocol"], found["response_flags"]) == ("tcp", "-")


def test_flags_are_joined() -> None:
    item = record()
    item.flags = (Flag.DELAY_INJECTED, Flag.FAULT_INJECTED)
    assert (flags_text(item), flags_text(record())) == ("DI,FI", "-")


def test_the_routes_labels() -> None:
    origin = Origin("VirtualService", "default", "reviews", "http[0]", 7)
    route = Route(RouteMatch(), ForwardAction((WeightedCluster("v1"),)), "jason", origin=origin)
    item = record()
    found = RouteTable(RouteConfig("r", (VirtualHost("reviews:9080", ("*",), (route,)),))).find(item.head)
    assert found is not None
    item.route, item.share, item.status = found, found.shares[0], 503
    assert dict(zip(ROUTE_LABELS, route_labels(item, found), strict=True)) == {
        "virtual_host": "reviews:9080",
        "route": "jason",
        "origin": "VirtualService/default/reviews http[0]",
        "generation": "7",
        "cluster": "v1",
        "request_protocol": "http",
        "response_code": "503",
        "grpc_response_status": "",
    }


def test_a_handshake_tells_the_client_who_is_who() -> None:
    item = record()
    item.status, item.cluster, item.host = 200, REVIEWS, host(workload=REVIEWS_V1)
    names = ("source_principal", "destination_principal", "connection_security_policy")
    for security, wanted in (
        (security_of("spiffe://b", "spiffe://a", "TLSv1.3"), ("spiffe://a", "spiffe://b", "mutual_tls")),
        (security_of("", "", "TLSv1.3"), ("unknown", "unknown", "unknown")),
    ):
        item.upstream_security = security
        values = RequestLabels(LOCAL, is_inbound=False).of(item, item.cluster, item.host)
        found = dict(zip(REQUEST_LABELS, values, strict=True))
        assert tuple(found[name] for name in names) == wanted


def test_of_an_opaque_client_its_certificate_tells_the_namespace() -> None:
    item = record()
    item.cluster = REVIEWS
    item.connection = replace(item.connection, is_mutual_tls=True, peer_principal="spiffe://td/ns/shop/sa/web")
    found = dict(zip(TCP_LABELS, RequestLabels(LOCAL, is_inbound=True).of_tcp(item, item.cluster, None), strict=True))
    assert (found["source_workload_namespace"], found["source_workload"]) == ("shop", "unknown")
    assert found["source_principal"] == "spiffe://td/ns/shop/sa/web"
