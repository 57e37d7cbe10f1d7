"""Listener to `envoy.config.listener.v3.Listener`."""

from __future__ import annotations

from typing import Any

import envoy.config.core.v3.base_pb2 as base_pb
import envoy.config.listener.v3.listener_components_pb2 as components_pb
import envoy.config.listener.v3.listener_pb2 as listener_pb
import envoy.extensions.filters.listener.http_inspector.v3.http_inspector_pb2 as http_inspector_pb
import envoy.extensions.filters.listener.original_dst.v3.original_dst_pb2 as original_dst_pb
import envoy.extensions.filters.listener.proxy_protocol.v3.proxy_protocol_pb2 as proxy_protocol_pb
import envoy.extensions.filters.listener.tls_inspector.v3.tls_inspector_pb2 as tls_inspector_pb
import envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 as tcp_proxy_pb
import envoy.type.v3.range_pb2 as range_pb
from google.protobuf.wrappers_pb2 import BoolValue

from mesh.model.listener import ChainMatch, Direction, FilterChain, HttpManager, Listener, ListenerFilter, TcpProxy
from mesh.model.route import NO_MUTATION
from mesh.xds.encode.common import Path, address, bounded, cidr, duration, origin_metadata, pack, uint32
from mesh.xds.encode.http_manager import encode_access_log, encode_http_manager
from mesh.xds.encode.route import limit_streams
from mesh.xds.encode.tls import downstream_socket
from mesh.xds.wire import HTTP_MANAGER, TCP_PROXY

_DIRECTIONS = {
    Direction.UNSPECIFIED: base_pb.TrafficDirection.UNSPECIFIED,
    Direction.INBOUND: base_pb.TrafficDirection.INBOUND,
    Direction.OUTBOUND: base_pb.TrafficDirection.OUTBOUND,
}

_FILTERS = (
    # In the order they must run: the address first, then what precedes the first byte, then who looks at it.
    (ListenerFilter.ORIGINAL_DST, "envoy.filters.listener.original_dst", original_dst_pb.OriginalDst),
    (ListenerFilter.PROXY_PROTOCOL, "envoy.filters.listener.proxy_protocol", proxy_protocol_pb.ProxyProtocol),
    (ListenerFilter.TLS_INSPECTOR, "envoy.filters.listener.tls_inspector", tls_inspector_pb.TlsInspector),
    (ListenerFilter.HTTP_INSPECTOR, "envoy.filters.listener.http_inspector", http_inspector_pb.HttpInspector),
)
INSPECTORS = frozenset({ListenerFilter.TLS_INSPECTOR, ListenerFilter.HTTP_INSPECTOR})


def encode_listener(value: Listener) -> Any:
    """Raises: EncodeError."""
    path = Path(value.name)
    if not value.name:
        raise path.error("name", "is empty")
    message = listener_pb.Listener(name=value.name, metadata=origin_metadata(value.origin))
    if value.api is not None:
        if value.chains or value.default_chain is not None:
            raise path.error("api", "an API listener has no filter chains")
        manager = encode_http_manager(value.api, path.at("api"))
        if manager.HasField("route_config"):
            limit_streams(manager.route_config)
        message.api_listener.api_listener.CopyFrom(pack(manager))
        return message
    if not value.chains and value.default_chain is None:
        raise path.error("chains", "is empty")
    message.address.CopyFrom(address(value.address, path, "address"))
    for i, extra in enumerate(value.additional_addresses):
        message.additional_addresses.add(address=address(extra, path, f"additional_addresses[{i}]"))
    message.filter_chains.extend(_chain(chain, path.at("chains", i)) for i, chain in enumerate(value.chains))
    if value.default_chain is not None:
        if not value.default_chain.match.is_empty:
            raise path.error("default_chain.match", "a default chain has none")
        message.default_filter_chain.CopyFrom(_chain(value.default_chain, path.at("default_chain")))
    _opening(message, value, path)
    return message


