"""Gateway: the snapshot of a gateway pod: its servers by port, their hosts, the rules bound to them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from mesh.control.kube import istio
from mesh.control.mesh_config import node_settings
from mesh.control.translate.actions import Client
from mesh.control.translate.bindings import service_routes, virtual_service_routes
from mesh.control.translate.clusters import BLACK_HOLE
from mesh.control.translate.filters import Observation, http_manager, observation, tcp_proxy
from mesh.control.translate.gateways import Bound, Serving, intersection, server_credentials
from mesh.control.translate.graph import Graph
from mesh.control.translate.l4 import gateway_l4, hosts_within, weighted
from mesh.control.translate.outbound import view_of
from mesh.control.translate.registry import selects
from mesh.control.translate.sidecar import nearby_endpoints, shared_clusters
from mesh.model.addr import Address
from mesh.model.listener import ChainMatch, Direction, FilterChain, Listener, ListenerFilter
from mesh.model.node import Node
from mesh.model.route import Route, RouteConfig, VirtualHost
from mesh.model.secret import DownstreamTls, Secret
from mesh.model.snapshot import Snapshot


@dataclass(slots=True)
class Assembly:
    """What grows while the servers are gone through."""

    chains: dict[int, list[FilterChain]] = field(default_factory=dict)
    filters: dict[int, set[ListenerFilter]] = field(default_factory=dict)
    http: dict[int, list[Bound]] = field(default_factory=dict)
    routes: dict[str, RouteConfig] = field(default_factory=dict)
    secrets: dict[str, Secret] = field(default_factory=dict)


def gateway(graph: Graph, node: Node) -> Snapshot:
    """Everything one gateway pod is to have."""
    settings, _ = node_settings(graph.config.proxy, node.metadata.get("PROXY_CONFIG"))
    seen, otlp = observation(node, settings, graph.names.registry)
    view = view_of(graph, node.namespace, node.labels, has_identity=node.has_identity)
    ports = target_ports(graph, node)
    key = ("gateway", node.namespace, tuple(sorted(node.labels.items())), tuple(sorted(ports.items())), seen)
    found: Assembled | None = graph.memo.get(key)
    if found is None:
        found = graph.memo[key] = _assemble(graph, node, seen, ports)
    clusters = {BLACK_HOLE: graph.fixed[BLACK_HOLE], **shared_clusters(graph, view)}
    if otlp is not None:
        clusters[otlp.name] = otlp
    return Snapshot(clusters, nearby_endpoints(graph, node, view), found.listeners, found.routes, found.secrets)


@dataclass(frozen=True, slots=True)
class Assembled:
    listeners: Mapping[str, Listener]
    routes: Mapping[str, RouteConfig]
    secrets: Mapping[str, Secret]


def _assemble(graph: Graph, node: Node, seen: Observation, ports: Mapping[int, tuple[int, ...]]) -> Assembled:
    made = Assembly()
    for bound in graph.gateways.servers:
        if bound.namespace not in ("", node.namespace) or not selects(bound.selector, node.labels):
            continue
        for port in ports.get(bound.port, (bound.port,)):
            _add(graph, node, seen, made, bound, port)
    for port, servers in made.http.items():
        name = f"http.{port}"
        made.routes[name] = RouteConfig(name, _virtual_hosts(graph, servers), ignore_port_in_host=True)
        manager = http_manager(f"outbound_{seen.wildcard}_{port}", seen, route_config_name=name, is_edge=True)
        # Bytes that are no TLS for any of the port's TLS servers are HTTP.
        made.chains.setdefault(port, []).append(FilterChain(manager, origin=servers[0].meta.origin()))
    listeners = {}
    for port, chains in made.chains.items():
        name = f"0.0.0.0_{port}"
        listeners[name] = Listener(
            name=name,
            address=Address(seen.wildcard, port),
            chains=tuple(chains),
            direction=Direction.OUTBOUND,
            filters=frozenset(made.filters.get(port, ())),
        )
    return Assembled(listeners, made.routes, made.secrets)


def target_ports(graph: Graph, node: Node) -> dict[int, tuple[int, ...]]:
    """Service port → the pod's own ports, by the Services that select the pod (Istio's resolvePorts)."""
    found: dict[int, set[int]] = {}
    pod = graph.world.pods.get((node.namespace, node.name))
    for service in graph.names.registry.behind(node.namespace, node.labels):
        for port in service.ports:
            target = port.target
            if isinstance(target, str):
                target = pod.ports.get(target, 0) if pod is not None else 0
            if target:
                found.setdefault(port.number, set()).add(target)
    return {number: tuple(sorted(targets)) for number, targets in found.items()}


def _add(graph: Graph, node: Node, seen: Observation, made: Assembly, bound: Bound, port: int) -> None:
    if bound.serving is Serving.HTTP:
        made.http.setdefault(port, []).append(bound)
    elif bound.serving is Serving.HTTPS:
        _add_https(graph, node, seen, made, bound, port)
    elif bound.serving is Serving.TLS_TERMINATED:
        _add_terminated_tcp(graph, node, seen, made, bound, port)
    elif bound.serving is Serving.TLS_PASSTHROUGH:
        _add_passthrough(graph, seen, made, bound, port)
    else:
        _add_tcp(graph, seen, made, bound, port)


def _add_https(graph: Graph, node: Node, seen: Observation, made: Assembly, bound: Bound, port: int) -> None:
    tls = _terminated(graph, node, made, bound, ("h2", "http/1.1"))
    if tls is None:
        return
    route_name = f"https.{port}.{bound.port_name or bound.path}.{bound.meta.name}.{bound.meta.namespace}"
    made.routes[route_name] = RouteConfig(route_name, _virtual_hosts(graph, [bound]), ignore_port_in_host=True)
    manager = http_manager(f"outbound_{seen.wildcard}_{port}", seen, route_config_name=route_name, is_edge=True)
    names = tuple(host.host for host in bound.hosts)
    match = ChainMatch(server_names=() if "*" in names else names, transport_protocol="tls")
    _put_chain(
        made, port, FilterChain(manager, match, name=route_name, tls=tls, origin=bound.meta.origin(_rule(bound)))
    )
    made.filters.setdefault(port, set()).add(ListenerFilter.TLS_INSPECTOR)


def _terminated(
    graph: Graph, node: Node, made: Assembly, bound: Bound, alpn: tuple[str, ...]
) -> DownstreamTls | None:
    """How the server terminates TLS; its secrets go to `made`. None: it lacks what it needs.

    A chain without its certificate would keep the whole listener waiting; the Problem is on the Gateway. One that is
    to verify clients and cannot is never opened to all of them.
    """
    found = server_credentials(bound, graph.world, node.namespace)
    is_mutual = bound.tls in (istio.ServerTls.MUTUAL, istio.ServerTls.OPTIONAL_MUTUAL)
    if not found.certificates or (is_mutual and found.trust is None):
        return None
    for secret in (*found.certificates, *filter(None, (found.trust,))):
        made.secrets[secret.name] = secret
    return DownstreamTls(
        tuple(secret.name for secret in found.certificates),
        trust_name=found.trust.name if found.trust is not None else "",
        require_client_certificate=bound.tls is istio.ServerTls.MUTUAL,
        alpn=alpn,
        min_version=bound.min_tls,
    )


def _put_chain(made: Assembly, port: int, chain: FilterChain) -> None:
    """The oldest Gateway wins a server name; Envoy refuses a listener with two equal matches."""
    chains = made.chains.setdefault(port, [])
    if all(other.match != chain.match for other in chains):
        chains.append(chain)


def _add_passthrough(graph: Graph, seen: Observation, made: Assembly, bound: Bound, port: int) -> None:
    for item in graph.gateways.virtual_services.get(bound.key, ()):
        for match, rule in gateway_l4(item.tls, bound.key, bound.port):
            names = hosts_within(match.server_names, (host.host for host in bound.hosts))
            if not names:
                continue
            clusters = weighted(rule.backends, graph.names, bound.port)
            chain = FilterChain(
                tcp_proxy(f"outbound_{seen.wildcard}_{port}", clusters, seen),
                ChainMatch(server_names=() if "*" in names else names, transport_protocol="tls"),
                origin=item.meta.origin(rule.path),
            )
            _put_chain(made, port, chain)
            made.filters.setdefault(port, set()).add(ListenerFilter.TLS_INSPECTOR)


def _add_terminated_tcp(
    graph: Graph, node: Node, seen: Observation, made: Assembly, bound: Bound, port: int
) -> None:
    """Protocol TLS in a terminating mode: what is inside goes by the `tcp` rules."""
    tls = _terminated(graph, node, made, bound, ())
    names = tuple(host.host for host in bound.hosts)
    match = ChainMatch(server_names=() if "*" in names else names, transport_protocol="tls")
    for item in graph.gateways.virtual_services.get(bound.key, ()) if tls is not None else ():
        for _match, rule in gateway_l4(item.tcp, bound.key, bound.port):
            clusters = weighted(rule.backends, graph.names, bound.port)
            proxy = tcp_proxy(f"outbound_{seen.wildcard}_{port}", clusters, seen)
            _put_chain(made, port, FilterChain(proxy, match, tls=tls, origin=item.meta.origin(rule.path)))
            made.filters.setdefault(port, set()).add(ListenerFilter.TLS_INSPECTOR)
            return


def _add_tcp(graph: Graph, seen: Observation, made: Assembly, bound: Bound, port: int) -> None:
    for item in graph.gateways.virtual_services.get(bound.key, ()):
        for _match, rule in gateway_l4(item.tcp, bound.key, bound.port):
            clusters = weighted(rule.backends, graph.names, bound.port)
            proxy = tcp_proxy(f"outbound_{seen.wildcard}_{port}", clusters, seen)
            _put_chain(made, port, FilterChain(proxy, origin=item.meta.origin(rule.path)))
            return


def _rule(bound: Bound) -> str:
    return bound.path.removeprefix("spec.")


def _virtual_hosts(graph: Graph, servers: Iterable[Bound]) -> tuple[VirtualHost, ...]:
    """One virtual host per host name that some rule on these servers is for; without any, every request gets 404."""
    hosts: dict[str, list[Bound]] = {}
    redirecting: set[str] = set()
    for bound in servers:
        names = [*_hosts(graph, bound)]
        if bound.https_redirect:
            names += [host.host for host in bound.hosts]
            redirecting.update(names)
        for host in names:
            hosts.setdefault(host, []).append(bound)
    return tuple(
        VirtualHost(f"{host}:{bounds[0].port}", (host,), _routes(graph, host, bounds), require_tls=host in redirecting)
        for host, bounds in sorted(hosts.items())
    )


def _hosts(graph: Graph, bound: Bound) -> Iterator[str]:
    for names, _route in bound.routes:
        yield from names
    for item in graph.gateways.virtual_services.get(bound.key, ()) if bound.key else ():
        if item.http:
            for own in bound.hosts:
                for host in item.hosts:
                    common = intersection(own, item.meta.namespace, host)
                    if common:
                        yield common


def _routes(graph: Graph, host: str, bounds: list[Bound]) -> tuple[Route, ...]:
    """HTTPRoutes first, then VirtualServices, as in the mesh."""
    routes: list[Route] = []
    seen: set[object] = set()
    for bound in bounds:
        client = Client(bound.key, bound.port)
        attached = [route for names, route in bound.routes if host in names and route.meta.ref not in seen]
        seen.update(route.meta.ref for route in attached)
        routes += service_routes(attached, graph.names, client)
    pairs = []
    for bound in bounds:
        for item in graph.gateways.virtual_services.get(bound.key, ()) if bound.key else ():
            is_for = any(
                intersection(own, item.meta.namespace, name) == host for own in bound.hosts for name in item.hosts
            )
            if is_for and (item.meta.ref, bound.key, bound.port) not in seen:
                seen.add((item.meta.ref, bound.key, bound.port))
                pairs.append((item, Client(bound.key, bound.port)))
    pairs.sort(key=lambda pair: pair[0].meta.age_order)
    return (*routes, *virtual_service_routes(pairs, graph.names))
