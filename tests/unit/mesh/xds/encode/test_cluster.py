from dataclasses import replace

import pytest

from mesh.model.cluster import Cluster, Discovery, LbPolicy, OutlierDetection, ServiceRef
from mesh.model.endpoint import LoadAssignment
from mesh.model.secret import UpstreamTls
from tests.support.xds_json import to_json, unencodable
from tests.support.xds_samples import inline

EDS = Cluster("c", Discovery.EDS)
STATIC = Cluster("c", Discovery.STATIC, assignment=inline("c"))
DNS = Cluster("c", Discovery.STRICT_DNS, assignment=inline("c", "localhost"))


@pytest.mark.parametrize(
    ("value", "field"),
    [
        (replace(EDS, name=""), "name"),
        (replace(EDS, connect_timeout_seconds=0.0), "connect_timeout_seconds"),
        (replace(EDS, assignment=inline("c")), "assignment"),
        (replace(STATIC, assignment=None), "assignment"),
        (replace(DNS, discovery=Discovery.LOGICAL_DNS, assignment=LoadAssignment("c")), "assignment"),
        (replace(DNS, dns_refresh_seconds=0.001), "dns_refresh_seconds"),
        (replace(STATIC, eds_service_name="x"), "eds_service_name"),
        (replace(EDS, connect_to_port=80), "connect_to_port"),
        (replace(EDS, lb=LbPolicy.CLUSTER_PROVIDED), "lb"),
        (replace(EDS, lb=LbPolicy.RING_HASH, ring_min_size=9, ring_max_size=8), "ring_max_size"),
        (replace(EDS, lb=LbPolicy.MAGLEV, maglev_table_size=65536), "maglev_table_size"),
        (replace(EDS, lb=LbPolicy.RANDOM, slow_start_seconds=1), "slow_start_seconds"),
        (replace(EDS, outlier=OutlierDetection(max_ejection_seconds=1)), "outlier.max_ejection_seconds"),
        (
            replace(EDS, outlier=OutlierDetection(consecutive_local_origin_failure=1)),
            "outlier.consecutive_local_origin_failure",
        ),
        (replace(EDS, tls=UpstreamTls()), "tls"),
        (replace(EDS, idle_timeout_seconds=-1), "idle_timeout_seconds"),
    ],
)
def test_what_envoy_would_refuse_is_refused_first(value, field):
    assert unencodable(value) == field


def test_circuit_breakers_are_always_said():
    (limits,) = to_json(EDS)["circuit_breakers"]["thresholds"]
    assert limits["max_connections"] == 4294967295
    assert limits["track_remaining"] is True


def test_statistical_ejection_and_panic_are_switched_off():
    document = to_json(replace(EDS, outlier=OutlierDetection(consecutive_5xx=0, consecutive_gateway_failure=3)))
    outlier = document["outlier_detection"]
    assert outlier["enforcing_success_rate"] == 0
    assert (outlier["enforcing_consecutive_5xx"], outlier["enforcing_consecutive_gateway_failure"]) == (0, 100)
    assert document["common_lb_config"]["healthy_panic_threshold"] == {}


def test_original_destination_brings_its_own_balancer():
    document = to_json(Cluster("c", Discovery.ORIGINAL_DST, LbPolicy.LEAST_REQUEST, connect_to_port=8080))
    assert document["lb_policy"] == "CLUSTER_PROVIDED"
    assert document["original_dst_lb_config"] == {"upstream_port_override": 8080}


def test_dns_refresh_avoids_the_deprecated_field():
    document = to_json(replace(DNS, dns_refresh_seconds=60))
    assert document["cluster_type"]["typed_config"]["dns_refresh_rate"] == "60s"
    assert "dns_refresh_rate" not in document
    assert to_json(DNS)["type"] == "STRICT_DNS"


def test_service_travels_in_istios_metadata():
    document = to_json(replace(EDS, service=ServiceRef("a.b", "a", "b"), subset="v1"))
    assert document["metadata"]["filter_metadata"]["istio"] == {
        "services": [{"host": "a.b", "name": "a", "namespace": "b"}],
        "subset": "v1",
    }


def test_a_name_asked_for_is_a_name_checked():
    options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

    def upstream(tls: UpstreamTls) -> dict:
        return to_json(replace(EDS, tls=tls))["typed_extension_protocol_options"][options][
            "upstream_http_protocol_options"
        ]

    assert upstream(UpstreamTls(system_roots=True, auto_sni=True)) == {"auto_sni": True, "auto_san_validation": True}
    assert upstream(UpstreamTls(insecure=True, auto_sni=True)) == {"auto_sni": True}
