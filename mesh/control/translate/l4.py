"""Opaque TCP and TLS by server name: which clusters a connection's bytes go to."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mesh.control.kube import istio
from mesh.control.kube.objects import PortProtocol
from mesh.control.kube.rules import Backend
from mesh.control.translate.actions import Client, Names
from mesh.control.translate.endpoints import cluster_name
from mesh.control.translate.graph import Graph
from mesh.control.translate.registry import MeshPort, MeshService, covers, selects
from mesh.model.origin import Origin
from mesh.model.route import WeightedCluster


@dataclass(frozen=True, slots=True)
class TlsRoute:
    """Connections with one of these server names."""

    server_names: tuple[str, ...]
    clusters: tuple[WeightedCluster, ...]
    origin: Origin | None = None


def weighted(backends: Iterable[Backend], names: Names, port: int) -> tuple[WeightedCluster, ...]:
    return tuple(WeightedCluster(names.cluster(backend, port), backend.weight) for backend in backends)


def tcp_clusters(
    graph: Graph, namespace: str, labels: Mapping[str, str], service: MeshService, port: MeshPort
) -> tuple[WeightedCluster, ...]:
    """The first `tcp` rule that means this client and port, else the service itself."""
    client = Client(istio.MESH, port.number, namespace, labels)
    for item in graph.bindings.virtual_services_of(service.host, namespace):
        for rule in item.tcp:
            if any(_applies(match, client, service) for match in rule.wheres):
                return weighted(rule.backends, graph.names, port.number)
    return (WeightedCluster(cluster_name(port.number, "", service.host)),)


def tls_routes(
    graph: Graph, namespace: str, labels: Mapping[str, str], service: MeshService, port: MeshPort
) -> tuple[TlsRoute, ...]:
    """The `tls` rules for this client and port, in order; () when there are none."""
    if port.protocol not in (PortProtocol.TLS, PortProtocol.TCP):
        return ()
    client = Client(istio.MESH, port.number, namespace, labels)
    return tuple(
        TlsRoute(match.server_names, weighted(rule.backends, graph.names, port.number), item.meta.origin(rule.path))
        for item in graph.bindings.virtual_services_of(service.host, namespace)
        for rule in item.tls
        for match in rule.wheres
        if _applies(match, client, service)
    )


def gateway_l4(rules: Iterable[istio.L4Rule], gateway: str, port: int) -> list[tuple[istio.L4Match, istio.L4Rule]]:
    """The `tcp` or `tls` rules of a VirtualService that hold on a gateway's server port."""
    client = Client(gateway, port)
    return [(match, rule) for rule in rules for match in rule.wheres if _is_for(match, client)]


def hosts_within(names: Iterable[str], hosts: Iterable[str]) -> tuple[str, ...]:
    """The server names that some of the hosts covers."""
    patterns = tuple(hosts)
    return tuple(name for name in names if any(covers(pattern, name) for pattern in patterns))


def _is_for(match: istio.L4Match, client: Client) -> bool:
    where = match.where
    return (where.gateways is None or client.gateway in where.gateways) and (
        where.port is None or where.port == client.port
    )


def _applies(match: istio.L4Match, client: Client, service: MeshService) -> bool:
    where = match.where
    if not _is_for(match, client) or not selects(where.source_labels, client.labels):
        return False
    if where.source_namespace and where.source_namespace != client.namespace:
        return False
    if not match.destination_subnets:
        return True
    addresses = [ipaddress.ip_address(vip) for vip in service.vips]
    return any(address in subnet.network() for address in addresses for subnet in match.destination_subnets)
