"""Cluster to `envoy.config.cluster.v3.Cluster`."""

from __future__ import annotations

from typing import Any

import envoy.config.cluster.v3.circuit_breaker_pb2 as circuit_breaker_pb
import envoy.config.cluster.v3.cluster_pb2 as cluster_pb
import envoy.config.cluster.v3.outlier_detection_pb2 as outlier_pb
import envoy.config.core.v3.address_pb2 as address_pb
import envoy.config.core.v3.protocol_pb2 as protocol_pb
import envoy.extensions.clusters.dns.v3.dns_cluster_pb2 as dns_cluster_pb
import envoy.extensions.upstreams.http.v3.http_protocol_options_pb2 as http_options_pb
from envoy.extensions.clusters.common.dns.v3 import dns_pb2 as dns_pb
from google.protobuf.struct_pb2 import Struct
from google.protobuf.wrappers_pb2 import UInt64Value

from mesh.model.cluster import CircuitBreaker, Cluster, Discovery, LbPolicy, OutlierDetection, Protocol, TcpKeepalive
from mesh.xds.encode.common import (
    Path,
    ads_source,
    bounded,
    duration,
    metadata_of,
    origin_fields,
    pack,
    percent,
    uint32,
)
from mesh.xds.encode.endpoint import encode_assignment
from mesh.xds.encode.tls import upstream_socket
from mesh.xds.wire import DNS_CLUSTER, HTTP_OPTIONS, ISTIO_METADATA, ORIGIN_METADATA, TLS_MODE

_Cluster = cluster_pb.Cluster
_TYPES = {
    Discovery.EDS: _Cluster.EDS,
    Discovery.STATIC: _Cluster.STATIC,
    Discovery.STRICT_DNS: _Cluster.STRICT_DNS,
    Discovery.LOGICAL_DNS: _Cluster.LOGICAL_DNS,
    Discovery.ORIGINAL_DST: _Cluster.ORIGINAL_DST,
}
_POLICIES = {
    LbPolicy.LEAST_REQUEST: _Cluster.LEAST_REQUEST,
    LbPolicy.ROUND_ROBIN: _Cluster.ROUND_ROBIN,
    LbPolicy.RANDOM: _Cluster.RANDOM,
    LbPolicy.RING_HASH: _Cluster.RING_HASH,
    LbPolicy.MAGLEV: _Cluster.MAGLEV,
    LbPolicy.CLUSTER_PROVIDED: _Cluster.CLUSTER_PROVIDED,
}
_DNS = (Discovery.STRICT_DNS, Discovery.LOGICAL_DNS)
_ENVOY_DNS_REFRESH_SECONDS = 5.0
_MAX_RING = 8 << 20
_MAX_MAGLEV = 5_000_011


def encode_cluster(value: Cluster) -> Any:
    """Raises: EncodeError."""
    path = Path(value.name)
    if not value.name:
        raise path.error("name", "is empty")
    message = _Cluster(
        name=value.name,
        connect_timeout=duration(value.connect_timeout_seconds, path, "connect_timeout_seconds"),
        circuit_breakers=circuit_breaker_pb.CircuitBreakers(
            thresholds=[_thresholds(value.circuit_breaker, path.at("circuit_breaker"))]
        ),
        metadata=_metadata(value),
    )
    if not value.connect_timeout_seconds:
        raise path.error("connect_timeout_seconds", "must be positive")
    _discovery(message, value, path)
    _load_balancing(message, value, path)
    _health(message, value.outlier, path.at("outlier"))
    _sockets(message, value, path)
    message.typed_extension_protocol_options[HTTP_OPTIONS].CopyFrom(pack(_http_options(value, path)))
    return message


def _metadata(value: Cluster) -> Any:
    istio: dict[str, Any] = {}
    if value.service is not None:
        service = {"host": value.service.host, "name": value.service.name, "namespace": value.service.namespace}
        istio["services"] = [service]
    if value.subset:
        istio["subset"] = value.subset
    return metadata_of({ISTIO_METADATA: istio, ORIGIN_METADATA: origin_fields(value.origin)})


def _discovery(message: Any, value: Cluster, path: Path) -> None:
    inline = value.discovery in (Discovery.STATIC, *_DNS)
    if inline != (value.assignment is not None):
        what = "needs its endpoints inline" if inline else "cannot have inline endpoints"
        raise path.error("assignment", f"a cluster of type {value.discovery.value} {what}")
    if value.discovery is Discovery.LOGICAL_DNS and value.assignment is not None:
        groups = value.assignment.localities
        if len(groups) != 1 or len(groups[0].endpoints) != 1:
            raise path.error("assignment", "a cluster of type logical_dns needs exactly one endpoint")
    if value.discovery in _DNS and value.dns_refresh_seconds != _ENVOY_DNS_REFRESH_SECONDS:
        # `dns_refresh_rate` of the cluster itself is deprecated in favour of this extension. gRPC knows only the
        # plain type, which is why the default goes without.
        message.cluster_type.name = DNS_CLUSTER
        message.cluster_type.typed_config.CopyFrom(pack(_dns(value, path)))
    else:
        message.type = _TYPES[value.discovery]
        if value.discovery in _DNS:
            message.dns_lookup_family = _Cluster.V4_PREFERRED
    if value.assignment is not None:
        message.load_assignment.CopyFrom(encode_assignment(value.assignment, path.at("assignment")))
    if value.discovery is Discovery.EDS:
        message.eds_cluster_config.eds_config.CopyFrom(ads_source())
        message.eds_cluster_config.service_name = value.eds_service_name
    elif value.eds_service_name:
        raise path.error("eds_service_name", f"means nothing for type {value.discovery.value}")
    if value.connect_to_port:
        if value.discovery is not Discovery.ORIGINAL_DST:
            raise path.error("connect_to_port", f"means nothing for type {value.discovery.value}")
        port = uint32(value.connect_to_port, path, "connect_to_port", 1, 65535)
        message.original_dst_lb_config.upstream_port_override.CopyFrom(port)


