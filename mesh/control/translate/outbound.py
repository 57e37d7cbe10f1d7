"""Outbound: what the sidecars of one view send where: route configurations and the plan of listeners.

A view is a client namespace and those pod labels that some rule looks at; all sidecars of a view share everything here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from mesh.control.kube import istio
from mesh.control.kube.objects import PortProtocol
from mesh.control.translate.actions import Client, block_route, default_route, passthrough_route
from mesh.control.translate.bindings import Bindings, service_routes, virtual_service_routes
from mesh.control.translate.clusters import PASSTHROUGH
from mesh.control.translate.endpoints import cluster_name
from mesh.control.translate.graph import Graph
from mesh.control.translate.l4 import TlsRoute, tcp_clusters, tls_routes
from mesh.control.translate.registry import MeshPort, MeshService, Reach
from mesh.control.translate.scopes import Scope
from mesh.control.translate.vhosts import domains, is_http_by_host
from mesh.model.addr import Cidr
from mesh.model.route import ForwardAction, Route, RouteConfig, VirtualHost, WeightedCluster


@dataclass(frozen=True, slots=True)
class View:
    """Which sidecars see the same. labels: sorted, only those that some rule's sourceLabels name.

    has_identity: they have a mesh certificate, and so other clusters than those that have none.
    """

    namespace: str
    labels: tuple[tuple[str, str], ...] = ()
    scope: Scope | None = None
    has_identity: bool = False

    def admits(self, namespace: str, host: str) -> bool:
        return self.scope is None or self.scope.admits(namespace, host)


@dataclass(frozen=True, slots=True)
class WildcardPlan:
    """Listener `0.0.0.0_<port>`: HTTP told apart by Host, TLS by server name, TCP by destination network.

    is_sniffed: not everything on the port is declared HTTP, so the bytes must say.
    """

    port: int
    has_http: bool = False
    is_sniffed: bool = False
    tls: tuple[TlsRoute, ...] = ()
    tcp: tuple[tuple[tuple[Cidr, ...], tuple[WeightedCluster, ...]], ...] = ()


@dataclass(frozen=True, slots=True)
class AddressPlan:
    """Listener `<vip>_<port>`. http: name of its route configuration or ""; clusters: where opaque bytes go, or ()."""

    address: str
    port: int
    http: str = ""
    clusters: tuple[WeightedCluster, ...] = ()
    tls: tuple[TlsRoute, ...] = ()


@dataclass(frozen=True, slots=True)
class Outbound:
    """Everything outbound that the sidecars of a view share. hosts: the services visible to them.

    named: with a scope, the clusters that routes and listeners name: rules may send to hosts that are out of it.
    """

    routes: Mapping[str, RouteConfig]
    wildcards: tuple[WildcardPlan, ...]
    addresses: tuple[AddressPlan, ...]
    hosts: frozenset[str]
    named: frozenset[str]


def view_of(
    graph: Graph, namespace: str, labels: Mapping[str, str], scope: Scope | None = None, has_identity: bool = False
) -> View:
    used = graph.bindings.source_labels
    chosen = tuple(sorted((key, value) for key, value in labels.items() if key in used))
    return View(namespace, chosen, scope, has_identity)


def is_registry_only(graph: Graph, view: View) -> bool:
    """Is what no service claims refused?"""
    own = view.scope.registry_only if view.scope is not None else None
    return graph.config.registry_only if own is None else own


def outbound(graph: Graph, view: View) -> Outbound:
    """Pure and deterministic; the caller keeps the result for all sidecars of the view."""
    services = [
        service
        for service in graph.names.registry.services.values()
        if service.is_visible_to(view.namespace) and view.admits(service.namespace, service.host)
    ]
    by_port: dict[int, list[tuple[MeshService, MeshPort]]] = {}
    routes: dict[str, RouteConfig] = {}
    addresses: list[AddressPlan] = []
    pods: dict[tuple[str, int], AddressPlan] = {}
    for service in services:
        for port in service.ports:
            for pod in _by_pod(graph, view, service, port):
                # One pod behind two headless services: the first host's name it is.
                pods.setdefault((pod.address, pod.port), pod)
            by_port.setdefault(port.number, []).append((service, port))
            for address, config in _by_address(graph, view, service, port):
                addresses.append(address)
                if config is not None:
                    routes[config.name] = config
    wildcards = []
    for number in sorted({*by_port, *_unknown_host_ports(graph.bindings)}):
        members = by_port.get(number, [])
        plan = _wildcard(graph, view, number, members)
        if plan is None:
            continue
        wildcards.append(plan)
        if plan.has_http:
            routes[str(number)] = _route_config(graph, view, number, members)
    addresses += pods.values()
    hosts = frozenset(service.host for service in services)
    named: frozenset[str] = frozenset()
    if view.scope is not None:
        visible = {s.host for s in graph.names.registry.services.values() if s.is_visible_to(view.namespace)}
        named = frozenset(n for n in _named(routes, wildcards, addresses) if n.rpartition("|")[2] in visible)
    return Outbound(routes, tuple(wildcards), tuple(addresses), hosts, named)


def _named(
    routes: Mapping[str, RouteConfig], wildcards: Iterable[WildcardPlan], addresses: Iterable[AddressPlan]
) -> Iterator[str]:
    for config in routes.values():
        for vhost in config.virtual_hosts:
            for route in vhost.routes:
                if isinstance(route.action, ForwardAction):
                    yield from (share.name for share in route.action.clusters)
                    yield from (mirror.cluster for mirror in route.action.mirrors)
    groups = [clusters for plan in wildcards for _, clusters in plan.tcp]
    groups += [plan.clusters for plan in addresses]
    groups += [route.clusters for plan in wildcards for route in plan.tls]
    groups += [route.clusters for plan in addresses for route in plan.tls]
    yield from (share.name for clusters in groups for share in clusters)


def _by_address(
    graph: Graph, view: View, service: MeshService, port: MeshPort
) -> Iterator[tuple[AddressPlan, RouteConfig | None]]:
    """Listeners of the service's own addresses: needed for opaque and undeclared ports, and where an HTTPRoute is
    attached: Gateway API matches by destination address, whatever the Host header says."""
    if not service.vips:
        return
    name = f"{service.host}:{port.number}"
    is_auto = port.protocol is PortProtocol.AUTO
    if is_auto or (port.protocol.is_http and graph.bindings.routes_of(service, port.number, view.namespace)):
        vhost = VirtualHost(name, ("*",), vhost_routes(graph, view, service, port.number))
        config = RouteConfig(name, (vhost,))
        clusters = tcp_clusters(graph, view.namespace, dict(view.labels), service, port) if is_auto else ()
        for vip in service.vips:
            yield AddressPlan(vip, port.number, name, clusters), config
    elif not port.protocol.is_http:
        clusters = tcp_clusters(graph, view.namespace, dict(view.labels), service, port)
        tls = tls_routes(graph, view.namespace, dict(view.labels), service, port)
        for vip in service.vips:
            yield AddressPlan(vip, port.number, "", clusters, tls), None


def has_pod_listeners(service: MeshService, port: MeshPort) -> bool:
    """Opaque ports of headless services: clients dial the pods, so only their addresses say whose bytes these are."""
    return service.reach is Reach.HEADLESS and port.protocol in (PortProtocol.TCP, PortProtocol.TLS)


def _by_pod(graph: Graph, view: View, service: MeshService, port: MeshPort) -> Iterator[AddressPlan]:
    """Listeners of pods, as Istio has them. The cluster goes on to the address that was dialled."""
    assignment = graph.endpoints.get(cluster_name(port.number, "", service.host))
    if assignment is None or not has_pod_listeners(service, port):
        return
    clusters = tcp_clusters(graph, view.namespace, dict(view.labels), service, port)
    tls = tls_routes(graph, view.namespace, dict(view.labels), service, port)
    for endpoint in assignment.endpoints():
        yield AddressPlan(endpoint.address.host, endpoint.address.port, "", clusters, tls)


def _wildcard(
    graph: Graph, view: View, number: int, members: list[tuple[MeshService, MeshPort]]
) -> WildcardPlan | None:
    http = [(s, p) for s, p in members if is_http_by_host(s, p.protocol)]
    by_host = [(s, p) for s, p in members if not s.vips and not is_http_by_host(s, p.protocol)]
    labels = dict(view.labels)
    tls: list[TlsRoute] = []
    tcp: list[tuple[tuple[Cidr, ...], tuple[WeightedCluster, ...]]] = []
    for service, port in by_host:
        if service.is_kubernetes and not service.endpoints:
            # Headless and opaque: told by the pods' addresses (`_by_pod`); it only forbids to assume HTTP.
            continue
        clusters = tcp_clusters(graph, view.namespace, labels, service, port)
        if port.protocol is PortProtocol.TLS and not service.prefixes:
            own = TlsRoute((service.host,), _not_encrypted_twice(graph, clusters), service.meta.origin())
            tls += tls_routes(graph, view.namespace, labels, service, port) or (own,)
        else:
            tcp.append((service.prefixes, clusters))
    has_http = bool(http) or number in _unknown_host_ports(graph.bindings)
    if not has_http and not tls and not tcp:
        return None
    is_sniffed = bool(by_host) or any(port.protocol is PortProtocol.AUTO for _, port in http)
    return WildcardPlan(number, has_http, is_sniffed, tuple(tls), tuple(tcp))


def _not_encrypted_twice(graph: Graph, clusters: tuple[WeightedCluster, ...]) -> tuple[WeightedCluster, ...]:
    """What is TLS already goes out as it is, although a DestinationRule has the host's cluster originate TLS."""
    if any((cluster := graph.clusters.get(share.name)) is not None and cluster.tls is not None for share in clusters):
        return (WeightedCluster(PASSTHROUGH),)
    return clusters


