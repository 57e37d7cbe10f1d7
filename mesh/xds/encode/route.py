"""RouteConfig to `envoy.config.route.v3.RouteConfiguration`."""

from __future__ import annotations

from typing import Any, assert_never

import envoy.config.core.v3.base_pb2 as base_pb
import envoy.config.route.v3.route_components_pb2 as components_pb
import envoy.config.route.v3.route_pb2 as route_pb
from google.protobuf.wrappers_pb2 import BoolValue

from mesh.model.match import HeaderMatch, PathKind, PathMatch, QueryMatch, RouteMatch
from mesh.model.route import (
    DirectResponse,
    ForwardAction,
    NonForwarding,
    RedirectAction,
    Route,
    RouteConfig,
    VirtualHost,
)
from mesh.xds.encode.action import forward_action, redirect_action
from mesh.xds.encode.common import (
    Path,
    bounded,
    metadata_of,
    mutate_headers,
    origin_fields,
    origin_metadata,
    regex,
    string_match,
    uint32,
)
from mesh.xds.encode.policy import cors_config, fault_config
from mesh.xds.wire import CORS, FAULT, ORIGIN_METADATA, REDIRECT_PORT, REDIRECT_PORT_OF_SCHEME


def encode_route_config(value: RouteConfig, path: Path | None = None) -> Any:
    """Raises: EncodeError."""
    path = path or Path(value.name)
    limit = value.max_direct_response_bytes
    return route_pb.RouteConfiguration(
        name=value.name,
        virtual_hosts=[_virtual_host(host, limit, path.at("virtual_hosts", i)) for i, host in enumerate(value.virtual_hosts)],
        ignore_port_in_host_matching=value.ignore_port_in_host,
        max_direct_response_body_size_bytes=uint32(limit, path, "max_direct_response_bytes"),
        # A route may be ahead of its cluster; that is an answer (503 NC) to its callers, not a broken configuration.
        validate_clusters=BoolValue(value=False),
    )


def limit_streams(message: Any) -> None:
    """Say a configuration's timeouts in the only way that gRPC clients understand: as `max_stream_duration`.

    Not for Envoy, where it would also end WebSockets and streams that answer in time.
    """
    for host in message.virtual_hosts:
        for route in host.routes:
            if route.HasField("route") and (route.route.timeout.seconds or route.route.timeout.nanos):
                route.route.max_stream_duration.max_stream_duration.CopyFrom(route.route.timeout)


def _virtual_host(host: VirtualHost, limit: int, path: Path) -> Any:
    if not host.domains:
        raise path.error("domains", "is empty")
    message = components_pb.VirtualHost(
        name=host.name,
        domains=host.domains,
        routes=[encode_route(route, limit, path.at("routes", i)) for i, route in enumerate(host.routes)],
        metadata=origin_metadata(host.origin),
    )
    if host.require_tls:
        message.require_tls = components_pb.VirtualHost.ALL
    return message


def encode_route(route: Route, limit: int, path: Path) -> Any:
    """limit: bytes of a direct response's body; Envoy refuses the whole configuration over one that is longer.

    Raises: EncodeError.
    """
    if isinstance(route.action, DirectResponse) and len(route.action.body) > limit:
        raise path.error("action.body", f"has {len(route.action.body)} bytes, more than {limit}")
    ours = origin_fields(route.origin)
    if isinstance(route.action, RedirectAction) and route.action.port == 0:
        ours[REDIRECT_PORT] = REDIRECT_PORT_OF_SCHEME
    message = components_pb.Route(
        name=route.name,
        match=_match(route.match, path.at("match")),
        metadata=metadata_of({ORIGIN_METADATA: ours}),
    )
    _action(message, route, path.at("action"))
    mutate_headers(message, route.request_headers, route.response_headers)
    if route.operation:
        message.decorator.operation = route.operation
    if route.fault is not None:
        message.typed_per_filter_config[FAULT].CopyFrom(fault_config(route.fault, path.at("fault")))
    if route.cors is not None:
        message.typed_per_filter_config[CORS].CopyFrom(cors_config(route.cors, path.at("cors")))
    return message


def _action(message: Any, route: Route, path: Path) -> None:
    match route.action:
        case ForwardAction() as action:
            message.route.CopyFrom(forward_action(action, route.match.path, path))
        case RedirectAction() as action:
            message.redirect.CopyFrom(redirect_action(action, route.match.path, path))
        case DirectResponse() as action:
            message.direct_response.status = bounded(action.status, path, "status", 200, 599)
            if action.body:
                message.direct_response.body.CopyFrom(base_pb.DataSource(inline_bytes=action.body))
        case NonForwarding():
            message.non_forwarding_action.SetInParent()
        case _:
            assert_never(route.action)


def _match(value: RouteMatch, path: Path) -> Any:
    message = components_pb.RouteMatch(
        headers=[_header(header, path.at("headers", i)) for i, header in enumerate(value.headers)],
        query_parameters=[_query(query, path.at("query", i)) for i, query in enumerate(value.query)],
    )
    _path_match(message, value.path, path.at("path"))
    return message


def _path_match(message: Any, value: PathMatch, path: Path) -> None:
    match value.kind:
        case PathKind.EXACT:
            message.path = value.value
        case PathKind.PREFIX:
            message.prefix = value.value
        case PathKind.SEGMENT_PREFIX:
            if not value.value.startswith("/") or value.value.endswith("/") or "?" in value.value or "#" in value.value:
                raise path.error("value", f"{value.value!r} must begin with '/', not end with it, and hold no query")
            message.path_separated_prefix = value.value
        case PathKind.REGEX:
            if value.ignore_case:
                raise path.error("ignore_case", "is not allowed with a regex; write (?i)")
            if not value.value:
                raise path.error("value", "an empty regex is not allowed")
            message.safe_regex.CopyFrom(regex(value.value))
    if value.ignore_case:
        message.case_sensitive.CopyFrom(BoolValue(value=False))


def _header(value: HeaderMatch, path: Path) -> Any:
    if not value.name:
        raise path.error("name", "is empty")
    message = components_pb.HeaderMatcher(
        name=value.name, invert_match=value.invert, treat_missing_header_as_empty=value.missing_as_empty
    )
    if value.value is None:
        if value.missing_as_empty:
            raise path.error("missing_as_empty", "needs a value to compare with")
        message.present_match = True
    else:
        message.string_match.CopyFrom(string_match(value.value, path, "value"))
    return message


def _query(value: QueryMatch, path: Path) -> Any:
    if not value.name:
        raise path.error("name", "is empty")
    message = components_pb.QueryParameterMatcher(name=value.name)
    if value.value is None:
        message.present_match = True
    else:
        message.string_match.CopyFrom(string_match(value.value, path, "value"))
    return message
