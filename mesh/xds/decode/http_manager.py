"""`HttpConnectionManager` to HttpManager, and access logs."""

from __future__ import annotations

from typing import Any

import envoy.config.trace.v3.opentelemetry_pb2 as opentelemetry_pb
import envoy.extensions.access_loggers.file.v3.file_pb2 as file_pb
import envoy.extensions.filters.http.cors.v3.cors_pb2 as cors_pb
import envoy.extensions.filters.http.fault.v3.fault_pb2 as fault_pb
import envoy.extensions.filters.http.router.v3.router_pb2 as router_pb
import envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 as http_manager_pb
import xds.type.v3.typed_struct_pb2 as typed_struct_pb
from google.protobuf.json_format import MessageToDict
from udpa.type.v1 import typed_struct_pb2 as udpa_typed_struct_pb

from mesh.model.listener import AccessLog, CertificateDetail, ClientCertificate, HttpFilter, HttpManager, Tracing
from mesh.xds.decode.common import Reader, read_ads_source, type_name
from mesh.xds.decode.route import decode_route_config
from mesh.xds.wire import ISTIO_PEER_METADATA_URL, PEER_METADATA_URL

MESSAGE = http_manager_pb.HttpConnectionManager

MANAGER_FIELDS = (
    "stat_prefix",
    "rds",
    "route_config",
    "http_filters",
    "tracing",
    "common_http_protocol_options",
    "http_protocol_options",
    "server_name",
    "max_request_headers_kb",
    "stream_idle_timeout",
    "request_timeout",
    "request_headers_timeout",
    "drain_timeout",
    "access_log",
    "use_remote_address",
    "xff_num_trusted_hops",
    "generate_request_id",
    "preserve_external_request_id",
    "upgrade_configs",
    "normalize_path",
    "merge_slashes",
    "strip_any_host_port",
    "strip_matching_host_port",
    "codec_type",
    "path_with_escaped_slashes_action",
    "forward_client_cert_details",
    "set_current_client_cert_details",
)
MANAGER_HARMLESS = (
    # Tuning of HTTP/2 flow control and of flushing: both sides negotiate, ours has its own.
    "http2_protocol_options",
    "http3_protocol_options",
    "stream_flush_timeout",
    "delayed_close_timeout",
    "access_log_options",
    "http1_safe_max_connection_duration",
    # Response headers that inform: `server`, `via`, `proxy-status`, request id echoed.
    "server_header_transformation",
    "via",
    "proxy_status_config",
    "always_set_request_id_in_response",
    "append_x_forwarded_port",
    "append_local_overload",
    # The default request id extension with Istio's one flag; how 100-continue is passed on.
    "request_id_extension",
    "proxy_100_continue",
    "represent_ipv4_remote_address_as_ipv4_mapped_ipv6",
    "internal_address_config",
    "stream_error_on_invalid_http_message",
    "add_user_agent",
    "skip_xff_append",
)
_SKIPPED_FILTERS = frozenset(
    {
        # Istio's: metrics, which every request gets here anyway; upstream ALPN, which mesh TLS sets by itself.
        "stats.PluginConfig",
        "istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig",
        "envoy.extensions.filters.http.grpc_stats.v3.FilterConfig",
    }
)
_CLIENT_CERTIFICATES = {
    MESSAGE.SANITIZE: ClientCertificate.SANITIZE,
    MESSAGE.FORWARD_ONLY: ClientCertificate.FORWARD_ONLY,
    MESSAGE.APPEND_FORWARD: ClientCertificate.APPEND,
    MESSAGE.SANITIZE_SET: ClientCertificate.REPLACE,
    MESSAGE.ALWAYS_FORWARD_ONLY: ClientCertificate.ALWAYS_FORWARD,
}
_Tracing = http_manager_pb.HttpConnectionManager.Tracing
_ENVOY_IDLE_SECONDS = 3600.0


