"""HttpManager to `HttpConnectionManager`, and access logs."""

from __future__ import annotations

from typing import Any

import envoy.config.accesslog.v3.accesslog_pb2 as access_log_pb
import envoy.config.core.v3.grpc_service_pb2 as grpc_service_pb
import envoy.config.core.v3.protocol_pb2 as protocol_pb
import envoy.config.trace.v3.opentelemetry_pb2 as opentelemetry_pb
import envoy.extensions.access_loggers.file.v3.file_pb2 as file_pb
import envoy.extensions.filters.http.cors.v3.cors_pb2 as cors_pb
import envoy.extensions.filters.http.fault.v3.fault_pb2 as fault_pb
import envoy.extensions.filters.http.router.v3.router_pb2 as router_pb
import envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 as http_manager_pb
import envoy.type.tracing.v3.custom_tag_pb2 as custom_tag_pb
import xds.type.v3.typed_struct_pb2 as typed_struct_pb
from google.protobuf.struct_pb2 import Struct
from google.protobuf.wrappers_pb2 import BoolValue

from mesh.model.listener import AccessLog, CertificateDetail, ClientCertificate, HttpFilter, HttpManager, Tracing
from mesh.xds.encode.common import Path, ads_source, bounded, duration, pack, percent, uint32
from mesh.xds.encode.route import encode_route_config
from mesh.xds.wire import CORS, FAULT, FILE_ACCESS_LOG, OTLP_TRACER, PEER_METADATA, PEER_METADATA_URL, ROUTER

_Manager = http_manager_pb.HttpConnectionManager
_CLIENT_CERTIFICATES = {
    ClientCertificate.SANITIZE: _Manager.SANITIZE,
    ClientCertificate.FORWARD_ONLY: _Manager.FORWARD_ONLY,
    ClientCertificate.APPEND: _Manager.APPEND_FORWARD,
    ClientCertificate.REPLACE: _Manager.SANITIZE_SET,
    ClientCertificate.ALWAYS_FORWARD: _Manager.ALWAYS_FORWARD_ONLY,
}
_MAX_HEADERS_KB = 8192
_EXPORT_TIMEOUT_SECONDS = 10.0
"""OTLP's default for one export."""


def encode_http_manager(value: HttpManager, path: Path) -> Any:
    """Raises: EncodeError."""
    if not value.stat_prefix:
        raise path.error("stat_prefix", "is empty")
    message = _Manager(
        stat_prefix=value.stat_prefix,
        http_filters=_filters(value.filters, path),
        access_log=[encode_access_log(log, path.at("access_logs", i)) for i, log in enumerate(value.access_logs)],
        upgrade_configs=[_Manager.UpgradeConfig(upgrade_type=upgrade) for upgrade in value.upgrades],
        server_name=value.server_name,
        strip_any_host_port=value.strip_port,
    )
    _route_source(message, value, path)
    _limits(message, value, path)
    _edge(message, value, path)
    if value.tracing is not None:
        message.tracing.CopyFrom(_tracing(value.tracing, path.at("tracing")))
    return message


def encode_access_log(value: AccessLog, path: Path) -> Any:
    """A file log; neither text nor JSON means Envoy's default format."""
    if not value.path:
        raise path.error("path", "is empty")
    message = file_pb.FileAccessLog(path=value.path)
    if value.json is not None:
        if value.text:
            raise path.error("json", "excludes text")
        fields = Struct()
        fields.update(dict(value.json))
        message.log_format.json_format.CopyFrom(fields)
    elif value.text:
        message.log_format.text_format_source.inline_string = value.text
    return access_log_pb.AccessLog(name=FILE_ACCESS_LOG, typed_config=pack(message))


def _route_source(message: Any, value: HttpManager, path: Path) -> None:
    if bool(value.route_config_name) == (value.route_config is not None):
        raise path.error("", "needs exactly one of route_config_name and route_config")
    if value.route_config is not None:
        message.route_config.CopyFrom(encode_route_config(value.route_config, path.at("route_config")))
    else:
        message.rds.route_config_name = value.route_config_name
        message.rds.config_source.CopyFrom(ads_source())


