"""`envoy.config.cluster.v3.Cluster` to Cluster."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import envoy.config.cluster.v3.cluster_pb2 as cluster_pb
import envoy.extensions.clusters.dns.v3.dns_cluster_pb2 as dns_cluster_pb
import envoy.extensions.upstreams.http.v3.http_protocol_options_pb2 as http_options_pb
from google.protobuf.json_format import MessageToDict

from mesh.model.cluster import (
    CircuitBreaker,
    Cluster,
    Discovery,
    LbPolicy,
    OutlierDetection,
    Protocol,
    RetryBudget,
    ServiceRef,
    TcpKeepalive,
    TlsMatch,
)
from mesh.model.secret import UpstreamTls
from mesh.xds.decode.common import (
    Reader,
    read_ads_source,
    read_metadata,
    read_origin,
    read_socket_address,
)
from mesh.xds.decode.endpoint import decode_assignment
from mesh.xds.decode.tls import read_upstream_socket
from mesh.xds.wire import HTTP_OPTIONS, ISTIO_METADATA, TLS_MODE

MESSAGE = cluster_pb.Cluster
_Cluster = cluster_pb.Cluster

_FIELDS = (
    "name",
    "type",
    "cluster_type",
    "eds_cluster_config",
    "connect_timeout",
    "lb_policy",
    "load_assignment",
    "circuit_breakers",
    "typed_extension_protocol_options",
    "dns_refresh_rate",
    "outlier_detection",
    "upstream_bind_config",
    "ring_hash_lb_config",
    "maglev_lb_config",
    "original_dst_lb_config",
    "least_request_lb_config",
    "round_robin_lb_config",
    "common_lb_config",
    "transport_socket",
    "transport_socket_matches",
    "upstream_connection_options",
    "metadata",
    "max_requests_per_connection",
)
_HARMLESS = (
    # Statistics.
    "alt_stat_name",
    "track_cluster_stats",
    "track_timeout_budgets",
    # Memory and timing of the resolver and of original-destination bookkeeping, not where anything goes.
    "per_connection_buffer_limit_bytes",
    "cleanup_interval",
    "dns_lookup_family",
    "respect_dns_ttl",
    "dns_jitter",
    "dns_failure_refresh_rate",
    "wait_for_warm_on_init",
    # What happens to connections of a host that is gone or ill; ours are drained.
    "close_connections_on_host_health_failure",
    "ignore_health_on_host_removal",
    # Istio's metadata exchange over ALPN inside mesh TLS.
    "filters",
)
_DISCOVERY = {
    _Cluster.EDS: Discovery.EDS,
    _Cluster.STATIC: Discovery.STATIC,
    _Cluster.STRICT_DNS: Discovery.STRICT_DNS,
    _Cluster.LOGICAL_DNS: Discovery.LOGICAL_DNS,
    _Cluster.ORIGINAL_DST: Discovery.ORIGINAL_DST,
}
_POLICIES = {
    _Cluster.ROUND_ROBIN: LbPolicy.ROUND_ROBIN,
    _Cluster.LEAST_REQUEST: LbPolicy.LEAST_REQUEST,
    _Cluster.RANDOM: LbPolicy.RANDOM,
    _Cluster.RING_HASH: LbPolicy.RING_HASH,
    _Cluster.MAGLEV: LbPolicy.MAGLEV,
    _Cluster.CLUSTER_PROVIDED: LbPolicy.CLUSTER_PROVIDED,
}
_OUTLIER_FIELDS = (
    "consecutive_5xx",
    "enforcing_consecutive_5xx",
    "consecutive_gateway_failure",
    "enforcing_consecutive_gateway_failure",
    "split_external_local_origin_errors",
    "consecutive_local_origin_failure",
    "enforcing_consecutive_local_origin_failure",
    "interval",
    "base_ejection_time",
    "max_ejection_time",
    "max_ejection_percent",
    "enforcing_success_rate",
    "enforcing_local_origin_success_rate",
    "enforcing_failure_percentage",
    "enforcing_failure_percentage_local_origin",
)
# Parameters of the statistical detectors, which must be switched off (see _outlier); jitter and the like.
_OUTLIER_HARMLESS = (
    "success_rate_minimum_hosts",
    "success_rate_request_volume",
    "success_rate_stdev_factor",
    "failure_percentage_threshold",
    "failure_percentage_minimum_hosts",
    "failure_percentage_request_volume",
    "max_ejection_time_jitter",
    "successful_active_health_check_uneject_host",
)
_STATISTICAL = (
    "enforcing_success_rate",
    "enforcing_local_origin_success_rate",
    "enforcing_failure_percentage",
    "enforcing_failure_percentage_local_origin",
)
_COMMON_LB_FIELDS = ("healthy_panic_threshold", "locality_weighted_lb_config", "zone_aware_lb_config")
_COMMON_LB_HARMLESS = (
    "update_merge_window",
    "ignore_new_hosts_until_first_hc",
    "close_connections_on_host_set_change",
    "override_host_status",
)
_ENVOY_PANIC_PERCENT = 50
_ENVOY_MAX_CONNECTIONS = 1024
_ENVOY_MAX_RETRIES = 3


def decode_cluster(message: Any) -> Cluster:
    """Raises: DecodeError."""
    reader = Reader(message, message.name, "", _FIELDS, _HARMLESS)
    discovery, dns_refresh = _discovery(reader)
    policy = message.lb_policy
    if policy not in _POLICIES:
        raise reader.error("lb_policy", f"{_Cluster.LbPolicy.Name(policy)} is not supported")
    metadata = read_metadata(reader)
    http = _http_options(reader)
    outlier, is_weighted = _health(reader)
    low, high, table = _hash_sizes(reader)
    choices, slow_start = _request_balancing(reader)
    tls, matches = _tls(reader, http.auto_sni)
    return Cluster(
        name=message.name,
        discovery=discovery,
        lb=_POLICIES[policy],
        eds_service_name=message.eds_cluster_config.service_name,
        assignment=_assignment(reader, discovery),
        connect_timeout_seconds=reader.seconds("connect_timeout", 5.0),
        protocol=http.protocol,
        circuit_breaker=_circuit_breaker(reader),
        outlier=outlier,
        tls=tls,
        tls_matches=matches,
        idle_timeout_seconds=http.idle_timeout,
        max_requests_per_connection=http.max_requests,
        max_connection_duration_seconds=http.max_duration,
        tcp_keepalive=_keepalive(reader),
        bind_host=_bind_host(reader),
        connect_to_port=_port_override(reader),
        ring_min_size=low,
        ring_max_size=high,
        maglev_table_size=table,
        least_request_choices=choices,
        slow_start_seconds=slow_start,
        dns_refresh_seconds=dns_refresh,
        locality_weighted=is_weighted,
        service=_service(metadata),
        subset=str(metadata.get(ISTIO_METADATA, {}).get("subset", "")),
        origin=read_origin(metadata),
    )


def _discovery(reader: Reader) -> tuple[Discovery, float]:
    """(how endpoints are found, seconds between two resolutions)."""
    message = reader.message
    if reader.has("cluster_type"):
        extension = reader.child("cluster_type", ("name", "typed_config"))
        known = ("dns_refresh_rate", "all_addresses_in_single_endpoint")
        harmless = ("dns_lookup_family", "respect_dns_ttl", "dns_jitter", "dns_failure_refresh_rate")
        dns = extension.unpack("typed_config", dns_cluster_pb.DnsCluster(), known, harmless)
        is_logical = dns.message.all_addresses_in_single_endpoint
        return Discovery.LOGICAL_DNS if is_logical else Discovery.STRICT_DNS, dns.seconds("dns_refresh_rate", 5.0)
    if message.type not in _DISCOVERY:
        raise reader.error("type", f"{_Cluster.DiscoveryType.Name(message.type)} is not supported")
    discovery = _DISCOVERY[message.type]
    if discovery is Discovery.EDS:
        source = reader.child("eds_cluster_config", ("eds_config", "service_name"))
        read_ads_source(source, "eds_config")
    return discovery, reader.seconds("dns_refresh_rate", 5.0)


def _assignment(reader: Reader, discovery: Discovery) -> Any:
    if discovery in (Discovery.EDS, Discovery.ORIGINAL_DST):
        if reader.has("load_assignment"):
            raise reader.error("load_assignment", f"a cluster of type {discovery.value} has none")
        return None
    message = reader.message.load_assignment
    return decode_assignment(message, reader.resource, reader.join("load_assignment"))


def _circuit_breaker(reader: Reader) -> CircuitBreaker:
    """Thresholds of the default priority; nothing is ever routed with high priority."""
    breakers = reader.child("circuit_breakers", ("thresholds", "per_host_thresholds"))
    if breakers.message.per_host_thresholds:
        raise breakers.error("per_host_thresholds", "is not supported")
    fields = ("priority", "max_connections", "max_pending_requests", "max_requests", "max_retries", "retry_budget")
    for limits in breakers.children("thresholds", fields, ("track_remaining", "max_connection_pools")):
        if limits.message.priority == 0:
            return CircuitBreaker(
                max_connections=limits.wrapped("max_connections", _ENVOY_MAX_CONNECTIONS),
                max_pending_requests=limits.wrapped("max_pending_requests", _ENVOY_MAX_CONNECTIONS),
                max_requests=limits.wrapped("max_requests", _ENVOY_MAX_CONNECTIONS),
                max_retries=limits.wrapped("max_retries", _ENVOY_MAX_RETRIES),
                retry_budget=_retry_budget(limits) if limits.has("retry_budget") else None,
            )
    limit = _ENVOY_MAX_CONNECTIONS
    return CircuitBreaker(limit, limit, limit, _ENVOY_MAX_RETRIES)


def _retry_budget(limits: Reader) -> RetryBudget:
    budget = limits.child("retry_budget", ("budget_percent", "min_retry_concurrency"))
    return RetryBudget(budget.percent("budget_percent", 20.0), budget.wrapped("min_retry_concurrency", 3))


def _health(reader: Reader) -> tuple[OutlierDetection | None, bool]:
    """(outlier detection, whether localities are weighed)."""
    common = reader.child("common_lb_config", _COMMON_LB_FIELDS, _COMMON_LB_HARMLESS)
    if common.has("zone_aware_lb_config") and common.message.zone_aware_lb_config.min_cluster_size.value != 0:
        # Istio sends an empty one; with a size it would keep traffic in the zone.
        raise common.error("zone_aware_lb_config.min_cluster_size", "is not supported")
    is_weighted = common.has("locality_weighted_lb_config")
    if not reader.has("outlier_detection"):
        return None, is_weighted
    panic = common.percent("healthy_panic_threshold", _ENVOY_PANIC_PERCENT)
    return _outlier(reader, round(panic)), is_weighted


def _outlier(reader: Reader, panic_percent: int) -> OutlierDetection:
    outlier = reader.child("outlier_detection", _OUTLIER_FIELDS, _OUTLIER_HARMLESS)
    for field in _STATISTICAL:
        if outlier.wrapped(field, 0):
            raise outlier.error(field, "statistical outlier detection is not supported")
    return OutlierDetection(
        consecutive_5xx=_detector(outlier, "consecutive_5xx", 5, 100),
        consecutive_gateway_failure=_detector(outlier, "consecutive_gateway_failure", 5, 0),
        consecutive_local_origin_failure=_detector(outlier, "consecutive_local_origin_failure", 5, 100),
        split_external_local_origin_errors=outlier.message.split_external_local_origin_errors,
        interval_seconds=outlier.seconds("interval", 10.0),
        base_ejection_seconds=outlier.seconds("base_ejection_time", 30.0),
        max_ejection_seconds=max(
            outlier.seconds("max_ejection_time", 300.0), outlier.seconds("base_ejection_time", 30.0)
        ),
        max_ejection_percent=outlier.wrapped("max_ejection_percent", 10),
        min_health_percent=panic_percent,
    )


def _detector(outlier: Reader, field: str, default: int, enforced: int) -> int:
    """The threshold, 0 when the detector is not enforced. `default`, `enforced`: Envoy's when nothing is said."""
    percent = outlier.wrapped(f"enforcing_{field}", enforced)
    if percent not in (0, 100):
        raise outlier.error(f"enforcing_{field}", f"{percent} is neither 0 nor 100")
    if field == "consecutive_local_origin_failure" and not outlier.message.split_external_local_origin_errors:
        return 0
    return int(outlier.wrapped(field, default)) if percent else 0