def _opening(message: Any, value: Listener, path: Path) -> None:
    """How the socket is opened and what runs before a chain is chosen."""
    message.traffic_direction = _DIRECTIONS[value.direction]
    if not value.bind_to_port:
        message.bind_to_port.CopyFrom(BoolValue(value=False))
    if value.use_original_dst:
        message.use_original_dst.CopyFrom(BoolValue(value=True))
    for kind, name, config in _FILTERS:
        if kind in value.filters:
            entry = message.listener_filters.add(name=name, typed_config=pack(config()))
            if kind in INSPECTORS and value.uninspected_ports:
                entry.filter_disabled.CopyFrom(_any_port(value.uninspected_ports, path))
    if value.uninspected_ports and not value.filters.intersection(INSPECTORS):
        raise path.error("uninspected_ports", "needs an HTTP or TLS inspector")
    message.listener_filters_timeout.CopyFrom(duration(value.filters_timeout_seconds, path, "filters_timeout_seconds"))
    message.continue_on_listener_filters_timeout = value.continue_on_filters_timeout
    message.access_log.extend(
        encode_access_log(log, path.at("access_logs", i)) for i, log in enumerate(value.access_logs)
    )


def _any_port(ports: tuple[int, ...], path: Path) -> Any:
    """A predicate that holds for each of the ports. Envoy wants at least two rules in an `or_match`."""
    predicate = components_pb.ListenerFilterChainMatchPredicate
    rules = []
    for i, port in enumerate(ports):
        bounded(port, path, f"uninspected_ports[{i}]", 1, 65535)
        rules.append(predicate(destination_port_range=range_pb.Int32Range(start=port, end=port + 1)))
    return rules[0] if len(rules) == 1 else predicate(or_match=predicate.MatchSet(rules=rules))


def _chain(value: FilterChain, path: Path) -> Any:
    message = components_pb.FilterChain(name=value.name, metadata=origin_metadata(value.origin))
    if not value.match.is_empty:
        message.filter_chain_match.CopyFrom(_chain_match(value.match, path.at("match")))
    if isinstance(value.filter, HttpManager):
        message.filters.add(name=HTTP_MANAGER, typed_config=pack(encode_http_manager(value.filter, path.at("filter"))))
    else:
        message.filters.add(name=TCP_PROXY, typed_config=pack(_tcp_proxy(value.filter, path.at("filter"))))
    if value.tls is not None:
        message.transport_socket.CopyFrom(downstream_socket(value.tls, path.at("tls")))
    return message


def _chain_match(value: ChainMatch, path: Path) -> Any:
    message = components_pb.FilterChainMatch(
        prefix_ranges=[cidr(prefix) for prefix in value.prefix_ranges],
        server_names=value.server_names,
        transport_protocol=value.transport_protocol,
        application_protocols=value.application_protocols,
        source_prefix_ranges=[cidr(prefix) for prefix in value.source_prefix_ranges],
        source_ports=[bounded(port, path, "source_ports", 1, 65535) for port in value.source_ports],
    )
    if value.destination_port is not None:
        port = uint32(value.destination_port, path, "destination_port", 1, 65535)
        message.destination_port.CopyFrom(port)
    return message


def _tcp_proxy(value: TcpProxy, path: Path) -> Any:
    message = tcp_proxy_pb.TcpProxy(
        stat_prefix=value.stat_prefix,
        idle_timeout=duration(value.idle_timeout_seconds, path, "idle_timeout_seconds"),
        access_log=[encode_access_log(log, path.at("access_logs", i)) for i, log in enumerate(value.access_logs)],
        max_connect_attempts=uint32(value.max_connect_attempts, path, "max_connect_attempts", 1),
    )
    if not value.stat_prefix:
        raise path.error("stat_prefix", "is empty")
    if not value.clusters:
        raise path.error("clusters", "is empty")
    for i, cluster in enumerate(value.clusters):
        if cluster.request_headers != NO_MUTATION or cluster.response_headers != NO_MUTATION:
            raise path.error(f"clusters[{i}]", "opaque bytes have no headers to change")
    if len(value.clusters) == 1 and value.clusters[0].weight == 1:
        message.cluster = value.clusters[0].name
        return message
    for i, cluster in enumerate(value.clusters):
        # Envoy allows no weight 0 here (unlike for HTTP): whoever gets nothing is left out.
        if cluster.weight:
            weight = bounded(cluster.weight, path, f"clusters[{i}].weight", 1)
            message.weighted_clusters.clusters.add(name=cluster.name, weight=weight)
    if not message.weighted_clusters.clusters:
        raise path.error("clusters", "weights add up to 0")
    return message
