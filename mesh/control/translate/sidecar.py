"""Sidecar: the snapshot of a pod's proxy: outbound listeners by plan, inbound ones by its services."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mesh.control.mesh_config import node_settings
from mesh.control.translate.clusters import BLACK_HOLE, PASSTHROUGH, outbound_clusters
from mesh.control.translate.filters import (
    HTTP_PROTOCOLS,
    Observation,
    http_manager,
    observation,
    single_tcp,
    tcp_proxy,
)
from mesh.control.translate.graph import CLUSTERS_MEMO, Graph
from mesh.control.translate.inbound import inbound
from mesh.control.translate.localities import as_seen_from, locality_of
from mesh.control.translate.outbound import (
    AddressPlan,
    Outbound,
    View,
    WildcardPlan,
    is_registry_only,
    outbound,
    view_of,
)
from mesh.model.addr import Address
from mesh.model.cluster import Cluster, Discovery
from mesh.model.endpoint import LoadAssignment
from mesh.model.listener import ChainMatch, Direction, FilterChain, Listener, ListenerFilter
from mesh.model.node import Node
from mesh.model.snapshot import Snapshot

OUTBOUND_PORT = 15001


def sidecar(graph: Graph, node: Node) -> Snapshot:
    """Everything one sidecar is to have."""
    settings, _ = node_settings(graph.config.proxy, node.metadata.get("PROXY_CONFIG"))
    seen, otlp = observation(node, settings, graph.names.registry)
    view = view_of(graph, node.namespace, node.labels, graph.scopes.of(node.namespace, node.labels), node.has_identity)
    shared = shared_outbound(graph, view)
    listeners = dict(_outbound_listeners(graph, view, shared, seen))
    clusters = {**graph.fixed, **shared_clusters(graph, view)}
    if otlp is not None:
        clusters[otlp.name] = otlp
    inbound_listener, inbound_clusters = inbound(graph, node, seen)
    listeners[inbound_listener.name] = inbound_listener
    clusters.update(inbound_clusters)
    endpoints = nearby_endpoints(graph, node, view)
    collector = seen.tracing.otlp_cluster
    if collector and collector not in clusters:
        # A service out of scope: the proxy needs it all the same, or it refuses its listeners.
        clusters[collector] = _known_clusters(graph, view)[collector]
        endpoints[collector] = graph.endpoints.get(collector) or LoadAssignment(collector)
    return Snapshot(clusters, endpoints, listeners, shared.routes)


def shared_outbound(graph: Graph, view: View) -> Outbound:
    key = ("outbound", view)
    found: Outbound | None = graph.memo.get(key)
    if found is None:
        found = graph.memo[key] = outbound(graph, view)
    return found


def shared_clusters(graph: Graph, view: View) -> dict[str, Cluster]:
    """The clusters of every visible service, under the namespace's own DestinationRules where it has some."""
    # Without a scope they are the same for every pod of the namespace.
    key = (CLUSTERS_MEMO, (view.namespace, view.has_identity) if view.scope is None else view)
    found: dict[str, Cluster] | None = graph.memo.get(key)
    if found is None:
        shared = shared_outbound(graph, view)
        found = {n: c for n, c in _known_clusters(graph, view).items() if _is_wanted(c, shared)}
        private = graph.names.policies.private.get(view.namespace)
        if private:
            names = graph.names
            hosts = [
                h
                for h in shared.hosts | _hosts_of(shared.named)
                if names.policies.governing(h, view.namespace) is not names.policies.governing(h)
            ]
            found = {n: c for n, c in found.items() if c.service is None or c.service.host not in set(hosts)}
            own = outbound_clusters(
                names.registry,
                names.policies,
                graph.config,
                graph.bindings.balanced,
                graph.mesh_tls(view.has_identity),
                graph.authentication,
                view.namespace,
                sorted(hosts),
            )
            found |= {name: cluster for name, cluster in own.items() if _is_wanted(cluster, shared)}
        graph.memo[key] = found
    return found


def _known_clusters(graph: Graph, view: View) -> Mapping[str, Cluster]:
    return graph.identified if view.has_identity else graph.clusters


def _is_wanted(cluster: Cluster, shared: Outbound) -> bool:
    """Visible, or out of a Sidecar's scope and still named by a rule of a host in it."""
    return cluster.service is None or cluster.service.host in shared.hosts or cluster.name in shared.named


def _hosts_of(clusters: frozenset[str]) -> frozenset[str]:
    return frozenset(name.rpartition("|")[2] for name in clusters)


def shared_endpoints(graph: Graph, view: View) -> dict[str, LoadAssignment]:
    """The EDS resources that the view's clusters ask for."""
    clusters = shared_clusters(graph, view)
    empty = LoadAssignment
    return {
        name: graph.endpoints.get(name) or empty(name)
        for name, cluster in clusters.items()
        if cluster.discovery is Discovery.EDS
    }


