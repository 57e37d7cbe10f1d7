"""`RouteAction`, `RedirectAction` and `RetryPolicy` to forwarding and redirecting."""

from __future__ import annotations

import re

import envoy.config.route.v3.route_components_pb2 as components_pb

from mesh.model.match import PathKind, PathMatch
from mesh.model.route import (
    ForwardAction,
    FullRewrite,
    HashKind,
    HashPolicy,
    Mirror,
    PathRewrite,
    PrefixRewrite,
    RedirectAction,
    RegexRewrite,
    RetryPolicy,
    WeightedCluster,
)
from mesh.xds.decode.common import HEADER_FIELDS, Reader, read_mutations, read_regex
from mesh.xds.wire import FULL_PATH_PATTERN, PREVIOUS_HOSTS, segment_removal

_RouteAction = components_pb.RouteAction
_NOT_FOUND = {
    _RouteAction.SERVICE_UNAVAILABLE: 503,
    _RouteAction.NOT_FOUND: 404,
    _RouteAction.INTERNAL_SERVER_ERROR: 500,
}
_REDIRECTS = {
    components_pb.RedirectAction.MOVED_PERMANENTLY: 301,
    components_pb.RedirectAction.FOUND: 302,
    components_pb.RedirectAction.SEE_OTHER: 303,
    components_pb.RedirectAction.TEMPORARY_REDIRECT: 307,
    components_pb.RedirectAction.PERMANENT_REDIRECT: 308,
}

ACTION_FIELDS = (
    "cluster",
    "weighted_clusters",
    "cluster_not_found_response_code",
    "prefix_rewrite",
    "regex_rewrite",
    "host_rewrite_literal",
    "auto_host_rewrite",
    "timeout",
    "idle_timeout",
    "retry_policy",
    "request_mirror_policies",
    "hash_policy",
    "max_stream_duration",
    "priority",
)
ACTION_HARMLESS = (
    # grpc-timeout is honoured in any case and never lengthens the route's own timeout.
    "max_grpc_timeout",
    "grpc_timeout_offset",
    # x-forwarded-host is informative; upgrades are the listener's affair.
    "append_x_forwarded_host",
    "include_vh_rate_limits",
)
_ENVOY_TIMEOUT_SECONDS = 15.0
_RETRY_FIELDS = (
    "retry_on",
    "num_retries",
    "per_try_timeout",
    "retry_host_predicate",
    "retriable_status_codes",
    "retry_back_off",
)
# How often the balancer is asked for another host: ours excludes them by construction.
_RETRY_HARMLESS = ("host_selection_retry_max_attempts",)


def read_forward(reader: Reader, match: PathMatch) -> ForwardAction:
    """A `RouteAction` of a route that matches `match`. Raises: DecodeError."""
    message = reader.message
    if message.priority != 0:
        raise reader.error("priority", "only DEFAULT is supported")
    timeout = reader.seconds("timeout", _ENVOY_TIMEOUT_SECONDS)
    _check_stream_duration(reader, timeout)
    return ForwardAction(
        clusters=_clusters(reader),
        timeout_seconds=timeout,
        idle_timeout_seconds=reader.optional_seconds("idle_timeout"),
        retry=_retry(reader) if reader.has("retry_policy") else None,
        path_rewrite=_rewrite(reader, message.prefix_rewrite, match),
        host_rewrite=message.host_rewrite_literal or None,
        auto_host_rewrite=reader.wrapped("auto_host_rewrite", False),
        mirrors=_mirrors(reader),
        hash_policies=_hash_policies(reader),
        missing_cluster_status=_NOT_FOUND[message.cluster_not_found_response_code],
    )


def read_redirect(outer: Reader, derive_port: bool, match: PathMatch) -> RedirectAction:
    """A `RedirectAction` of a route that matches `match`. derive_port: our own marker says that the port follows from the scheme."""
    known = (
        "https_redirect",
        "scheme_redirect",
        "host_redirect",
        "port_redirect",
        "path_redirect",
        "prefix_rewrite",
        "regex_rewrite",
        "response_code",
        "strip_query",
    )
    reader = outer.child("redirect", known)
    message = reader.message
    scheme = "https" if message.https_redirect else message.scheme_redirect
    path: PathRewrite | None = FullRewrite(message.path_redirect) if message.path_redirect else None
    if path is None:
        path = _rewrite(reader, message.prefix_rewrite, match)
    return RedirectAction(
        status=_REDIRECTS[message.response_code],
        scheme=scheme or None,
        host=message.host_redirect or None,
        port=0 if derive_port else message.port_redirect or None,
        path=path,
        strip_query=message.strip_query,
    )


def _check_stream_duration(reader: Reader, timeout: float) -> None:
    """Istio repeats the timeout here; anything else would be a second, different limit."""
    limit = reader.child(
        "max_stream_duration", ("max_stream_duration", "grpc_timeout_header_max"), ("grpc_timeout_header_offset",)
    )
    for field in ("max_stream_duration", "grpc_timeout_header_max"):
        if limit.seconds(field, 0.0) not in (0.0, timeout):
            raise limit.error(field, "a limit other than the route's timeout is not supported")


