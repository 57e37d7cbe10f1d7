"""`envoy.config.listener.v3.Listener` to Listener."""

from __future__ import annotations

from typing import Any

import envoy.config.core.v3.base_pb2 as base_pb
import envoy.config.listener.v3.listener_components_pb2 as components_pb
import envoy.config.listener.v3.listener_pb2 as listener_pb
import envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 as http_manager_pb
import envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 as tcp_proxy_pb

from mesh.model.listener import (
    NO_ADDRESS,
    ChainMatch,
    Direction,
    FilterChain,
    HttpManager,
    Listener,
    ListenerFilter,
    TcpProxy,
)
from mesh.model.route import WeightedCluster
from mesh.xds.decode.common import (
    CIDR_FIELDS,
    Reader,
    read_address,
    read_cidr,
    read_metadata,
    read_origin,
    type_name,
)
from mesh.xds.decode.http_manager import MANAGER_FIELDS, MANAGER_HARMLESS, read_access_log, read_http_manager
from mesh.xds.decode.tls import read_downstream_socket

MESSAGE = listener_pb.Listener

_FIELDS = (
    "name",
    "address",
    "additional_addresses",
    "filter_chains",
    "default_filter_chain",
    "bind_to_port",
    "use_original_dst",
    "listener_filters",
    "listener_filters_timeout",
    "continue_on_listener_filters_timeout",
    "traffic_direction",
    "access_log",
    "api_listener",
    "metadata",
)
_HARMLESS = (
    # Statistics and the accept queue.
    "stat_prefix",
    "tcp_backlog_size",
    "tcp_fast_open_queue_length",
    "max_connections_to_accept_per_socket_event",
    "per_connection_buffer_limit_bytes",
    "connection_balance_config",
    "enable_reuse_port",
    "ignore_global_conn_limit",
    "bypass_overload_manager",
    "enable_mptcp",
    "drain_type",
    # Binding before the address exists (gateways) is how ours always binds.
    "freebind",
    "socket_options",
)
_DIRECTIONS = {
    base_pb.TrafficDirection.UNSPECIFIED: Direction.UNSPECIFIED,
    base_pb.TrafficDirection.INBOUND: Direction.INBOUND,
    base_pb.TrafficDirection.OUTBOUND: Direction.OUTBOUND,
}
_LISTENER_FILTERS = {
    "envoy.extensions.filters.listener.original_dst.v3.OriginalDst": ListenerFilter.ORIGINAL_DST,
    "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector": ListenerFilter.TLS_INSPECTOR,
    "envoy.extensions.filters.listener.http_inspector.v3.HttpInspector": ListenerFilter.HTTP_INSPECTOR,
    "envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol": ListenerFilter.PROXY_PROTOCOL,
}
_PREDICATE_FIELDS = ("destination_port_range", "or_match")
_MAX_PREDICATE_PORTS = 1024
_CHAIN_FIELDS = ("name", "filter_chain_match", "filters", "transport_socket", "metadata")
_CHAIN_HARMLESS = ("transport_socket_connect_timeout",)
_MATCH_FIELDS = (
    "destination_port",
    "prefix_ranges",
    "server_names",
    "transport_protocol",
    "application_protocols",
    "source_prefix_ranges",
    "source_ports",
)
_TCP_FIELDS = (
    "stat_prefix",
    "cluster",
    "weighted_clusters",
    "idle_timeout",
    "access_log",
    "max_connect_attempts",
)
_TCP_HARMLESS = ("access_log_options",)
_SKIPPED_NETWORK_FILTERS = frozenset(
    {
        # Istio's: TCP metrics, which every connection gets here anyway; peer metadata, which needs mesh TLS's ALPN.
        "stats.PluginConfig",
        "envoy.tcp.metadataexchange.config.MetadataExchange",
    }
)
_ENVOY_FILTERS_TIMEOUT_SECONDS = 15.0


def decode_listener(message: Any) -> Listener:
    """Raises: DecodeError."""
    reader = Reader(message, message.name, "", _FIELDS, _HARMLESS)
    origin = read_origin(read_metadata(reader))
    if reader.has("api_listener"):
        api = reader.child("api_listener", ("api_listener",))
        return Listener(message.name, api=read_http_manager(_manager(api, "api_listener")), origin=origin)
    chains = [_chain(chain) for chain in reader.children("filter_chains", _CHAIN_FIELDS, _CHAIN_HARMLESS)]
    default = None
    if reader.has("default_filter_chain"):
        default = _chain(reader.child("default_filter_chain", _CHAIN_FIELDS, _CHAIN_HARMLESS))
    if not chains and default is None:
        raise reader.error("filter_chains", "is empty")
    logs = reader.children("access_log", ("name", "typed_config"))
    filters, uninspected = _listener_filters(reader)
    return Listener(
        name=message.name,
        address=read_address(reader, "address") if reader.has("address") else NO_ADDRESS,
        chains=tuple(chains),
        default_chain=default,
        bind_to_port=reader.wrapped("bind_to_port", True),
        direction=_DIRECTIONS[message.traffic_direction],
        use_original_dst=reader.wrapped("use_original_dst", False),
        filters=filters,
        uninspected_ports=uninspected,
        filters_timeout_seconds=reader.seconds("listener_filters_timeout", _ENVOY_FILTERS_TIMEOUT_SECONDS),
        continue_on_filters_timeout=message.continue_on_listener_filters_timeout,
        additional_addresses=tuple(
            read_address(extra, "address")
            for extra in reader.children("additional_addresses", ("address",), ("socket_options",))
        ),
        access_logs=tuple(log for log in map(read_access_log, logs) if log is not None),
        origin=origin,
    )


