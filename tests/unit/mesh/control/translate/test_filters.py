"""Terminal filters."""

from __future__ import annotations

from mesh.control.mesh_config import ProxySettings
from mesh.control.translate.filters import http_manager, observation
from mesh.control.translate.registry import registry
from mesh.model.addr import Address
from mesh.model.cluster import Discovery, Protocol
from tests.support.world import Cluster, sidecar_node

COLLECTOR = """
apiVersion: v1
kind: Service
metadata: {name: triomesh-collector, namespace: triomesh-system}
spec: {ports: [{name: grpc-otlp, port: 4317}]}
"""


def test_spans_go_to_a_service_of_the_mesh_by_its_cluster() -> None:
    cluster = Cluster()
    cluster.apply(COLLECTOR)
    settings = ProxySettings(sampling_percent=100, otlp="triomesh-collector.triomesh-system.svc:4317")
    seen, extra = observation(sidecar_node("reviews"), settings, registry(cluster.world()))
    assert seen.tracing.otlp_cluster == "outbound|4317||triomesh-collector.triomesh-system.svc.cluster.local"
    assert (seen.tracing.random_sampling_percent, seen.tracing.service_name, extra) == (100, "reviews.default", None)


def test_another_collector_gets_a_cluster_of_its_own() -> None:
    seen, extra = observation(
        sidecar_node("reviews"), ProxySettings(otlp="127.0.0.1:4317"), registry(Cluster().world())
    )
    assert extra is not None and extra.assignment is not None
    assert (extra.name, extra.discovery, extra.protocol) == (
        seen.tracing.otlp_cluster,
        Discovery.STRICT_DNS,
        Protocol.HTTP2,
    )
    assert [endpoint.address for endpoint in extra.assignment.endpoints()] == [Address("127.0.0.1", 4317)]


def test_nodes_without_export_share_their_observation() -> None:
    known = registry(Cluster().world())
    one, _ = observation(sidecar_node("a"), ProxySettings(), known)
    two, _ = observation(sidecar_node("b"), ProxySettings(), known)
    assert one == two


def test_ipv6_pods_listen_on_ipv6() -> None:
    seen, _ = observation(sidecar_node("a", ip="fd00::1"), ProxySettings(), registry(Cluster().world()))
    assert seen.wildcard == "::"


def test_only_the_edge_distrusts_its_clients() -> None:
    seen, _ = observation(sidecar_node("a"), ProxySettings(), registry(Cluster().world()))
    assert not http_manager("p", seen, "80").use_remote_address
    assert http_manager("p", seen, "http.8080", is_edge=True).use_remote_address