def _limits(message: Any, value: HttpManager, path: Path) -> None:
    kilobytes = uint32(value.max_request_headers_kb, path, "max_request_headers_kb", 1, _MAX_HEADERS_KB)
    message.max_request_headers_kb.CopyFrom(kilobytes)
    message.common_http_protocol_options.CopyFrom(
        protocol_pb.HttpProtocolOptions(
            idle_timeout=duration(value.idle_timeout_seconds, path, "idle_timeout_seconds"),
            max_headers_count=uint32(value.max_headers, path, "max_headers", 1),
        )
    )
    for field, seconds in (
        ("stream_idle_timeout", value.stream_idle_timeout_seconds),
        ("request_timeout", value.request_timeout_seconds),
        ("request_headers_timeout", value.request_headers_timeout_seconds),
        ("drain_timeout", value.drain_timeout_seconds),
    ):
        getattr(message, field).CopyFrom(duration(seconds, path, f"{field}_seconds"))


def _edge(message: Any, value: HttpManager, path: Path) -> None:
    """What is believed of a request's head and how it is tidied up."""
    message.use_remote_address.CopyFrom(BoolValue(value=value.use_remote_address))
    message.xff_num_trusted_hops = bounded(value.xff_trusted_hops, path, "xff_trusted_hops")
    message.generate_request_id.CopyFrom(BoolValue(value=value.generate_request_id))
    message.preserve_external_request_id = value.preserve_request_id
    message.normalize_path.CopyFrom(BoolValue(value=value.normalize_path))
    message.merge_slashes = value.merge_slashes
    message.http_protocol_options.accept_http_10 = value.accept_http_10
    message.forward_client_cert_details = _CLIENT_CERTIFICATES[value.client_certificate]
    if value.certificate_details and value.client_certificate not in (ClientCertificate.APPEND, ClientCertificate.REPLACE):
        raise path.error("certificate_details", f"means nothing with {value.client_certificate.value}")
    details = message.set_current_client_cert_details
    for detail in value.certificate_details:
        if detail is CertificateDetail.SUBJECT:
            details.subject.CopyFrom(BoolValue(value=True))
        else:
            setattr(details, detail.value, True)


def _filters(filters: tuple[HttpFilter, ...], path: Path) -> list[Any]:
    if not filters or filters[-1] is not HttpFilter.ROUTER or HttpFilter.ROUTER in filters[:-1]:
        raise path.error("filters", "must end with the router, and hold it once")
    return [_filter(kind) for kind in filters]


def _filter(kind: HttpFilter) -> Any:
    match kind:
        case HttpFilter.PEER_METADATA:
            # Ours alone. Optional, so that an Envoy or a gRPC client that does not know it goes on without.
            config = pack(typed_struct_pb.TypedStruct(type_url=PEER_METADATA_URL))
            return http_manager_pb.HttpFilter(name=PEER_METADATA, typed_config=config, is_optional=True)
        case HttpFilter.CORS:
            return http_manager_pb.HttpFilter(name=CORS, typed_config=pack(cors_pb.Cors()))
        case HttpFilter.FAULT:
            return http_manager_pb.HttpFilter(name=FAULT, typed_config=pack(fault_pb.HTTPFault()))
        case HttpFilter.ROUTER:
            return http_manager_pb.HttpFilter(name=ROUTER, typed_config=pack(router_pb.Router()))


def _tracing(value: Tracing, path: Path) -> Any:
    message = _Manager.Tracing(
        random_sampling=percent(value.random_sampling_percent, path, "random_sampling_percent"),
        client_sampling=percent(value.client_sampling_percent, path, "client_sampling_percent"),
        overall_sampling=percent(value.overall_sampling_percent, path, "overall_sampling_percent"),
        custom_tags=[
            custom_tag_pb.CustomTag(tag=tag, literal=custom_tag_pb.CustomTag.Literal(value=text))
            for tag, text in value.custom_tags
        ],
    )
    if not value.otlp_cluster:
        if value.service_name:
            raise path.error("service_name", "needs an otlp_cluster to be sent to")
        return message
    exporter = opentelemetry_pb.OpenTelemetryConfig(service_name=value.service_name)
    exporter.grpc_service.CopyFrom(
        grpc_service_pb.GrpcService(
            envoy_grpc=grpc_service_pb.GrpcService.EnvoyGrpc(cluster_name=value.otlp_cluster),
            timeout=duration(_EXPORT_TIMEOUT_SECONDS, path, "otlp_cluster"),
        )
    )
    message.provider.name = OTLP_TRACER
    message.provider.typed_config.CopyFrom(pack(exporter))
    return message
