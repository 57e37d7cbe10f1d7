"""`envoy.config.route.v3.RouteConfiguration` to RouteConfig."""

from __future__ import annotations

from typing import Any

import envoy.config.route.v3.route_components_pb2 as components_pb
import envoy.config.route.v3.route_pb2 as route_pb

from mesh.model.match import HeaderMatch, PathKind, PathMatch, QueryMatch, RouteMatch, StringKind, StringMatch
from mesh.model.route import (
    CorsPolicy,
    DirectResponse,
    Fault,
    NonForwarding,
    Route,
    RouteActionKind,
    RouteConfig,
    VirtualHost,
)
from mesh.xds.decode.action import ACTION_FIELDS, ACTION_HARMLESS, read_forward, read_redirect
from mesh.xds.decode.common import (
    HEADER_FIELDS,
    STRING_FIELDS,
    Reader,
    read_metadata,
    read_mutations,
    read_origin,
    read_regex,
    read_string_match,
)
from mesh.xds.decode.policy import read_filter_configs
from mesh.xds.wire import ENVOY_MAX_DIRECT_RESPONSE_BYTES, ORIGIN_METADATA, REDIRECT_PORT

MESSAGE = route_pb.RouteConfiguration

_FIELDS = ("name", "virtual_hosts", "ignore_port_in_host_matching", "max_direct_response_body_size_bytes")
_HARMLESS = (
    # Whether the configuration is refused when a cluster is missing; here its requests are answered 503 NC.
    "validate_clusters",
    # Names removed from requests of strangers; with no header mutation using them, nothing.
    "internal_only_headers",
    "most_specific_header_mutations_wins",
    "metadata",
)
_HOST_FIELDS = ("name", "domains", "routes", "require_tls", "metadata")
_HOST_HARMLESS = (
    # x-envoy-attempt-count: Istio asks for it; informative.
    "include_request_attempt_count",
    "include_attempt_count_in_response",
    "include_is_timeout_retry_header",
    # Statistics.
    "virtual_clusters",
)
_ROUTE_FIELDS = (
    "name",
    "match",
    "route",
    "redirect",
    "direct_response",
    "non_forwarding_action",
    "metadata",
    "decorator",
    "typed_per_filter_config",
    *HEADER_FIELDS,
)
_ROUTE_HARMLESS = (
    "stat_prefix",
    # How much is kept for a retry; ours has its own bound.
    "per_request_buffer_limit_bytes",
    "request_body_buffer_limit",
)
_MATCH_FIELDS = (
    "prefix",
    "path",
    "safe_regex",
    "path_separated_prefix",
    "case_sensitive",
    "headers",
    "query_parameters",
    "runtime_fraction",
    "grpc",
)
_HEADER_FIELDS = (
    "name",
    "string_match",
    "present_match",
    "invert_match",
    "treat_missing_header_as_empty",
    "exact_match",
    "safe_regex_match",
    "prefix_match",
    "suffix_match",
    "contains_match",
)
_OLD_HEADER_MATCHES = {
    "exact_match": StringKind.EXACT,
    "prefix_match": StringKind.PREFIX,
    "suffix_match": StringKind.SUFFIX,
    "contains_match": StringKind.CONTAINS,
}
_GRPC_CONTENT_TYPE = HeaderMatch("content-type", StringMatch(StringKind.REGEX, r"application/grpc([+;].*)?"))


def decode_route_config(message: Any, resource: str = "", path: str = "") -> RouteConfig:
    """Raises: DecodeError."""
    reader = Reader(message, resource or message.name, path, _FIELDS, _HARMLESS)
    hosts = reader.children("virtual_hosts", _HOST_FIELDS, _HOST_HARMLESS)
    return RouteConfig(
        name=message.name,
        virtual_hosts=tuple(_virtual_host(host) for host in hosts),
        ignore_port_in_host=message.ignore_port_in_host_matching,
        max_direct_response_bytes=reader.wrapped(
            "max_direct_response_body_size_bytes", ENVOY_MAX_DIRECT_RESPONSE_BYTES
        ),
    )


def _virtual_host(reader: Reader) -> VirtualHost:
    message = reader.message
    if not message.domains:
        raise reader.error("domains", "is empty")
    if message.require_tls == components_pb.VirtualHost.EXTERNAL_ONLY:
        raise reader.error("require_tls", "EXTERNAL_ONLY is not supported")
    routes = reader.children("routes", _ROUTE_FIELDS, _ROUTE_HARMLESS)
    return VirtualHost(
        name=message.name,
        domains=tuple(message.domains),
        routes=tuple(_route(route) for route in routes),
        origin=read_origin(read_metadata(reader)),
        require_tls=message.require_tls == components_pb.VirtualHost.ALL,
    )


