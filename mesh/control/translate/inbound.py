"""Inbound: what reaches a pod, port by port, and how it is handed to the app.

As Istio since 1.10, the app is called at the address that the client dialled (the pod's), from 127.0.0.6: an app that
listens on localhost alone is not reachable from other pods, as it would not be without a mesh.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from mesh.control.kube.objects import PortProtocol
from mesh.control.translate.clusters import BLACK_HOLE, INBOUND_BIND_HOST, INBOUND_PASSTHROUGH
from mesh.control.translate.doors import App, Doors
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
    demand = graph.authentication.of(node.namespace, node.labels)
    doors = Doors(demand.mode, tuple(sorted(demand.ports.items())), node.has_identity)
    key = ("inbound", tuple((t.number, t.service.host, t.port.number) for t in targets.values()), doors, seen)
    found: tuple[Listener, dict[str, Cluster]] | None = graph.memo.get(key)
    if found is None:
        clusters = {target.cluster_name: _cluster(graph, target) for target in targets.values()}
        found = graph.memo[key] = (_listener(list(targets.values()), doors, seen), clusters)
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


def _listener(targets: list[Target], doors: Doors, seen: Observation) -> Listener:
    chains = [
        FilterChain(single_tcp(BLACK_HOLE, seen), ChainMatch(destination_port=INBOUND_PORT), "virtualInbound-blackhole")
    ]
    for target in targets:
        chains += doors.chains(_app(target, doors, seen), target.number)
    # Ports of no service, where their own policy differs from the workload's.
    served = {target.number for target in targets}
    rest = _everything_else(doors, seen)
    for port, _ in doors.ports:
        if port not in served and port not in _PROXY_PORTS:
            chains += doors.chains(rest, port)
    # No default chain: it would be the way in for what the chains of a port refuse.
    chains += doors.chains(rest, None)
    return Listener(
        name="virtualInbound",
        address=Address(seen.wildcard, INBOUND_PORT),
        chains=tuple(chains),
        direction=Direction.INBOUND,
        filters=frozenset((ListenerFilter.ORIGINAL_DST, *_inspectors(chains))),
        uninspected_ports=tuple(sorted(_opaque_ports(targets, chains))),
    )


def _inspectors(chains: Iterable[FilterChain]) -> Iterator[ListenerFilter]:
    if any(chain.match.transport_protocol for chain in chains):
        yield ListenerFilter.TLS_INSPECTOR
    if any(not set(HTTP_PROTOCOLS).isdisjoint(chain.match.application_protocols) for chain in chains):
        yield ListenerFilter.HTTP_INSPECTOR


def _opaque_ports(targets: Iterable[Target], chains: Iterable[FilterChain]) -> Iterator[int]:
    """Declared opaque, and with one chain whatever the bytes are: a server-first protocol starts at once."""
    told_apart = {chain.match.destination_port for chain in chains if chain.match.transport_protocol}
    for target in targets:
        if target.port.protocol in (PortProtocol.TCP, PortProtocol.TLS) and target.number not in told_apart:
            yield target.number


def _app(target: Target, doors: Doors, seen: Observation) -> App:
    name = f"{seen.wildcard}_{target.number}"
    opaque = single_tcp(target.cluster_name, seen)
    protocol = target.port.protocol
    origin = target.service.meta.origin()
    if protocol in (PortProtocol.TCP, PortProtocol.TLS):
        return App(name, name, None, opaque, origin=origin)
    operation = f"{target.service.host}:{target.port.number}/*"
    manager = http_manager(
        f"inbound_{name}",
        seen,
        route_config=_routes(target.cluster_name, f"inbound|http|{target.port.number}", operation),
        is_for_peers=doors.has_identity,
    )
    return App(name, name if protocol.is_http else f"{name}-http", manager, opaque, protocol.is_http, origin)


def _everything_else(doors: Doors, seen: Observation) -> App:
    manager = http_manager(
        f"inbound_{seen.wildcard}_0",
        seen,
        route_config=_routes(INBOUND_PASSTHROUGH, "inbound|http|0", f"{INBOUND_PASSTHROUGH}/*"),
        is_for_peers=doors.has_identity,
    )
    opaque = single_tcp(INBOUND_PASSTHROUGH, seen)
    return App("virtualInbound-catchall-tcp", "virtualInbound-catchall-http", manager, opaque)


def _routes(cluster: str, vhost: str, operation: str) -> RouteConfig:
    route = Route(RouteMatch(), ForwardAction((WeightedCluster(cluster),)), name="default", operation=operation)
    return RouteConfig(cluster, (VirtualHost(vhost, ("*",), (route,)),))
