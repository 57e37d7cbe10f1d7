"""Clusters of services."""

from __future__ import annotations

import pytest

from mesh.control.mesh_config import MeshConfig
from mesh.control.translate.clusters import fixed_clusters
from mesh.model.addr import Address
from mesh.model.cluster import CircuitBreaker, Discovery, LbPolicy, OutlierDetection, Protocol
from mesh.model.cluster import Cluster as MeshCluster
from mesh.model.match import StringKind, StringMatch
from mesh.model.origin import Origin
from mesh.model.secret import UpstreamTls
from tests.support.world import Cluster

SERVICES = """
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{name: http, port: 80}, {name: grpc, port: 81}, {name: x, port: 82}]}
---
apiVersion: v1
kind: Service
metadata: {name: peers}
spec: {clusterIP: None, selector: {app: web}, ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: alias}
spec: {type: ExternalName, externalName: www.example.com, ports: [{name: http, port: 80}]}
"""


def clusters(rule: str = "", more: str = "") -> dict[str, MeshCluster]:
    cluster = Cluster()
    cluster.apply(SERVICES)
    if more:
        cluster.apply(more)
    if rule:
        text = f"apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: r}}\nspec: {{host: web, {rule}}}"
        cluster.apply(text)
    return dict(cluster.graph().clusters)


def web(rule: str) -> MeshCluster:
    return clusters(rule)["outbound|80||web.default.svc.cluster.local"]


def test_protocols_and_discovery() -> None:
    found = clusters()
    assert {
        name.removesuffix(".default.svc.cluster.local"): (c.discovery, c.protocol) for name, c in found.items()
    } == {
        "outbound|80||web": (Discovery.EDS, Protocol.HTTP1),
        "outbound|81||web": (Discovery.EDS, Protocol.HTTP2),
        "outbound|82||web": (Discovery.EDS, Protocol.DOWNSTREAM),
        "outbound|80||peers": (Discovery.ORIGINAL_DST, Protocol.HTTP1),
        "outbound|80||alias": (Discovery.STRICT_DNS, Protocol.HTTP1),
    }


def test_dns_clusters_carry_their_names() -> None:
    assignment = clusters()["outbound|80||alias.default.svc.cluster.local"].assignment
    assert assignment is not None
    (endpoint,) = assignment.endpoints()
    assert (endpoint.address, endpoint.host_name) == (Address("www.example.com", 80), "www.example.com")


def test_a_headless_service_that_rules_point_to_is_balanced() -> None:
    route = (
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: v}\n"
        "spec: {hosts: [web], http: [{route: [{destination: {host: peers}}]}]}"
    )
    assert clusters(more=route)["outbound|80||peers.default.svc.cluster.local"].discovery is Discovery.EDS


def test_policy_and_origin() -> None:
    found = web(
        "trafficPolicy: {loadBalancer: {simple: RANDOM}, outlierDetection: {consecutive5xxErrors: 1}, "
        "connectionPool: {tcp: {maxConnections: 5, connectTimeout: 30ms}, http: {maxRequestsPerConnection: 2, idleTimeout: 5s}}}"
    )
    assert found.lb is LbPolicy.RANDOM
    assert found.outlier == OutlierDetection(consecutive_5xx=1)
    assert found.circuit_breaker == CircuitBreaker(max_connections=5)
    assert (found.connect_timeout_seconds, found.max_requests_per_connection, found.idle_timeout_seconds) == (
        0.03,
        2,
        5.0,
    )
    assert found.origin == Origin("DestinationRule", "default", "r", "trafficPolicy")


def test_subsets_have_their_own_clusters() -> None:
    found = clusters(
        "subsets: [{name: v1, labels: {version: v1}, trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}}}]"
    )
    subset = found["outbound|80|v1|web.default.svc.cluster.local"]
    assert (subset.subset, subset.lb) == ("v1", LbPolicy.ROUND_ROBIN)
    assert subset.origin == Origin("DestinationRule", "default", "r", "subsets[0]")


def test_tls_origination_verifies_the_host() -> None:
    host = "web.default.svc.cluster.local"
    assert web("trafficPolicy: {tls: {mode: SIMPLE}}").tls == UpstreamTls(
        sni=host, alpn=("http/1.1",), subject_alt_names=(StringMatch(StringKind.EXACT, host),), system_roots=True
    )
    insecure = web("trafficPolicy: {tls: {mode: SIMPLE, sni: s.example, insecureSkipVerify: true}}").tls
    assert insecure == UpstreamTls(sni="s.example", alpn=("http/1.1",), insecure=True)


@pytest.mark.parametrize("tls", ["{mode: MUTUAL, clientCertificate: a}", "{mode: SIMPLE, credentialName: x}"])
def test_what_cannot_be_encrypted_as_asked_goes_nowhere(tls: str) -> None:
    found = web(f"trafficPolicy: {{tls: {tls}}}")
    assert found.discovery is Discovery.STATIC
    assert found.assignment is not None and found.assignment.endpoints() == ()


def test_files_of_the_proxy_replace_the_systems_roots() -> None:
    files = "caCertificates: /ca.pem, clientCertificate: /c.pem, privateKey: /k.pem"
    tls = web(f"trafficPolicy: {{tls: {{mode: MUTUAL, sni: s.example, {files}}}}}").tls
    assert tls is not None and not tls.system_roots
    assert (tls.trust_name, tls.certificate_name) == ("file-root:/ca.pem", "file-cert:/c.pem~/k.pem")
    simple = web("trafficPolicy: {tls: {mode: SIMPLE, caCertificates: /ca.pem}}").tls
    assert simple is not None and (simple.trust_name, simple.certificate_name) == ("file-root:/ca.pem", "")


def test_istio_mutual_is_plaintext_for_who_has_no_identity() -> None:
    found = web("trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}")
    assert (found.tls, found.discovery) == (None, Discovery.EDS)


def test_passthrough_goes_where_the_client_dialled() -> None:
    assert web("trafficPolicy: {loadBalancer: {simple: PASSTHROUGH}}").discovery is Discovery.ORIGINAL_DST


def test_inbound_passthrough_cannot_be_captured_again() -> None:
    found = fixed_clusters(MeshConfig())
    assert {name: cluster.bind_host for name, cluster in found.items()} == {
        "PassthroughCluster": "",
        "BlackHoleCluster": "",
        "InboundPassthroughCluster": "127.0.0.6",
    }
