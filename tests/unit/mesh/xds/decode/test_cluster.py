import pytest

from mesh.model.cluster import CircuitBreaker, Discovery, LbPolicy, OutlierDetection, Protocol, ServiceRef
from mesh.xds.kind import Kind
from tests.support.xds_json import ADS, TYPE, from_json, refused

EDS = {"name": "c", "type": "EDS", "eds_cluster_config": {"eds_config": ADS}}
OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def decoded(**fields):
    return from_json(Kind.CLUSTER, EDS | fields)


def http(**fields) -> dict:
    return {"typed_extension_protocol_options": {OPTIONS: {"@type": "type.googleapis.com/" + OPTIONS, **fields}}}


def test_envoys_defaults_are_envoys():
    cluster = decoded()
    assert cluster.lb is LbPolicy.ROUND_ROBIN
    assert cluster.connect_timeout_seconds == 5.0
    assert cluster.circuit_breaker == CircuitBreaker(1024, 1024, 1024, 3)
    assert cluster.outlier is None
    assert (cluster.protocol, cluster.idle_timeout_seconds) == (Protocol.HTTP1, 3600.0)


def test_istios_outbound_cluster_is_understood():
    cluster = decoded(
        lb_policy="LEAST_REQUEST",
        connect_timeout="10s",
        common_lb_config={"healthy_panic_threshold": {"value": 0}},
        circuit_breakers={"thresholds": [{"max_connections": 4294967295, "max_retries": 7, "track_remaining": True}]},
        metadata={
            "filter_metadata": {"istio": {"services": [{"host": "a.b", "name": "a", "namespace": "b"}], "subset": "v1"}}
        },
        filters=[{"name": "istio.metadata_exchange"}],
        outlier_detection={
            "consecutive_5xx": 7,
            "enforcing_consecutive_5xx": 100,
            "enforcing_success_rate": 0,
            "consecutive_gateway_failure": 2,
            "enforcing_consecutive_gateway_failure": 100,
        },
        **http(explicit_http_config={"http2_protocol_options": {"max_concurrent_streams": 100}}),
    )
    assert cluster.service == ServiceRef("a.b", "a", "b")
    assert (cluster.subset, cluster.protocol) == ("v1", Protocol.HTTP2)
    assert cluster.outlier == OutlierDetection(consecutive_5xx=7, consecutive_gateway_failure=2)
    assert cluster.circuit_breaker.max_retries == 7


def test_detectors_that_are_not_enforced_are_off():
    outlier = decoded(outlier_detection={"enforcing_consecutive_5xx": 0}).outlier
    assert (outlier.consecutive_5xx, outlier.consecutive_gateway_failure) == (0, 0)


def test_plain_tls_without_verification_is_insecure():
    context = {"@type": TYPE + "extensions.transport_sockets.tls.v3.UpstreamTlsContext", "sni": "a"}
    tls = decoded(transport_socket={"name": "tls", "typed_config": context}).tls
    assert (tls.insecure, tls.sni) == (True, "a")


def test_dns_extension_is_a_dns_cluster():
    dns = {"@type": TYPE + "extensions.clusters.dns.v3.DnsCluster", "all_addresses_in_single_endpoint": True}
    cluster = from_json(Kind.CLUSTER, {"name": "c", "cluster_type": {"name": "dns", "typed_config": dns}})
    assert (cluster.discovery, cluster.dns_refresh_seconds) == (Discovery.LOGICAL_DNS, 5.0)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"health_checks": [{}]}, "health_checks"),
        ({"lb_subset_config": {}}, "lb_subset_config"),
        ({"load_balancing_policy": {}}, "load_balancing_policy"),
        ({"load_assignment": {"cluster_name": "c"}}, "load_assignment"),
        (
            {"eds_cluster_config": {"eds_config": {"path_config_source": {}}}},
            "eds_cluster_config.eds_config.path_config_source",
        ),
        ({"outlier_detection": {"enforcing_success_rate": 100}}, "outlier_detection.enforcing_success_rate"),
        ({"outlier_detection": {"enforcing_consecutive_5xx": 50}}, "outlier_detection.enforcing_consecutive_5xx"),
        ({"circuit_breakers": {"per_host_thresholds": [{}]}}, "circuit_breakers.per_host_thresholds"),
        ({"transport_socket_matches": [{"match": {"other": "x"}}]}, "transport_socket_matches[0].match"),
        (
            {"typed_extension_protocol_options": {"x": {"@type": TYPE + "config.cluster.v3.Cluster"}}},
            "typed_extension_protocol_options[x]",
        ),
        (http(auto_config={}), f"typed_extension_protocol_options[{OPTIONS}].auto_config"),
        (
            {"upstream_bind_config": {"source_address": {"address": "1.2.3.4", "port_value": 7}}},
            "upstream_bind_config.source_address.port_value",
        ),
    ],
)
def test_what_would_change_behaviour_is_refused(fields, field):
    assert refused(Kind.CLUSTER, EDS | fields) == field


def test_unknown_transport_socket_is_refused():
    alts = {"@type": TYPE + "config.cluster.v3.Cluster"}
    assert refused(Kind.CLUSTER, EDS | {"transport_socket": {"name": "x", "typed_config": alts}}) == (
        "transport_socket.typed_config"
    )