def _hash_sizes(reader: Reader) -> tuple[int, int, int]:
    """(least and greatest ring size, Maglev table size)."""
    ring = reader.child("ring_hash_lb_config", ("minimum_ring_size", "maximum_ring_size", "hash_function"))
    if ring.message.hash_function not in (0, 1):
        raise ring.error("hash_function", "is not supported")
    maglev = reader.child("maglev_lb_config", ("table_size",))
    return (
        ring.wrapped("minimum_ring_size", 1024),
        ring.wrapped("maximum_ring_size", 8 << 20),
        maglev.wrapped("table_size", 65537),
    )


def _request_balancing(reader: Reader) -> tuple[int, float]:
    """(hosts compared by least_request, slow start window in seconds)."""
    least = reader.child("least_request_lb_config", ("choice_count", "slow_start_config"))
    robin = reader.child("round_robin_lb_config", ("slow_start_config",))
    window = 0.0
    for config in (least, robin):
        if config.has("slow_start_config"):
            slow = config.child("slow_start_config", ("slow_start_window",))
            window = slow.seconds("slow_start_window", 0.0)
    return least.wrapped("choice_count", 2), window


def _tls(reader: Reader, auto_sni: bool) -> tuple[UpstreamTls | None, tuple[TlsMatch, ...]]:
    tls = read_upstream_socket(reader, "transport_socket", auto_sni) if reader.has("transport_socket") else None
    matches = []
    for match in reader.children("transport_socket_matches", ("name", "match", "transport_socket")):
        criteria = MessageToDict(match.message.match)
        if set(criteria) - {TLS_MODE}:
            raise match.error("match", f"only {TLS_MODE} is supported")
        mode = str(criteria.get(TLS_MODE, ""))
        matches.append(TlsMatch(match.message.name, mode, read_upstream_socket(match, "transport_socket", auto_sni)))
    return tls, tuple(matches)


