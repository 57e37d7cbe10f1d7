"""The two terminal filters as this mesh sets them up, and what of them depends on the node."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mesh.control.kube.parse_match import CLUSTER_DOMAIN
from mesh.control.mesh_config import ProxySettings, host_port
from mesh.control.translate.endpoints import cluster_name
from mesh.control.translate.registry import Registry
from mesh.model.addr import Address
from mesh.model.cluster import Cluster, Discovery, Protocol
from mesh.model.endpoint import Endpoint, LoadAssignment, LocalityEndpoints
from mesh.model.listener import (
    AccessLog,
    CertificateDetail,
    ClientCertificate,
    HttpFilter,
    HttpManager,
    TcpProxy,
    Tracing,
)
from mesh.model.node import Node
from mesh.model.route import RouteConfig, WeightedCluster

# What the HTTP inspector says of bytes that are HTTP.
HTTP_PROTOCOLS = ("http/1.0", "http/1.1", "h2c")
# Istio's choice of what x-forwarded-client-cert tells, at gateways and inside the mesh.
_PEER_DETAILS = frozenset((CertificateDetail.SUBJECT, CertificateDetail.DNS, CertificateDetail.URI))
_EDGE_DETAILS = _PEER_DETAILS | {CertificateDetail.CERT}
_FILTERS = (HttpFilter.PEER_METADATA, HttpFilter.CORS, HttpFilter.FAULT, HttpFilter.ROUTER)


@dataclass(frozen=True, slots=True)
class Observation:
    """How a node's traffic is seen. Nodes with equal observations share their listeners. wildcard: 0.0.0.0 or ::"""

    access_logs: tuple[AccessLog, ...]
    tracing: Tracing
    wildcard: str = "0.0.0.0"


def observation(node: Node, settings: ProxySettings, registry: Registry) -> tuple[Observation, Cluster | None]:
    """The node's observation and the cluster that its spans go to when that is no service of the registry."""
    name, extra = "", None
    if settings.otlp:
        host, port = host_port(settings.otlp, "otlp")
        known = _known_host(host, registry)
        name = cluster_name(port, "", known) if known else f"otlp|{settings.otlp}"
        extra = None if known else _dns_cluster(name, Address(host, port))
    app = (
        node.labels.get("service.istio.io/canonical-name")
        or node.labels.get("app.kubernetes.io/name")
        or node.labels.get("app")
        or str(node.metadata.get("WORKLOAD_NAME") or "")
        or node.name
    )
    tracing = Tracing(
        random_sampling_percent=settings.sampling_percent,
        otlp_cluster=name,
        # Named only where spans are sent, so that nodes that send none share their listeners.
        service_name=f"{app}.{node.namespace}" if name else "",
    )
    wildcard = "::" if ":" in node.ip else "0.0.0.0"
    return Observation(settings.access_logs(), tracing, wildcard), extra


def http_manager(
    stat_prefix: str,
    seen: Observation,
    route_config_name: str = "",
    route_config: RouteConfig | None = None,
    is_edge: bool = False,
    is_for_peers: bool = False,
) -> HttpManager:
    """is_edge: a gateway, where clients are not trusted to name themselves. is_for_peers: inbound, with mesh TLS."""
    if is_edge:
        # Whoever comes from outside is what its certificate says, and nothing that it says of itself.
        certificate, details = ClientCertificate.REPLACE, _EDGE_DETAILS
    elif is_for_peers:
        certificate, details = ClientCertificate.APPEND, _PEER_DETAILS
    else:
        certificate, details = ClientCertificate.SANITIZE, frozenset()
    return HttpManager(
        stat_prefix=stat_prefix,
        route_config_name=route_config_name,
        route_config=route_config,
        filters=_FILTERS,
        tracing=seen.tracing,
        access_logs=seen.access_logs,
        use_remote_address=is_edge,
        # Istio's value: long polls and server-sent events are the app's business.
        stream_idle_timeout_seconds=0.0,
        client_certificate=certificate,
        certificate_details=details,
    )


def tcp_proxy(stat_prefix: str, clusters: Iterable[WeightedCluster], seen: Observation) -> TcpProxy:
    return TcpProxy(stat_prefix, tuple(clusters), access_logs=seen.access_logs)


def single_tcp(cluster: str, seen: Observation) -> TcpProxy:
    """Everything to one cluster, whose name is also the prefix of the statistics (Istio's habit)."""
    return TcpProxy(cluster, (WeightedCluster(cluster),), access_logs=seen.access_logs)


def _known_host(host: str, registry: Registry) -> str:
    candidates = (host, f"{host}.{CLUSTER_DOMAIN}", f"{host}.svc.{CLUSTER_DOMAIN}")
    return next((name for name in candidates if name in registry.services), "")


def _dns_cluster(name: str, address: Address) -> Cluster:
    endpoints = LoadAssignment(name, (LocalityEndpoints((Endpoint(address, host_name=address.host),)),))
    return Cluster(name, Discovery.STRICT_DNS, assignment=endpoints, protocol=Protocol.HTTP2)
