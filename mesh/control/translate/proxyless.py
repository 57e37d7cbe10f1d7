"""Proxyless: gRPC's own xDS clients (`xds:///reviews.default.svc.cluster.local:9080`).

gRPC asks for one listener by the name in its target and gets an API listener with the routes inside; clusters keep
to what every gRPC implementation knows (EDS, round robin or ring hash).
"""

from __future__ import annotations

from dataclasses import replace

from mesh.control.kube.parse_match import CLUSTER_DOMAIN
from mesh.control.translate.graph import Graph
from mesh.control.translate.outbound import vhost_routes, view_of
from mesh.control.translate.registry import MeshService
from mesh.control.translate.sidecar import shared_clusters
from mesh.model.cluster import Cluster, Discovery, LbPolicy
from mesh.model.listener import HttpFilter, HttpManager, Listener
from mesh.model.node import Node
from mesh.model.route import RouteConfig, VirtualHost
from mesh.model.snapshot import Snapshot

_SUPPORTED = frozenset({LbPolicy.ROUND_ROBIN, LbPolicy.RING_HASH})


def proxyless(graph: Graph, node: Node) -> Snapshot:
    """Clusters and endpoints; listeners are made by name (`named_listener`), never listed."""
    view = view_of(graph, node.namespace, node.labels)
    clusters = {name: _cluster(cluster) for name, cluster in shared_clusters(graph, view).items()}
    found = {name: cluster for name, cluster in clusters.items() if cluster is not None}
    endpoints = {
        name: graph.endpoints[name]
        for name, cluster in found.items()
        if cluster.discovery is Discovery.EDS and name in graph.endpoints
    }
    return Snapshot(clusters=found, endpoints=endpoints)


def named_listener(graph: Graph, node: Node, name: str) -> Snapshot | None:
    """What a target `host:port` (`host` alone when the service has one port) needs; None when nobody has that name.

    The API listener holds its routes; clusters and endpoints are those of `proxyless`.
    """
    found = _service(graph, node, name)
    if found is None:
        return None
    service, number = found
    view = view_of(graph, node.namespace, node.labels)
    vhost = VirtualHost(f"{service.host}:{number}", ("*",), vhost_routes(graph, view, service, number))
    manager = HttpManager(
        stat_prefix=name, route_config=RouteConfig(name, (vhost,)), filters=(HttpFilter.FAULT, HttpFilter.ROUTER)
    )
    listener = Listener(name=name, api=manager, origin=service.meta.origin())
    everything = proxyless(graph, node)
    return Snapshot(everything.clusters, everything.endpoints, {name: listener})


def _service(graph: Graph, node: Node, name: str) -> tuple[MeshService, int] | None:
    host, colon, port_text = name.rpartition(":")
    if not colon:
        host, port_text = name, ""
    registry = graph.names.registry
    candidates = (
        host,
        f"{host}.{CLUSTER_DOMAIN}",
        f"{host}.svc.{CLUSTER_DOMAIN}",
        f"{host}.{node.namespace}.svc.{CLUSTER_DOMAIN}",
    )
    service = next((registry.services[c] for c in candidates if c in registry.services), None)
    if service is None or not service.is_visible_to(node.namespace):
        return None
    if not port_text and len(service.ports) == 1:
        return service, service.ports[0].number
    if not port_text.isdigit() or service.port(int(port_text)) is None:
        return None
    return service, int(port_text)


def _cluster(cluster: Cluster) -> Cluster | None:
    """As gRPC can use it; None when it cannot."""
    if cluster.discovery is Discovery.ORIGINAL_DST and cluster.service is not None:
        cluster = replace(cluster, discovery=Discovery.EDS)
    if cluster.discovery is not Discovery.EDS:
        return None
    lb = cluster.lb if cluster.lb in _SUPPORTED else LbPolicy.ROUND_ROBIN
    return replace(cluster, lb=lb)