def _route(reader: Reader) -> Route:
    metadata = read_metadata(reader)
    request, response = read_mutations(reader)
    fault: Fault | None
    cors: CorsPolicy | None
    fault, cors = read_filter_configs(reader)
    decorator = reader.child("decorator", ("operation",), ("propagate",))
    match = _match(reader)
    return Route(
        match=match,
        action=_action(reader, REDIRECT_PORT in metadata.get(ORIGIN_METADATA, {}), match.path),
        name=reader.message.name,
        request_headers=request,
        response_headers=response,
        fault=fault,
        cors=cors,
        origin=read_origin(metadata),
        operation=decorator.message.operation,
    )


def _action(reader: Reader, derive_port: bool, match: PathMatch) -> RouteActionKind:
    chosen = reader.one_of("action", "route", "redirect", "direct_response", "non_forwarding_action")
    if chosen == "route":
        return read_forward(reader.child("route", ACTION_FIELDS, ACTION_HARMLESS), match)
    if chosen == "redirect":
        return read_redirect(reader, derive_port, match)
    if chosen == "direct_response":
        response = reader.child("direct_response", ("status", "body"))
        body = response.child("body", ("inline_bytes", "inline_string")).message
        return DirectResponse(response.message.status, body.inline_bytes or body.inline_string.encode())
    if chosen == "non_forwarding_action":
        return NonForwarding()
    raise reader.error("", "has no action")


def _match(reader: Reader) -> RouteMatch:
    match = reader.child("match", _MATCH_FIELDS)
    if match.has("runtime_fraction") and match.runtime_fraction("runtime_fraction", 100.0) != 100.0:
        raise match.error("runtime_fraction", "matching a share of the requests is not supported")
    headers = tuple(_header(header) for header in match.children("headers", _HEADER_FIELDS))
    if match.has("grpc"):
        match.child("grpc")
        headers += (_GRPC_CONTENT_TYPE,)
    query = match.children("query_parameters", ("name", "string_match", "present_match"))
    return RouteMatch(_path(match), headers, tuple(_query(parameter) for parameter in query))


def _path(match: Reader) -> PathMatch:
    chosen = match.one_of("path_specifier", "prefix", "path", "safe_regex", "path_separated_prefix")
    ignore_case = not match.wrapped("case_sensitive", True)
    message = match.message
    if chosen == "path":
        return PathMatch(PathKind.EXACT, message.path, ignore_case)
    if chosen == "safe_regex":
        if ignore_case:
            raise match.error("case_sensitive", "does not go with safe_regex")
        return PathMatch(PathKind.REGEX, read_regex(match, "safe_regex"))
    if chosen == "path_separated_prefix":
        return PathMatch(PathKind.SEGMENT_PREFIX, message.path_separated_prefix, ignore_case)
    if chosen == "prefix":
        return PathMatch(PathKind.PREFIX, message.prefix, ignore_case)
    raise match.error("", "says nothing about the path")


def _header(reader: Reader) -> HeaderMatch:
    message = reader.message
    name = message.name.lower()
    chosen = reader.message.WhichOneof("header_match_specifier")
    invert, as_empty = message.invert_match, message.treat_missing_header_as_empty
    if as_empty and chosen in (None, "present_match"):
        raise reader.error("treat_missing_header_as_empty", "needs a value to compare with")
    if chosen is None:
        return HeaderMatch(name, None, invert)
    if chosen == "present_match":
        # present_match: false means "must be absent".
        return HeaderMatch(name, None, invert != (not message.present_match))
    if chosen == "string_match":
        value = read_string_match(reader.child("string_match", STRING_FIELDS))
    elif chosen == "safe_regex_match":
        value = StringMatch(StringKind.REGEX, read_regex(reader, chosen))
    else:
        value = StringMatch(_OLD_HEADER_MATCHES[chosen], getattr(message, chosen))
    return HeaderMatch(name, value, invert, as_empty)


def _query(reader: Reader) -> QueryMatch:
    message = reader.message
    chosen = message.WhichOneof("query_parameter_match_specifier")
    if chosen == "string_match":
        return QueryMatch(message.name, read_string_match(reader.child("string_match", STRING_FIELDS)))
    if chosen == "present_match" and not message.present_match:
        raise reader.error("present_match", "matching an absent parameter is not supported")
    return QueryMatch(message.name)