def _dns(value: Cluster, path: Path) -> Any:
    if value.dns_refresh_seconds <= 0.001:
        raise path.error("dns_refresh_seconds", "must be more than one millisecond")
    return dns_cluster_pb.DnsCluster(
        dns_refresh_rate=duration(value.dns_refresh_seconds, path, "dns_refresh_seconds"),
        dns_lookup_family=dns_pb.V4_PREFERRED,
        all_addresses_in_single_endpoint=value.discovery is Discovery.LOGICAL_DNS,
    )


def _load_balancing(message: Any, value: Cluster, path: Path) -> None:
    # Envoy accepts no other policy for ORIGINAL_DST, and that policy for nothing else.
    is_original = value.discovery is Discovery.ORIGINAL_DST
    policy = LbPolicy.CLUSTER_PROVIDED if is_original else value.lb
    if policy is LbPolicy.CLUSTER_PROVIDED and not is_original:
        raise path.error("lb", "cluster_provided is for original_dst clusters only")
    message.lb_policy = _POLICIES[policy]
    match policy:
        case LbPolicy.RING_HASH:
            ring = message.ring_hash_lb_config
            low = bounded(value.ring_min_size, path, "ring_min_size", 1, _MAX_RING)
            ring.minimum_ring_size.CopyFrom(UInt64Value(value=low))
            high = bounded(value.ring_max_size, path, "ring_max_size", low, _MAX_RING)
            ring.maximum_ring_size.CopyFrom(UInt64Value(value=high))
        case LbPolicy.MAGLEV:
            size = bounded(value.maglev_table_size, path, "maglev_table_size", 1, _MAX_MAGLEV)
            if not _is_prime(size):
                raise path.error("maglev_table_size", f"{size} is not a prime number")
            message.maglev_lb_config.table_size.CopyFrom(UInt64Value(value=size))
        case LbPolicy.LEAST_REQUEST:
            choices = uint32(value.least_request_choices, path, "least_request_choices", 2)
            message.least_request_lb_config.choice_count.CopyFrom(choices)
    if value.slow_start_seconds:
        _slow_start(message, policy, value, path)
    if value.locality_weighted:
        if policy is LbPolicy.CLUSTER_PROVIDED:
            raise path.error("locality_weighted", "means nothing for original_dst clusters")
        message.common_lb_config.locality_weighted_lb_config.SetInParent()


def _slow_start(message: Any, policy: LbPolicy, value: Cluster, path: Path) -> None:
    window = duration(value.slow_start_seconds, path, "slow_start_seconds")
    if policy is LbPolicy.LEAST_REQUEST:
        message.least_request_lb_config.slow_start_config.slow_start_window.CopyFrom(window)
    elif policy is LbPolicy.ROUND_ROBIN:
        message.round_robin_lb_config.slow_start_config.slow_start_window.CopyFrom(window)
    else:
        raise path.error("slow_start_seconds", f"is for least_request and round_robin, not {policy.value}")


def _thresholds(value: CircuitBreaker, path: Path) -> Any:
    message = circuit_breaker_pb.CircuitBreakers.Thresholds(
        max_connections=uint32(value.max_connections, path, "max_connections"),
        max_pending_requests=uint32(value.max_pending_requests, path, "max_pending_requests"),
        max_requests=uint32(value.max_requests, path, "max_requests"),
        max_retries=uint32(value.max_retries, path, "max_retries"),
        track_remaining=True,
    )
    if value.retry_budget is not None:
        budget = value.retry_budget
        message.retry_budget.budget_percent.CopyFrom(percent(budget.percent, path, "retry_budget.percent"))
        least = uint32(budget.min_concurrency, path, "retry_budget.min_concurrency")
        message.retry_budget.min_retry_concurrency.CopyFrom(least)
    return message