def _unknown_host_ports(bindings: Bindings) -> frozenset[int]:
    """Istio: a VirtualService for a host that nobody declared holds for port 80."""
    return frozenset({80}) if bindings.unknown_hosts else frozenset()


def _route_config(graph: Graph, view: View, number: int, members: list[tuple[MeshService, MeshPort]]) -> RouteConfig:
    vhosts: list[VirtualHost] = []
    taken: set[str] = set()
    for service, port in members:
        if not is_http_by_host(service, port.protocol):
            continue
        names = tuple(name for name in domains(service, number, view.namespace) if name not in taken)
        if names:
            taken.update(names)
            vhosts.append(VirtualHost(f"{service.host}:{number}", names, vhost_routes(graph, view, service, number)))
    if number == 80:
        vhosts += _unknown_hosts(graph, view, taken)
    if is_registry_only(graph, view):
        vhosts.append(VirtualHost("block_all", ("*",), (block_route(),)))
    else:
        vhosts.append(VirtualHost("allow_any", ("*",), (passthrough_route(),)))
    return RouteConfig(str(number), tuple(vhosts))


def _unknown_hosts(graph: Graph, view: View, taken: set[str]) -> Iterator[VirtualHost]:
    client = Client(istio.MESH, 80, view.namespace, dict(view.labels))
    for host in graph.bindings.unknown_hosts:
        found = graph.bindings.virtual_services_of(host, view.namespace)
        items = [item for item in found if view.admits(item.meta.namespace, host)]
        names = tuple(name for name in (host, f"{host}:80") if name not in taken)
        routes = virtual_service_routes(((item, client) for item in items), graph.names)
        if routes and names:
            taken.update(names)
            yield VirtualHost(f"{host}:80", names, routes)


def vhost_routes(graph: Graph, view: View, service: MeshService, port: int) -> tuple[Route, ...]:
    """The routes of one service port, shared by every view that cannot tell the difference."""
    items = graph.bindings.virtual_services_of(service.host, view.namespace)
    attached = graph.bindings.routes_of(service, port, view.namespace)
    policy_view = view.namespace if view.namespace in graph.names.policies.private else ""
    is_dependent = service.host in graph.bindings.source_dependent or bool(
        graph.bindings.source_dependent and any(h in graph.bindings.source_dependent for i in items for h in i.hosts)
    )
    key = (
        service.host,
        port,
        tuple(item.meta.key for item in items if item.http),
        tuple(route.meta.ref for route in attached),
        view if is_dependent else policy_view,
    )
    found = graph.route_cache.get(key)
    if found is None:
        client = Client(istio.MESH, port, view.namespace, dict(view.labels))
        if attached:
            found = service_routes(attached, graph.names, client)
        elif any(item.http for item in items):
            found = virtual_service_routes(((item, client) for item in items), graph.names)
        else:
            found = (default_route(service, port, graph.names, client),)
        graph.route_cache[key] = found
    return found