def read_http_manager(reader: Reader) -> HttpManager:
    """A reader of the manager, made with MANAGER_FIELDS. Raises: DecodeError."""
    message = reader.message
    _check_fixed(reader)
    common = reader.child(
        "common_http_protocol_options", ("idle_timeout", "max_headers_count"), ("headers_with_underscores_action",)
    )
    http1 = reader.child(
        "http_protocol_options", ("accept_http_10",), ("header_key_format", "enable_trailers", "allow_absolute_url")
    )
    route_name, routes = _route_source(reader)
    logs = reader.children("access_log", ("name", "typed_config"))
    return HttpManager(
        stat_prefix=message.stat_prefix,
        route_config_name=route_name,
        route_config=routes,
        filters=_filters(reader),
        tracing=_tracing(reader) if reader.has("tracing") else None,
        access_logs=tuple(log for log in map(read_access_log, logs) if log is not None),
        upgrades=_upgrades(reader),
        use_remote_address=reader.wrapped("use_remote_address", False),
        xff_trusted_hops=message.xff_num_trusted_hops,
        generate_request_id=reader.wrapped("generate_request_id", True),
        preserve_request_id=message.preserve_external_request_id,
        normalize_path=reader.wrapped("normalize_path", False),
        merge_slashes=message.merge_slashes,
        accept_http_10=http1.message.accept_http_10,
        max_request_headers_kb=reader.wrapped("max_request_headers_kb", 60),
        max_headers=common.wrapped("max_headers_count", 100),
        stream_idle_timeout_seconds=reader.seconds("stream_idle_timeout", 300.0),
        request_timeout_seconds=reader.seconds("request_timeout", 0.0),
        request_headers_timeout_seconds=reader.seconds("request_headers_timeout", 0.0),
        idle_timeout_seconds=common.seconds("idle_timeout", _ENVOY_IDLE_SECONDS),
        drain_timeout_seconds=reader.seconds("drain_timeout", 5.0),
        server_name=message.server_name,
        strip_port=message.strip_any_host_port or message.strip_matching_host_port,
        client_certificate=_CLIENT_CERTIFICATES[message.forward_client_cert_details],
        certificate_details=_certificate_details(reader),
    )


def read_access_log(reader: Reader) -> AccessLog | None:
    """A file access log; None for the loggers to stdout of other kinds that are merely not written here."""
    log = reader.unpack("typed_config", file_pb.FileAccessLog(), ("path", "log_format"))
    # JSON of text formats: how absent values and types are written, not what.
    formats = log.child(
        "log_format", ("text_format_source", "json_format", "text_format"), ("omit_empty_values", "json_format_options")
    )
    if formats.has("json_format"):
        fields = MessageToDict(formats.message.json_format)
        for name, value in fields.items():
            if not isinstance(value, str):
                raise formats.error(f"json_format.{name}", "only text values are supported")
        return AccessLog(log.message.path, json=tuple(sorted(fields.items())))
    text = formats.message.text_format
    if formats.has("text_format_source"):
        text = formats.child("text_format_source", ("inline_string",)).message.inline_string
    return AccessLog(log.message.path, text)


def _check_fixed(reader: Reader) -> None:
    """Fields of which one value only is supported."""
    message = reader.message
    if message.codec_type not in (MESSAGE.AUTO, MESSAGE.HTTP1, MESSAGE.HTTP2):
        raise reader.error("codec_type", "HTTP/3 is not supported")
    keep = (MESSAGE.IMPLEMENTATION_SPECIFIC_DEFAULT, MESSAGE.KEEP_UNCHANGED)
    if message.path_with_escaped_slashes_action not in keep:
        raise reader.error("path_with_escaped_slashes_action", "only KEEP_UNCHANGED is supported")


def _route_source(reader: Reader) -> tuple[str, Any]:
    chosen = reader.one_of("route_specifier", "rds", "route_config")
    if chosen == "rds":
        rds = reader.child("rds", ("config_source", "route_config_name"))
        read_ads_source(rds, "config_source")
        if not rds.message.route_config_name:
            raise rds.error("route_config_name", "is empty")
        return rds.message.route_config_name, None
    if chosen == "route_config":
        path = reader.join("route_config")
        return "", decode_route_config(reader.message.route_config, reader.resource, path)
    raise reader.error("", "has no routes: neither rds nor route_config")


def _filters(reader: Reader) -> tuple[HttpFilter, ...]:
    kinds: list[HttpFilter] = []
    for entry in reader.children("http_filters", ("name", "typed_config", "is_optional", "disabled")):
        kind = _filter(entry)
        if kind is not None and kind not in kinds:
            kinds.append(kind)
    if not kinds or kinds[-1] is not HttpFilter.ROUTER:
        raise reader.error("http_filters", "the last one must be the router")
    return tuple(kinds)