def _keepalive(reader: Reader) -> TcpKeepalive | None:
    # Happy eyeballs: which of a host's addresses is tried first.
    options = reader.child("upstream_connection_options", ("tcp_keepalive",), ("happy_eyeballs_config",))
    if not options.has("tcp_keepalive"):
        return None
    keepalive = options.child("tcp_keepalive", ("keepalive_probes", "keepalive_time", "keepalive_interval"))
    fields = ("keepalive_probes", "keepalive_time", "keepalive_interval")
    return TcpKeepalive(*(keepalive.wrapped(field, None) for field in fields))


def _bind_host(reader: Reader) -> str:
    if not reader.has("upstream_bind_config"):
        return ""
    # The second family's address (dual stack) comes as an extra one; the first is used for its own family.
    harmless = ("freebind", "extra_source_addresses")
    bind = reader.child("upstream_bind_config", ("source_address",), harmless)
    source = read_socket_address(bind, "source_address")
    if source.port:
        raise bind.error("source_address.port_value", "a fixed source port is not supported")
    return source.host


def _port_override(reader: Reader) -> int:
    config = reader.child("original_dst_lb_config", ("upstream_port_override",))
    return int(config.wrapped("upstream_port_override", 0))


def _service(metadata: Mapping[str, Mapping[str, Any]]) -> ServiceRef | None:
    """The first service of Istio's list: labels only, so what is odd is left out rather than refused."""
    services = metadata.get(ISTIO_METADATA, {}).get("services")
    if not isinstance(services, list) or not services or not isinstance(services[0], dict):
        return None
    return ServiceRef(*(str(services[0].get(key, "")) for key in ("host", "name", "namespace")))


