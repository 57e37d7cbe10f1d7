"""`envoy.config.cluster.v3.Cluster` to Cluster."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import envoy.config.cluster.v3.cluster_pb2 as cluster_pb
import envoy.extensions.clusters.dns.v3.dns_cluster_pb2 as dns_cluster_pb
from google.protobuf.json_format import MessageToDict

from mesh.model.cluster import (
    Cluster,
    Discovery,
    LbPolicy,
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
from mesh.xds.decode.health import read_circuit_breaker, read_health
from mesh.xds.decode.http_options import read_http_options
from mesh.xds.decode.tls import read_upstream_socket
from mesh.xds.wire import ISTIO_METADATA, TLS_MODE

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


def decode_cluster(message: Any) -> Cluster:
    """Raises: DecodeError."""
    reader = Reader(message, message.name, "", _FIELDS, _HARMLESS)
    discovery, dns_refresh = _discovery(reader)
    policy = message.lb_policy
    if policy not in _POLICIES:
        raise reader.error("lb_policy", f"{_Cluster.LbPolicy.Name(policy)} is not supported")
    metadata = read_metadata(reader)
    http = read_http_options(reader)
    outlier, is_weighted = read_health(reader)
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
        circuit_breaker=read_circuit_breaker(reader),
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
