from dataclasses import replace

import pytest

from mesh.model.listener import (
    AccessLog,
    CertificateDetail,
    ClientCertificate,
    FilterChain,
    HttpFilter,
    HttpManager,
    Listener,
    Tracing,
)
from mesh.model.route import RouteConfig
from tests.support.xds_json import to_json, unencodable

MANAGER = HttpManager("s", route_config_name="r")


def listener(manager: HttpManager) -> Listener:
    return Listener("l", chains=(FilterChain(manager),))


def made(**changes) -> dict:
    return to_json(listener(replace(MANAGER, **changes)))["filter_chains"][0]["filters"][0]["typed_config"]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"stat_prefix": ""}, ".stat_prefix"),
        ({"route_config_name": ""}, ""),
        ({"route_config": RouteConfig("r")}, ""),
        ({"filters": ()}, ".filters"),
        ({"filters": (HttpFilter.ROUTER, HttpFilter.FAULT)}, ".filters"),
        ({"max_request_headers_kb": 0}, ".max_request_headers_kb"),
        ({"xff_trusted_hops": -1}, ".xff_trusted_hops"),
        ({"tracing": Tracing(random_sampling_percent=101)}, ".tracing.random_sampling_percent"),
        ({"certificate_details": frozenset({CertificateDetail.URI})}, ".certificate_details"),
        ({"tracing": Tracing(service_name="x")}, ".tracing.service_name"),
        ({"access_logs": (AccessLog(""),)}, ".access_logs[0].path"),
        ({"access_logs": (AccessLog("/x", "t", ()),)}, ".access_logs[0].json"),
    ],
)
def test_what_envoy_would_refuse_is_refused_first(changes, field):
    assert unencodable(listener(replace(MANAGER, **changes))) == f"chains[0].filter{field}"


def test_peer_metadata_is_optional_and_the_router_last():
    filters = made(filters=(HttpFilter.PEER_METADATA, HttpFilter.FAULT, HttpFilter.ROUTER))["http_filters"]
    assert [entry.get("is_optional", False) for entry in filters] == [True, False, False]
    assert filters[-1]["name"] == "envoy.filters.http.router"


def test_who_the_client_is_goes_on_in_a_header():
    details = frozenset({CertificateDetail.SUBJECT, CertificateDetail.DNS, CertificateDetail.URI})
    found = made(client_certificate=ClientCertificate.APPEND, certificate_details=details)
    assert found["forward_client_cert_details"] == "APPEND_FORWARD"
    assert found["set_current_client_cert_details"] == {"subject": True, "dns": True, "uri": True}


def test_spans_go_out_by_otlp():
    provider = made(tracing=Tracing(otlp_cluster="otel", service_name="web.default"))["tracing"]["provider"]
    assert provider["typed_config"]["grpc_service"]["envoy_grpc"] == {"cluster_name": "otel"}
    assert provider["typed_config"]["service_name"] == "web.default"


def test_routes_come_on_the_same_stream():
    assert made()["rds"] == {"route_config_name": "r", "config_source": {"ads": {}, "resource_api_version": "V3"}}


def test_zero_timeouts_are_said_aloud():
    assert made(stream_idle_timeout_seconds=0.0)["stream_idle_timeout"] == "0s"