class _HttpOptions:
    """What the typed protocol options say, or Envoy's defaults."""

    __slots__ = ("auto_sni", "idle_timeout", "max_duration", "max_requests", "protocol")

    def __init__(self) -> None:
        self.protocol = Protocol.HTTP1
        self.idle_timeout = 3600.0
        self.max_requests = 0
        self.max_duration = 0.0
        self.auto_sni = False


def _http_options(reader: Reader) -> _HttpOptions:
    result = _HttpOptions()
    result.max_requests = reader.wrapped("max_requests_per_connection", 0)
    extensions = reader.message.typed_extension_protocol_options
    for name in extensions:
        if name != HTTP_OPTIONS:
            raise reader.error(f"typed_extension_protocol_options[{name}]", "is not supported")
    if HTTP_OPTIONS not in extensions:
        return result
    known = (
        "common_http_protocol_options",
        "upstream_http_protocol_options",
        "explicit_http_config",
        "use_downstream_protocol_config",
    )
    holder = Reader(
        extensions[HTTP_OPTIONS],
        reader.resource,
        f"typed_extension_protocol_options[{HTTP_OPTIONS}]",
        ("type_url", "value"),
    )
    message = http_options_pb.HttpProtocolOptions()
    if not holder.message.Unpack(message):
        raise holder.error("", f"is not a {message.DESCRIPTOR.full_name}")
    options = Reader(message, reader.resource, holder.path, known, ("header_validation_config",))
    common = options.child(
        "common_http_protocol_options",
        ("idle_timeout", "max_requests_per_connection", "max_connection_duration"),
        # Limits of what a backend may answer: ours are the codec's own.
        ("max_headers_count", "max_response_headers_kb", "headers_with_underscores_action"),
    )
    result.idle_timeout = common.seconds("idle_timeout", 3600.0)
    result.max_requests = common.wrapped("max_requests_per_connection", result.max_requests)
    result.max_duration = common.seconds("max_connection_duration", 0.0)
    upstream = options.child("upstream_http_protocol_options", ("auto_sni",), ("auto_san_validation",))
    result.auto_sni = upstream.message.auto_sni
    if options.has("use_downstream_protocol_config"):
        result.protocol = Protocol.DOWNSTREAM
    elif options.has("explicit_http_config"):
        chosen = options.child("explicit_http_config", ("http_protocol_options", "http2_protocol_options"))
        if chosen.has("http2_protocol_options"):
            result.protocol = Protocol.HTTP2
    return result