def _health(message: Any, value: OutlierDetection | None, path: Path) -> None:
    """Everything is said explicitly: Envoy's defaults would switch on success-rate ejection and 50 % panic."""
    message.common_lb_config.healthy_panic_threshold.value = 0 if value is None else value.min_health_percent
    if value is None:
        return
    if not 0 <= value.min_health_percent <= 100:
        raise path.error("min_health_percent", f"{value.min_health_percent} is not a percentage")
    for field in ("interval_seconds", "base_ejection_seconds", "max_ejection_seconds"):
        if getattr(value, field) <= 0:
            raise path.error(field, "must be positive")
    if value.max_ejection_seconds < value.base_ejection_seconds:
        raise path.error("max_ejection_seconds", "is less than base_ejection_seconds")
    if value.consecutive_local_origin_failure and not value.split_external_local_origin_errors:
        raise path.error("consecutive_local_origin_failure", "needs split_external_local_origin_errors")
    message.outlier_detection.CopyFrom(
        outlier_pb.OutlierDetection(
            consecutive_5xx=uint32(value.consecutive_5xx, path, "consecutive_5xx"),
            enforcing_consecutive_5xx=_enforcing(value.consecutive_5xx),
            consecutive_gateway_failure=uint32(value.consecutive_gateway_failure, path, "consecutive_gateway_failure"),
            enforcing_consecutive_gateway_failure=_enforcing(value.consecutive_gateway_failure),
            split_external_local_origin_errors=value.split_external_local_origin_errors,
            consecutive_local_origin_failure=uint32(
                value.consecutive_local_origin_failure, path, "consecutive_local_origin_failure"
            ),
            enforcing_consecutive_local_origin_failure=_enforcing(value.consecutive_local_origin_failure),
            interval=duration(value.interval_seconds, path, "interval_seconds"),
            base_ejection_time=duration(value.base_ejection_seconds, path, "base_ejection_seconds"),
            max_ejection_time=duration(value.max_ejection_seconds, path, "max_ejection_seconds"),
            max_ejection_percent=uint32(value.max_ejection_percent, path, "max_ejection_percent", 0, 100),
            enforcing_success_rate=_enforcing(0),
            enforcing_local_origin_success_rate=_enforcing(0),
        )
    )


def _enforcing(threshold: int) -> Any:
    return uint32(100 if threshold else 0, Path(""), "")


def _sockets(message: Any, value: Cluster, path: Path) -> None:
    if value.tls is not None:
        message.transport_socket.CopyFrom(upstream_socket(value.tls, path.at("tls")))
    for i, match in enumerate(value.tls_matches):
        criteria = Struct()
        if match.tls_mode:
            criteria.update({TLS_MODE: match.tls_mode})
        message.transport_socket_matches.add(
            name=match.name,
            match=criteria,
            transport_socket=upstream_socket(match.tls, path.at("tls_matches", i).at("tls")),
        )
    if value.bind_host:
        message.upstream_bind_config.source_address.CopyFrom(
            address_pb.SocketAddress(address=value.bind_host, port_value=0)
        )
    if value.tcp_keepalive is not None:
        _keepalive(message.upstream_connection_options.tcp_keepalive, value.tcp_keepalive, path.at("tcp_keepalive"))


def _keepalive(message: Any, value: TcpKeepalive, path: Path) -> None:
    message.SetInParent()
    for field, number in (
        ("keepalive_probes", value.probes),
        ("keepalive_time", value.time_seconds),
        ("keepalive_interval", value.interval_seconds),
    ):
        if number is not None:
            getattr(message, field).CopyFrom(uint32(number, path, field))


def _http_options(value: Cluster, path: Path) -> Any:
    message = http_options_pb.HttpProtocolOptions(
        common_http_protocol_options=protocol_pb.HttpProtocolOptions(
            idle_timeout=duration(value.idle_timeout_seconds, path, "idle_timeout_seconds")
        )
    )
    common = message.common_http_protocol_options
    if value.max_requests_per_connection:
        limit = uint32(value.max_requests_per_connection, path, "max_requests_per_connection")
        common.max_requests_per_connection.CopyFrom(limit)
    if value.max_connection_duration_seconds:
        limit = duration(value.max_connection_duration_seconds, path, "max_connection_duration_seconds")
        common.max_connection_duration.CopyFrom(limit)
    match value.protocol:
        case Protocol.HTTP1:
            message.explicit_http_config.http_protocol_options.SetInParent()
        case Protocol.HTTP2:
            message.explicit_http_config.http2_protocol_options.SetInParent()
        case Protocol.DOWNSTREAM:
            message.use_downstream_protocol_config.http_protocol_options.SetInParent()
            message.use_downstream_protocol_config.http2_protocol_options.SetInParent()
    contexts = [tls for tls in (value.tls, *(match.tls for match in value.tls_matches)) if tls is not None]
    if any(tls.auto_sni for tls in contexts):
        if not all(tls.auto_sni for tls in contexts):
            raise path.error("tls", "auto_sni holds for a whole cluster: all of its TLS contexts or none")
        message.upstream_http_protocol_options.auto_sni = True
        # Whoever is asked for by name must prove that name, unless other names or no proof were asked for.
        is_checked = all(not tls.insecure and not tls.subject_alt_names for tls in contexts)
        message.upstream_http_protocol_options.auto_san_validation = is_checked
    return message


def _is_prime(number: int) -> bool:
    if number < 2:
        return False
    return all(number % divisor for divisor in range(2, int(number**0.5) + 1))