def nearby_endpoints(graph: Graph, node: Node, view: View) -> dict[str, LoadAssignment]:
    """`shared_endpoints` as this node's place in the world has them."""
    client = locality_of(graph.world, node)
    endpoints = shared_endpoints(graph, view)
    return as_seen_from(client, node.namespace, shared_clusters(graph, view), endpoints, graph.names.policies)


def _outbound_listeners(
    graph: Graph, view: View, shared: Outbound, seen: Observation
) -> Iterator[tuple[str, Listener]]:
    key = ("listeners", view, seen)
    found: dict[str, Listener] | None = graph.memo.get(key)
    if found is None:
        made = [_virtual_outbound(graph, view, seen)]
        made += [_wildcard(graph, view, plan, seen) for plan in shared.wildcards]
        made += [_address(graph, plan, seen) for plan in shared.addresses]
        found = graph.memo[key] = {listener.name: listener for listener in made}
    yield from found.items()


def fallback(graph: Graph, view: View) -> str:
    """Where bytes go that no service claims."""
    return BLACK_HOLE if is_registry_only(graph, view) else PASSTHROUGH


def _virtual_outbound(graph: Graph, view: View, seen: Observation) -> Listener:
    return Listener(
        name="virtualOutbound",
        address=Address(seen.wildcard, OUTBOUND_PORT),
        # A connection to the port itself was not redirected: forwarding it would come back for ever.
        chains=(
            FilterChain(
                single_tcp(BLACK_HOLE, seen), ChainMatch(destination_port=OUTBOUND_PORT), "virtualOutbound-blackhole"
            ),
        ),
        default_chain=FilterChain(single_tcp(fallback(graph, view), seen), name="virtualOutbound-catchall-tcp"),
        direction=Direction.OUTBOUND,
        use_original_dst=True,
    )


def _wildcard(graph: Graph, view: View, plan: WildcardPlan, seen: Observation) -> Listener:
    name = f"0.0.0.0_{plan.port}"
    chains = []
    filters = set()
    for route in plan.tls:
        match = ChainMatch(server_names=route.server_names, transport_protocol="tls")
        chains.append(FilterChain(tcp_proxy(name, route.clusters, seen), match, origin=route.origin))
        filters.add(ListenerFilter.TLS_INSPECTOR)
    default = FilterChain(single_tcp(fallback(graph, view), seen))
    for prefixes, clusters in plan.tcp:
        chain = FilterChain(tcp_proxy(name, clusters, seen), ChainMatch(prefix_ranges=prefixes))
        if prefixes:
            chains.append(chain)
        else:
            default = chain
    if plan.has_http:
        manager = http_manager(f"outbound_{name}", seen, route_config_name=str(plan.port))
        if not plan.is_sniffed:
            chains.append(FilterChain(manager))
        else:
            match = ChainMatch(application_protocols=HTTP_PROTOCOLS)
            chains.append(FilterChain(manager, match))
            filters.add(ListenerFilter.HTTP_INSPECTOR)
    return Listener(
        name=name,
        address=Address(seen.wildcard, plan.port),
        chains=tuple(chains),
        default_chain=default if plan.is_sniffed or not plan.has_http else None,
        bind_to_port=False,
        direction=Direction.OUTBOUND,
        filters=frozenset(filters),
    )


def _address(graph: Graph, plan: AddressPlan, seen: Observation) -> Listener:
    name = f"{plan.address}_{plan.port}"
    chains = [
        FilterChain(
            tcp_proxy(name, route.clusters, seen),
            ChainMatch(server_names=route.server_names, transport_protocol="tls"),
            origin=route.origin,
        )
        for route in plan.tls
    ]
    filters = {ListenerFilter.TLS_INSPECTOR} if plan.tls else set()
    default = None
    if plan.clusters:
        prefix = plan.clusters[0].name if len(plan.clusters) == 1 else name
        default = FilterChain(tcp_proxy(prefix, plan.clusters, seen))
    if plan.http:
        manager = http_manager(f"outbound_{name}", seen, route_config_name=plan.http)
        if default is None:
            chains.append(FilterChain(manager))
        else:
            chains.append(FilterChain(manager, ChainMatch(application_protocols=HTTP_PROTOCOLS)))
            filters.add(ListenerFilter.HTTP_INSPECTOR)
    elif default is not None and not chains:
        # Declared opaque: one chain, nothing to inspect, so that server-first protocols start at once.
        chains, default = [default], None
    return Listener(
        name=name,
        address=Address(plan.address, plan.port),
        chains=tuple(chains),
        default_chain=default,
        bind_to_port=False,
        direction=Direction.OUTBOUND,
        filters=frozenset(filters),
    )