def _filter(entry: Reader) -> HttpFilter | None:
    """None: known to do nothing that is missed here, switched off, or declared optional by the sender."""
    if entry.message.disabled:
        return None
    packed = entry.message.typed_config
    url = _real_type_url(packed)
    if url in (PEER_METADATA_URL, ISTIO_PEER_METADATA_URL):
        return HttpFilter.PEER_METADATA
    if packed.Is(cors_pb.Cors.DESCRIPTOR):
        return HttpFilter.CORS
    if packed.Is(fault_pb.HTTPFault.DESCRIPTOR):
        # Settings of the filter itself would hold for every route; ours are per route.
        entry.unpack("typed_config", fault_pb.HTTPFault(), ())
        return HttpFilter.FAULT
    if packed.Is(router_pb.Router.DESCRIPTOR):
        harmless = ("dynamic_stats", "start_child_span", "suppress_envoy_headers", "strict_check_headers")
        entry.unpack("typed_config", router_pb.Router(), (), harmless)
        return HttpFilter.ROUTER
    if url.rpartition("/")[2] in _SKIPPED_FILTERS or entry.message.is_optional:
        return None
    raise entry.error("typed_config", f"HTTP filter {entry.message.name} ({url or 'no type'}) is not supported")


def _real_type_url(packed: Any) -> str:
    """Looks through TypedStruct, the wrapper of types that the sender has no protobuf of."""
    for wrapper in (typed_struct_pb.TypedStruct(), udpa_typed_struct_pb.TypedStruct()):
        if packed.Is(wrapper.DESCRIPTOR):
            packed.Unpack(wrapper)
            return str(wrapper.type_url)
    return str(packed.type_url)


def _certificate_details(reader: Reader) -> frozenset[CertificateDetail]:
    """Envoy reads them only where it writes the header itself."""
    details = reader.child("set_current_client_cert_details", tuple(detail.value for detail in CertificateDetail))
    if reader.message.forward_client_cert_details not in (MESSAGE.APPEND_FORWARD, MESSAGE.SANITIZE_SET):
        return frozenset()
    is_subject_said = details.wrapped("subject", False)
    return frozenset(
        detail
        for detail in CertificateDetail
        if (is_subject_said if detail is CertificateDetail.SUBJECT else getattr(details.message, detail.value))
    )


def _upgrades(reader: Reader) -> tuple[str, ...]:
    upgrades = []
    for config in reader.children("upgrade_configs", ("upgrade_type", "enabled")):
        if config.wrapped("enabled", True):
            upgrades.append(config.message.upgrade_type)
    return tuple(upgrades)


def _tracing(reader: Reader) -> Tracing:
    known = ("client_sampling", "random_sampling", "overall_sampling", "custom_tags", "provider")
    harmless = ("verbose", "max_path_tag_length", "spawn_upstream_span", "operation", "upstream_operation")
    tracing = reader.child("tracing", known, harmless)
    cluster = service = ""
    if tracing.has("provider"):
        provider = tracing.child("provider", ("name", "typed_config"))
        if not provider.message.typed_config.Is(opentelemetry_pb.OpenTelemetryConfig.DESCRIPTOR):
            kind = type_name(provider.message.typed_config) or provider.message.name
            raise provider.error("typed_config", f"tracer {kind} is not supported, only OpenTelemetry over gRPC")
        # Detectors add attributes of the machine; the cache bounds memory.
        exporter = provider.unpack(
            "typed_config",
            opentelemetry_pb.OpenTelemetryConfig(),
            ("grpc_service", "service_name"),
            ("resource_detectors", "max_cache_size"),
        )
        grpc = exporter.child("grpc_service", ("envoy_grpc",), ("timeout", "initial_metadata"))
        target = grpc.child("envoy_grpc", ("cluster_name",), ("authority",))
        cluster, service = target.message.cluster_name, exporter.message.service_name
    return Tracing(
        random_sampling_percent=tracing.percent("random_sampling", 100.0),
        client_sampling_percent=tracing.percent("client_sampling", 100.0),
        overall_sampling_percent=tracing.percent("overall_sampling", 100.0),
        otlp_cluster=cluster,
        service_name=service,
        custom_tags=_custom_tags(tracing),
    )


def _custom_tags(tracing: Reader) -> tuple[tuple[str, str], ...]:
    """Literal tags. Istio adds others (environment, metadata): labels of a span, left out rather than refused."""
    tags = tracing.children("custom_tags", ("tag", "literal"), ("environment", "request_header", "metadata", "value"))
    return tuple((tag.message.tag, tag.message.literal.value) for tag in tags if tag.has("literal"))
