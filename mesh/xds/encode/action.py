"""Forwarding and redirecting: `RouteAction`, `RedirectAction`, `RetryPolicy`."""

from __future__ import annotations

from typing import Any, assert_never

import envoy.config.core.v3.base_pb2 as base_pb
import envoy.config.route.v3.route_components_pb2 as components_pb
import envoy.extensions.retry.host.previous_hosts.v3.previous_hosts_pb2 as previous_hosts_pb
import envoy.type.matcher.v3.regex_pb2 as regex_pb
from google.protobuf.wrappers_pb2 import BoolValue

from mesh.model.match import PathKind, PathMatch
from mesh.model.route import (
    NO_MUTATION,
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
from mesh.xds.encode.common import Path, bounded, duration, fraction, mutate_headers, pack, regex, uint32
from mesh.xds.wire import FULL_PATH_PATTERN, PREVIOUS_HOSTS, segment_removal

_RouteAction = components_pb.RouteAction
_NOT_FOUND = {
    503: _RouteAction.SERVICE_UNAVAILABLE,
    404: _RouteAction.NOT_FOUND,
    500: _RouteAction.INTERNAL_SERVER_ERROR,
}
_REDIRECTS = {
    301: components_pb.RedirectAction.MOVED_PERMANENTLY,
    302: components_pb.RedirectAction.FOUND,
    303: components_pb.RedirectAction.SEE_OTHER,
    307: components_pb.RedirectAction.TEMPORARY_REDIRECT,
    308: components_pb.RedirectAction.PERMANENT_REDIRECT,
}
_SCHEME_PORTS = {"http": 80, "https": 443}
_HOST_SELECTION_ATTEMPTS = 5
"""How often a retry asks the balancer again for a host that was not tried yet (Istio's number)."""


def forward_action(value: ForwardAction, match: PathMatch, path: Path) -> Any:
    """match: of the route that has this action. Raises: EncodeError."""
    if value.missing_cluster_status not in _NOT_FOUND:
        raise path.error("missing_cluster_status", f"{value.missing_cluster_status} is not one of 404, 500, 503")
    message = _RouteAction(
        cluster_not_found_response_code=_NOT_FOUND[value.missing_cluster_status],
        timeout=duration(value.timeout_seconds, path, "timeout_seconds"),
        request_mirror_policies=[_mirror(mirror, path.at("mirrors", i)) for i, mirror in enumerate(value.mirrors)],
        hash_policy=[_hash_policy(policy, path.at("hash_policies", i)) for i, policy in enumerate(value.hash_policies)],
    )
    _clusters(message, value.clusters, path)
    if value.idle_timeout_seconds is not None:
        message.idle_timeout.CopyFrom(duration(value.idle_timeout_seconds, path, "idle_timeout_seconds"))
    if value.retry is not None:
        message.retry_policy.CopyFrom(_retry(value.retry, path.at("retry")))
    if value.path_rewrite is not None:
        _rewrite(message, value.path_rewrite, match, path.at("path_rewrite"))
    if value.host_rewrite is not None and value.auto_host_rewrite:
        raise path.error("host_rewrite", "excludes auto_host_rewrite")
    if value.host_rewrite is not None:
        if not value.host_rewrite:
            raise path.error("host_rewrite", "is empty")
        message.host_rewrite_literal = value.host_rewrite
    if value.auto_host_rewrite:
        message.auto_host_rewrite.CopyFrom(BoolValue(value=True))
    return message


def redirect_action(value: RedirectAction, match: PathMatch, path: Path) -> Any:
    """match: of the route that has this action. Raises: EncodeError."""
    if value.status not in _REDIRECTS:
        raise path.error("status", f"{value.status} is not one of {', '.join(map(str, _REDIRECTS))}")
    message = components_pb.RedirectAction(response_code=_REDIRECTS[value.status], strip_query=value.strip_query)
    if value.scheme:
        message.scheme_redirect = value.scheme
    if value.host:
        message.host_redirect = value.host
    if value.port:
        message.port_redirect = bounded(value.port, path, "port", 0, 65535)
    elif value.port == 0 and value.scheme in _SCHEME_PORTS:
        message.port_redirect = _SCHEME_PORTS[value.scheme]
    match value.path:
        case FullRewrite(path=full):
            message.path_redirect = _filled(full, path, "path")
        case PrefixRewrite(prefix=prefix):
            _prefix_rewrite(message, _filled(prefix, path, "path"), match)
        case RegexRewrite() as rewrite:
            message.regex_rewrite.CopyFrom(_regex_rewrite(rewrite))
    return message


def weighted_cluster(value: WeightedCluster, path: Path) -> Any:
    message = components_pb.WeightedCluster.ClusterWeight(
        name=_filled(value.name, path, "name"), weight=uint32(value.weight, path, "weight")
    )
    mutate_headers(message, value.request_headers, value.response_headers)
    return message


def _clusters(message: Any, clusters: tuple[WeightedCluster, ...], path: Path) -> None:
    if not clusters:
        raise path.error("clusters", "is empty")
    total = sum(cluster.weight for cluster in clusters)
    if not 0 < total < 1 << 32:
        raise path.error("clusters", f"weights add up to {total}")
    first = clusters[0]
    if clusters == (WeightedCluster(first.name, request_headers=NO_MUTATION, response_headers=NO_MUTATION),):
        message.cluster = _filled(first.name, path, "clusters[0].name")
        return
    weighted = [weighted_cluster(cluster, path.at("clusters", i)) for i, cluster in enumerate(clusters)]
    message.weighted_clusters.clusters.extend(weighted)


def _retry(value: RetryPolicy, path: Path) -> Any:
    if value.backoff_base_seconds <= 0:
        raise path.error("backoff_base_seconds", "must be positive")
    if value.backoff_max_seconds < value.backoff_base_seconds:
        raise path.error("backoff_max_seconds", "is less than backoff_base_seconds")
    message = components_pb.RetryPolicy(
        retry_on=",".join(sorted(value.on)),
        num_retries=uint32(value.attempts, path, "attempts"),
        retriable_status_codes=[bounded(code, path, "status_codes", 100, 599) for code in value.status_codes],
        retry_back_off=components_pb.RetryPolicy.RetryBackOff(
            base_interval=duration(value.backoff_base_seconds, path, "backoff_base_seconds"),
            max_interval=duration(value.backoff_max_seconds, path, "backoff_max_seconds"),
        ),
    )
    if value.per_try_timeout_seconds is not None:
        message.per_try_timeout.CopyFrom(duration(value.per_try_timeout_seconds, path, "per_try_timeout_seconds"))
    if value.previous_hosts:
        message.retry_host_predicate.add(
            name=PREVIOUS_HOSTS, typed_config=pack(previous_hosts_pb.PreviousHostsPredicate())
        )
        message.host_selection_retry_max_attempts = _HOST_SELECTION_ATTEMPTS
    return message


def _mirror(value: Mirror, path: Path) -> Any:
    return _RouteAction.RequestMirrorPolicy(
        cluster=_filled(value.cluster, path, "cluster"),
        runtime_fraction=base_pb.RuntimeFractionalPercent(default_value=fraction(value.percent, path, "percent")),
    )


def _hash_policy(value: HashPolicy, path: Path) -> Any:
    message = _RouteAction.HashPolicy(terminal=value.terminal)
    match value.kind:
        case HashKind.HEADER:
            message.header.header_name = _filled(value.name, path, "name")
        case HashKind.COOKIE:
            message.cookie.name = _filled(value.name, path, "name")
            message.cookie.path = value.cookie_path
            if value.cookie_ttl_seconds is not None:
                message.cookie.ttl.CopyFrom(duration(value.cookie_ttl_seconds, path, "cookie_ttl_seconds"))
        case HashKind.SOURCE_IP:
            message.connection_properties.source_ip = True
        case HashKind.QUERY:
            message.query_parameter.name = _filled(value.name, path, "name")
        case _:
            assert_never(value.kind)
    return message


def _rewrite(message: Any, value: PathRewrite, route_match: PathMatch, path: Path) -> None:
    match value:
        case PrefixRewrite(prefix=prefix):
            _prefix_rewrite(message, _filled(prefix, path, "prefix"), route_match)
        case FullRewrite(path=full):
            escaped = full.replace("\\", "\\\\")
            message.regex_rewrite.CopyFrom(_regex_rewrite(RegexRewrite(FULL_PATH_PATTERN, escaped)))
        case RegexRewrite():
            message.regex_rewrite.CopyFrom(_regex_rewrite(value))
        case _:
            assert_never(value)


def _prefix_rewrite(message: Any, prefix: str, match: PathMatch) -> None:
    """Of a SEGMENT_PREFIX the slash after the match stays, so the new prefix must not end with one, too: never `//x`."""
    if match.kind is PathKind.SEGMENT_PREFIX:
        prefix = prefix.rstrip("/")
    if prefix:
        message.prefix_rewrite = prefix
    else:
        message.regex_rewrite.CopyFrom(_regex_rewrite(RegexRewrite(segment_removal(match), "/")))


def _regex_rewrite(value: RegexRewrite) -> Any:
    return regex_pb.RegexMatchAndSubstitute(pattern=regex(value.pattern), substitution=value.substitution)


def _filled(text: str, path: Path, field: str) -> str:
    if not text:
        raise path.error(field, "is empty")
    return text
