"""Inbound: what reaches a pod, port by port, and how it is handed to the app.

As Istio since 1.10, the app is called at the address that the client dialled (the pod's), from 127.0.0.6: an app that
listens on localhost alone is not reachable from other pods, as it would not be without a mesh.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mesh.control.kube.objects import PortProtocol
from mesh.control.translate.clusters import BLACK_HOLE, INBOUND_BIND_HOST, INBOUND_PASSTHROUGH
from mesh.control.translate.filters import HTTP_PROTOCOLS, Observation, http_manager, single_tcp
from mesh.control.translate.graph import Graph
from mesh.control.translate.registry import MeshPort, MeshService
from mesh.model.addr import Address
from mesh.model.cluster import Cluster, Discovery, LbPolicy, Protocol
from mesh.model.listener import ChainMatch, Direction, FilterChain, Listener, ListenerFilter
from mesh.model.match import RouteMatch
from mesh.model.node import Node
from mesh.model.route import ForwardAction, Route, RouteConfig, VirtualHost, WeightedCluster

INBOUND_PORT = 15006
# Ports of the proxy itself are not captured; a chain for one of them would be a loop.
_PROXY_PORTS = frozenset({15000, 15001, 15004, 15006, 15008, 15020, 15021, 15053, 15090})
_CLUSTER_PROTOCOLS = {PortProtocol.HTTP: Protocol.HTTP1, PortProtocol.HTTP2: Protocol.HTTP2}


@dataclass(frozen=True, slots=True)
class Target:
    """One port of the pod and the service port that it serves."""

    number: int
    service: MeshService
    port: MeshPort

    @property
    def cluster_name(self) -> str:
        return f"inbound|{self.number}||"


def inbound(graph: Graph, node: Node, seen: Observation) -> tuple[Listener, dict[str, Cluster]]:
    """The listener `virtualInbound` and the `inbound|port||` clusters of a pod."""
    targets: dict[int, Target] = {}
    for target in _targets(graph, node):
        # Of several services on one port the first by name gives the labels; they cannot disagree on where to go.
        targets.setdefault(target.number, target)
    key = ("inbound", tuple((t.number, t.service.host, t.port.number) for t in targets.values()), seen)
    found: tuple[Listener, dict[str, Cluster]] | None = graph.memo.get(key)
    if found is None:
        clusters = {target.cluster_name: _cluster(graph, target) for target in targets.values()}
        found = graph.memo[key] = (_listener(list(targets.values()), seen), clusters)
    return found


def _targets(graph: Graph, node: Node) -> Iterator[Target]:
    for service in graph.names.registry.behind(node.namespace, node.labels):
        for port in service.ports:
            number = port.target
            if isinstance(number, str):
                pod = graph.world.pods.get((node.namespace, node.name))
                number = pod.ports.get(number, 0) if pod is not None else 0
            if number and number not in _PROXY_PORTS:
                yield Target(number, service, port)


def _cluster(graph: Graph, target: Target) -> Cluster:
    return Cluster(
        name=target.cluster_name,
        discovery=Discovery.ORIGINAL_DST,
        lb=LbPolicy.CLUSTER_PROVIDED,
        connect_timeout_seconds=graph.config.connect_timeout_seconds,
        protocol=_CLUSTER_PROTOCOLS.get(target.port.protocol, Protocol.DOWNSTREAM),
        bind_host=INBOUND_BIND_HOST,
        service=target.service.service_ref,
        origin=target.service.meta.origin(),
    )


def _listener(targets: list[Target], seen: Observation) -> Listener:
    chains = [
        FilterChain(single_tcp(BLACK_HOLE, seen), ChainMatch(destination_port=INBOUND_PORT), "virtualInbound-blackhole")
    ]
    for target in targets:
        chains += _chains(target, seen)
    catch_all = http_manager(
        f"inbound_{seen.wildcard}_0",
        seen,
        route_config=_routes(INBOUND_PASSTHROUGH, "inbound|http|0", f"{INBOUND_PASSTHROUGH}/*"),
    )
    http = ChainMatch(application_protocols=HTTP_PROTOCOLS)
    chains.append(FilterChain(catch_all, http, "virtualInbound-catchall-http"))
    return Listener(
        name="virtualInbound",
        address=Address(seen.wildcard, INBOUND_PORT),
        chains=tuple(chains),
        default_chain=FilterChain(single_tcp(INBOUND_PASSTHROUGH, seen), name="virtualInbound-catchall-tcp"),
        direction=Direction.INBOUND,
        filters=frozenset({ListenerFilter.ORIGINAL_DST, ListenerFilter.HTTP_INSPECTOR}),
        uninspected_ports=tuple(
            sorted(t.number for t in targets if t.port.protocol in (PortProtocol.TCP, PortProtocol.TLS))
        ),
    )


def _chains(target: Target, seen: Observation) -> Iterator[FilterChain]:
    name = f"{seen.wildcard}_{target.number}"
    origin = target.service.meta.origin()
    port = ChainMatch(destination_port=target.number)
    opaque = FilterChain(single_tcp(target.cluster_name, seen), port, name, origin=origin)
    protocol = target.port.protocol
    if protocol in (PortProtocol.TCP, PortProtocol.TLS):
        yield opaque
        return
    operation = f"{target.service.host}:{target.port.number}/*"
    manager = http_manager(
        f"inbound_{name}",
        seen,
        route_config=_routes(target.cluster_name, f"inbound|http|{target.port.number}", operation),
    )
    if protocol.is_http:
        yield FilterChain(manager, port, name, origin=origin)
        return
    sniffed = ChainMatch(destination_port=target.number, application_protocols=HTTP_PROTOCOLS)
    yield FilterChain(manager, sniffed, f"{name}-http", origin=origin)
    yield opaque


def _routes(cluster: str, vhost: str, operation: str) -> RouteConfig:
    route = Route(RouteMatch(), ForwardAction((WeightedCluster(cluster),)), name="default", operation=operation)
    return RouteConfig(cluster, (VirtualHost(vhost, ("*",), (route,)),))
