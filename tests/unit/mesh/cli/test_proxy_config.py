"""Rows of a config dump."""

import base64
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from mesh.cli.proxy_config import clusters, endpoints, listeners, routes, secrets

TYPE = "type.googleapis.com/envoy.admin.v3."
HCM = {"@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager", "rds": {"route_config_name": "9080"}}
TCP = {"@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy", "cluster": "PassthroughCluster"}


def test_a_cluster_of_istio_s_name_is_taken_apart():
    dump = {"configs": [{"@type": TYPE + "ClustersConfigDump", "dynamic_active_clusters": [{"cluster": {"name": "outbound|9080|v1|reviews.default.svc.cluster.local", "type": "EDS"}}, {"cluster": {"name": "PassthroughCluster", "type": "ORIGINAL_DST"}}]}]}
    assert [(row["service"], row["port"], row["subset"], row["direction"], row["type"]) for row in clusters(dump)] == [
        ("reviews.default.svc.cluster.local", "9080", "v1", "outbound", "EDS"),
        ("PassthroughCluster", "", "", "", "ORIGINAL_DST"),
    ]


def test_every_filter_chain_is_a_row():
    chain = {"filter_chain_match": {"transport_protocol": "raw_buffer", "application_protocols": ["h2c"], "destination_port": 80}, "filters": [{"typed_config": HCM}]}
    listener = {"name": "l", "address": {"socket_address": {"address": "0.0.0.0", "port_value": 80}}, "filter_chains": [chain], "default_filter_chain": {"filters": [{"typed_config": TCP}]}}
    dump = {"configs": [{"@type": TYPE + "ListenersConfigDump", "dynamic_listeners": [{"active_state": {"listener": listener}}]}]}
    assert [(row["port"], row["match"], row["destination"]) for row in listeners(dump)] == [(80, "raw_buffer h2c port 80", "routes 9080"), (80, "otherwise", "tcp PassthroughCluster")]


def test_weights_are_shown_as_shares():
    route = {"match": {"prefix": "/"}, "route": {"weighted_clusters": {"clusters": [{"name": "a", "weight": 1}, {"name": "b", "weight": 3}]}}}
    dump = {"configs": [{"@type": TYPE + "RoutesConfigDump", "dynamic_route_configs": [{"route_config": {"name": "r", "virtual_hosts": [{"name": "h", "domains": ["*"], "routes": [route]}]}}]}]}
    assert [row["target"] for row in routes(dump)] == ["a 25% b 75%"]


def test_an_endpoint_names_its_workload():
    endpoint = {"endpoint": {"address": {"socket_address": {"address": "198.18.0.2", "port_value": 9080}}}, "metadata": {"filter_metadata": {"istio": {"workload": "reviews-v1;default;reviews;v1;Kubernetes"}}}}
    dump = {"configs": [{"@type": TYPE + "EndpointsConfigDump", "dynamic_endpoint_configs": [{"endpoint_config": {"cluster_name": "c", "endpoints": [{"lb_endpoints": [endpoint]}]}}]}]}
    assert [(row["endpoint"], row["workload"], row["status"], row["tls"]) for row in endpoints(dump)] == [("198.18.0.2:9080", "default/reviews-v1", "HEALTHY", "-")]
    endpoint["metadata"]["filter_metadata"]["envoy.transport_socket_match"] = {"tlsMode": "istio"}
    assert [row["tls"] for row in endpoints(dump)] == ["mesh"]


def certificate(serial: int, begin: datetime) -> dict[str, str]:
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    made = x509.CertificateBuilder(name, name, key.public_key(), serial, begin, begin + timedelta(days=1)).sign(key, hashes.SHA256())
    return {"inline_bytes": base64.b64encode(made.public_bytes(Encoding.PEM)).decode()}


def test_a_secret_shows_its_certificate_and_never_its_key():
    today = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
    chain = {"name": "default", "tls_certificate": {"certificate_chain": certificate(0xBEEF, today), "private_key": {"inline_bytes": "x"}}}
    roots = {"name": "ROOTCA", "validation_context": {"trusted_ca": certificate(0xCA, datetime(2020, 1, 1, tzinfo=UTC))}}
    dump = {"configs": [{"@type": TYPE + "SecretsConfigDump", "dynamic_active_secrets": [{"name": "default", "secret": chain}, {"name": "ROOTCA", "secret": roots}]}]}
    tomorrow = today + timedelta(days=1)
    assert [tuple(row.values()) for row in secrets(dump)] == [
        ("default", "Cert Chain", "ACTIVE", "true", "beef", f"{tomorrow:%Y-%m-%dT%H:%M:%SZ}", f"{today:%Y-%m-%dT%H:%M:%SZ}"),
        ("ROOTCA", "CA", "ACTIVE", "false", "ca", "2020-01-02T00:00:00Z", "2020-01-01T00:00:00Z"),
    ]
