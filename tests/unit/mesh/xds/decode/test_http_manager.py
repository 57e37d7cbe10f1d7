import pytest

from mesh.model.listener import AccessLog, CertificateDetail, ClientCertificate, HttpFilter, Tracing
from mesh.xds.kind import Kind
from tests.support.xds_json import ADS, ROUTER, TYPE, from_json, refused

HCM = TYPE + "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
AT = "api_listener.api_listener"
STRUCT = "type.googleapis.com/udpa.type.v1.TypedStruct"


def listener(**fields) -> dict:
    manager = {
        "@type": HCM,
        "stat_prefix": "s",
        "rds": {"route_config_name": "r", "config_source": ADS},
        "http_filters": [ROUTER],
        **fields,
    }
    return {"name": "l", "api_listener": {"api_listener": manager}}


def decoded(**fields):
    return from_json(Kind.LISTENER, listener(**fields)).api


def typed(url: str, **fields) -> dict:
    return {"name": url, "typed_config": {"@type": url, **fields}}


def test_envoys_defaults_are_envoys():
    manager = decoded()
    assert not manager.normalize_path
    assert not manager.accept_http_10
    assert (manager.stream_idle_timeout_seconds, manager.idle_timeout_seconds) == (300.0, 3600.0)
    assert (manager.upgrades, manager.tracing, manager.max_headers) == ((), None, 100)


def test_istios_filters_are_understood_or_skipped():
    filters = [
        typed(STRUCT, type_url="type.googleapis.com/io.istio.http.peer_metadata.Config", value={}),
        typed(TYPE + "extensions.filters.http.grpc_stats.v3.FilterConfig", emit_filter_state=True),
        typed(STRUCT, type_url="type.googleapis.com/stats.PluginConfig", value={}),
        typed(TYPE + "extensions.filters.http.fault.v3.HTTPFault"),
        typed(TYPE + "extensions.filters.http.cors.v3.Cors"),
        ROUTER,
    ]
    assert decoded(http_filters=filters).filters == (
        HttpFilter.PEER_METADATA,
        HttpFilter.FAULT,
        HttpFilter.CORS,
        HttpFilter.ROUTER,
    )


def test_istios_harmless_settings_are_skipped():
    manager = decoded(
        server_name="istio-envoy",
        server_header_transformation="PASS_THROUGH",
        proxy_100_continue=True,
        upgrade_configs=[{"upgrade_type": "websocket"}, {"upgrade_type": "x", "enabled": False}],
        path_with_escaped_slashes_action="KEEP_UNCHANGED",
    )
    assert (manager.server_name, manager.upgrades) == ("istio-envoy", ("websocket",))


def test_details_count_only_where_the_header_is_written():
    details = {"subject": True, "uri": True, "cert": False}
    appended = decoded(forward_client_cert_details="APPEND_FORWARD", set_current_client_cert_details=details)
    assert appended.client_certificate is ClientCertificate.APPEND
    assert appended.certificate_details == {CertificateDetail.SUBJECT, CertificateDetail.URI}
    kept = decoded(forward_client_cert_details="FORWARD_ONLY", set_current_client_cert_details=details)
    assert (kept.client_certificate, kept.certificate_details) == (ClientCertificate.FORWARD_ONLY, frozenset())


def test_optional_and_disabled_filters_are_skipped():
    unknown = typed(TYPE + "config.cluster.v3.Cluster")
    filters = [{**unknown, "is_optional": True}, {**unknown, "disabled": True}, ROUTER]
    assert decoded(http_filters=filters).filters == (HttpFilter.ROUTER,)


def test_json_access_log():
    log = typed(
        TYPE + "extensions.access_loggers.file.v3.FileAccessLog",
        path="/dev/stdout",
        log_format={"json_format": {"b": "%PROTOCOL%", "a": "%METHOD%"}},
    )
    assert decoded(access_log=[log]).access_logs == (
        AccessLog("/dev/stdout", json=(("a", "%METHOD%"), ("b", "%PROTOCOL%"))),
    )


def test_tracing_without_numbers_is_always_on():
    """Envoy's defaults; Istio always says."""
    assert decoded(tracing={}).tracing == Tracing(100.0, 100.0, 100.0)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"http_filters": []}, "http_filters"),
        ({"http_filters": [ROUTER, typed(TYPE + "extensions.filters.http.cors.v3.Cors")]}, "http_filters"),
        ({"http_filters": [typed(TYPE + "config.cluster.v3.Cluster"), ROUTER]}, "http_filters[0].typed_config"),
        (
            {"http_filters": [typed(TYPE + "extensions.filters.http.fault.v3.HTTPFault", delay={}), ROUTER]},
            "http_filters[0].typed_config.delay",
        ),
        ({"codec_type": "HTTP3"}, "codec_type"),
        ({"path_with_escaped_slashes_action": "UNESCAPE_AND_FORWARD"}, "path_with_escaped_slashes_action"),
        ({"local_reply_config": {}}, "local_reply_config"),
        ({"original_ip_detection_extensions": [{}]}, "original_ip_detection_extensions"),
        ({"rds": {"config_source": ADS}}, "rds.route_config_name"),
        ({"rds": {"route_config_name": "r"}}, "rds.config_source"),
        (
            {"tracing": {"provider": typed(TYPE + "config.trace.v3.ZipkinConfig")}},
            "tracing.provider.typed_config",
        ),
        ({"access_log": [typed(TYPE + "config.cluster.v3.Cluster")]}, "access_log[0].typed_config"),
    ],
)
def test_what_would_change_behaviour_is_refused(fields, field):
    assert refused(Kind.LISTENER, listener(**fields)) == f"{AT}.{field}"