def _listener_filters(reader: Reader) -> tuple[frozenset[ListenerFilter], tuple[int, ...]]:
    """(the filters, destination ports that every inspector among them leaves alone)."""
    kinds = set()
    disabled: list[tuple[int, ...]] = []
    for entry in reader.children("listener_filters", ("name", "typed_config", "filter_disabled")):
        name = type_name(entry.message.typed_config)
        if name not in _LISTENER_FILTERS:
            raise entry.error("typed_config", f"listener filter {entry.message.name} ({name}) is not supported")
        kind = _LISTENER_FILTERS[name]
        kinds.add(kind)
        if kind in (ListenerFilter.HTTP_INSPECTOR, ListenerFilter.TLS_INSPECTOR):
            disabled.append(_ports(entry.child("filter_disabled", _PREDICATE_FIELDS)))
        elif entry.has("filter_disabled"):
            raise entry.error("filter_disabled", "is supported for the HTTP and TLS inspectors only")
    first, *others = disabled or [()]
    return frozenset(kinds), tuple(port for port in first if all(port in ports for ports in others))


def _ports(predicate: Reader) -> tuple[int, ...]:
    """Destination ports for which a predicate holds, when it is made of nothing else."""
    if predicate.has("destination_port_range"):
        span = predicate.message.destination_port_range
        if span.end - span.start > _MAX_PREDICATE_PORTS:
            raise predicate.error("destination_port_range", f"more than {_MAX_PREDICATE_PORTS} ports")
        return tuple(range(span.start, span.end))
    if predicate.has("or_match"):
        rules = predicate.child("or_match", ("rules",)).children("rules", _PREDICATE_FIELDS)
        return tuple(port for rule in rules for port in _ports(rule))
    return ()


def _chain(reader: Reader) -> FilterChain:
    terminal: HttpManager | TcpProxy | None = None
    for entry in reader.children("filters", ("name", "typed_config")):
        if terminal is not None:
            raise entry.error("", "comes after the filter that ends the chain")
        terminal = _network_filter(entry)
    if terminal is None:
        raise reader.error("filters", "no HTTP connection manager and no TCP proxy")
    return FilterChain(
        filter=terminal,
        match=_chain_match(reader),
        name=reader.message.name,
        tls=read_downstream_socket(reader, "transport_socket") if reader.has("transport_socket") else None,
        origin=read_origin(read_metadata(reader)),
    )


def _network_filter(entry: Reader) -> HttpManager | TcpProxy | None:
    packed = entry.message.typed_config
    if packed.Is(http_manager_pb.HttpConnectionManager.DESCRIPTOR):
        return read_http_manager(_manager(entry, "typed_config"))
    if packed.Is(tcp_proxy_pb.TcpProxy.DESCRIPTOR):
        return _tcp_proxy(entry.unpack("typed_config", tcp_proxy_pb.TcpProxy(), _TCP_FIELDS, _TCP_HARMLESS))
    if type_name(packed) in _SKIPPED_NETWORK_FILTERS or entry.message.name == "istio.stats":
        return None
    raise entry.error("typed_config", f"network filter {entry.message.name} ({type_name(packed)}) is not supported")


def _manager(entry: Reader, field: str) -> Reader:
    return entry.unpack(field, http_manager_pb.HttpConnectionManager(), MANAGER_FIELDS, MANAGER_HARMLESS)


def _chain_match(reader: Reader) -> ChainMatch:
    match = reader.child("filter_chain_match", (*_MATCH_FIELDS, "source_type"))
    message = match.message
    if message.source_type != components_pb.FilterChainMatch.ANY:
        raise match.error("source_type", "only ANY is supported")
    return ChainMatch(
        destination_port=match.wrapped("destination_port", None),
        prefix_ranges=tuple(read_cidr(prefix) for prefix in match.children("prefix_ranges", CIDR_FIELDS)),
        server_names=tuple(message.server_names),
        transport_protocol=message.transport_protocol,
        application_protocols=tuple(message.application_protocols),
        source_prefix_ranges=tuple(read_cidr(prefix) for prefix in match.children("source_prefix_ranges", CIDR_FIELDS)),
        source_ports=tuple(message.source_ports),
    )


def _tcp_proxy(reader: Reader) -> TcpProxy:
    logs = reader.children("access_log", ("name", "typed_config"))
    return TcpProxy(
        stat_prefix=reader.message.stat_prefix,
        clusters=_tcp_clusters(reader),
        idle_timeout_seconds=reader.seconds("idle_timeout", 3600.0),
        access_logs=tuple(log for log in map(read_access_log, logs) if log is not None),
        max_connect_attempts=reader.wrapped("max_connect_attempts", 1),
    )


def _tcp_clusters(reader: Reader) -> tuple[WeightedCluster, ...]:
    chosen = reader.one_of("cluster_specifier", "cluster", "weighted_clusters")
    if chosen == "cluster":
        return (WeightedCluster(reader.message.cluster),)
    if chosen is None:
        raise reader.error("", "names no cluster")
    group = reader.child("weighted_clusters", ("clusters",))
    return tuple(
        WeightedCluster(cluster.message.name, cluster.message.weight)
        for cluster in group.children("clusters", ("name", "weight"))
    )