def _clusters(reader: Reader) -> tuple[WeightedCluster, ...]:
    chosen = reader.one_of("cluster_specifier", "cluster", "weighted_clusters")
    if chosen == "cluster":
        return (WeightedCluster(reader.message.cluster),)
    if chosen is None:
        raise reader.error("", "names no cluster")
    group = reader.child("weighted_clusters", ("clusters",), ("total_weight", "runtime_key_prefix"))
    clusters = tuple(_weighted(cluster) for cluster in group.children("clusters", ("name", "weight", *HEADER_FIELDS)))
    if not any(cluster.weight for cluster in clusters):
        raise group.error("clusters", "weights add up to 0")
    return clusters


def _weighted(reader: Reader) -> WeightedCluster:
    if not reader.message.name:
        raise reader.error("name", "is empty")
    request, response = read_mutations(reader)
    return WeightedCluster(reader.message.name, reader.wrapped("weight", 0), request, response)


def _retry(outer: Reader) -> RetryPolicy:
    reader = outer.child("retry_policy", _RETRY_FIELDS, _RETRY_HARMLESS)
    previous_hosts = False
    for predicate in reader.children("retry_host_predicate", ("name", "typed_config")):
        if not _is_previous_hosts(predicate):
            raise predicate.error("name", f"{predicate.message.name} is not supported")
        previous_hosts = True
    backoff = reader.child("retry_back_off", ("base_interval", "max_interval"))
    base = backoff.seconds("base_interval", 0.025)
    return RetryPolicy(
        on=frozenset(part.strip() for part in reader.message.retry_on.split(",") if part.strip()),
        attempts=reader.wrapped("num_retries", 1),
        # 0 = no limit of its own, as if it were not set.
        per_try_timeout_seconds=reader.seconds("per_try_timeout", 0.0) or None,
        status_codes=tuple(reader.message.retriable_status_codes),
        backoff_base_seconds=base,
        # Envoy: ten times the base when it is not set.
        backoff_max_seconds=backoff.seconds("max_interval", base * 10),
        previous_hosts=previous_hosts,
    )


def _is_previous_hosts(predicate: Reader) -> bool:
    """By name; the typed form may carry any name (extensions are found by type)."""
    url = predicate.message.typed_config.type_url
    return bool(predicate.message.name == PREVIOUS_HOSTS or url.endswith("PreviousHostsPredicate"))


def _rewrite(reader: Reader, prefix: str, match: PathMatch) -> PathRewrite | None:
    is_segment = match.kind is PathKind.SEGMENT_PREFIX
    if prefix.endswith("/") and is_segment:
        # To the letter: two slashes, where our PrefixRewrite would leave one.
        case = "(?i)" if match.ignore_case else ""
        return RegexRewrite(f"{case}^{re.escape(match.value)}", prefix.replace("\\", "\\\\"))
    if prefix:
        return PrefixRewrite(prefix)
    if not reader.has("regex_rewrite"):
        return None
    rewrite = reader.child("regex_rewrite", ("pattern", "substitution"))
    pattern = read_regex(rewrite, "pattern")
    substitution = rewrite.message.substitution
    literal = _literal(substitution)
    if is_segment and pattern == segment_removal(match) and literal == "/":
        return PrefixRewrite("/")
    if pattern == FULL_PATH_PATTERN and literal is not None:
        return FullRewrite(literal)
    return RegexRewrite(pattern, substitution)


def _literal(substitution: str) -> str | None:
    r"""The text that a substitution without groups stands for; None when it refers to a group (`\0`…`\9`)."""
    text, escaped = "", False
    for char in substitution:
        if escaped:
            if char != "\\":
                return None
            text, escaped = text + char, False
        elif char == "\\":
            escaped = True
        else:
            text += char
    return None if escaped else text


def _mirrors(reader: Reader) -> tuple[Mirror, ...]:
    # Whether the copy's span is sampled on its own.
    policies = reader.children("request_mirror_policies", ("cluster", "runtime_fraction"), ("trace_sampled",))
    for policy in policies:
        if not policy.message.cluster:
            raise policy.error("cluster", "is empty")
    return tuple(
        Mirror(policy.message.cluster, policy.runtime_fraction("runtime_fraction", 100.0)) for policy in policies
    )


def _hash_policies(reader: Reader) -> tuple[HashPolicy, ...]:
    known = ("header", "cookie", "connection_properties", "query_parameter", "terminal")
    return tuple(_hash_policy(policy) for policy in reader.children("hash_policy", known))


def _hash_policy(reader: Reader) -> HashPolicy:
    message = reader.message
    chosen = reader.one_of("policy_specifier", "header", "cookie", "connection_properties", "query_parameter")
    if chosen == "header":
        name = reader.child("header", ("header_name",)).message.header_name.lower()
        return HashPolicy(HashKind.HEADER, name, terminal=message.terminal)
    if chosen == "cookie":
        cookie = reader.child("cookie", ("name", "ttl", "path"))
        ttl = cookie.optional_seconds("ttl")
        return HashPolicy(HashKind.COOKIE, cookie.message.name, ttl, cookie.message.path, message.terminal)
    if chosen == "connection_properties" and message.connection_properties.source_ip:
        return HashPolicy(HashKind.SOURCE_IP, terminal=message.terminal)
    if chosen == "query_parameter":
        return HashPolicy(HashKind.QUERY, message.query_parameter.name, terminal=message.terminal)
    raise reader.error("", "hashes nothing")
