"""Istio's standard metrics, and ours by route: names, label names, and the label values of one exchange.

Every value comes from configuration, from the endpoint's or the peer's metadata, or is a small number; none is taken from a
header the client is free to choose (Host, path), so a client cannot make series.
Source: Istio documentation, "Istio Standard Metrics".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mesh.model.cluster import Cluster
from mesh.proxy.balance.host import Host
from mesh.proxy.observe.metrics import MAX_SERIES, Group, Kind, Metric
from mesh.proxy.observe.peer import UNKNOWN, Peer, peer_of_principal, peer_of_workload
from mesh.proxy.observe.record import Record

if TYPE_CHECKING:
    from mesh.proxy.compiled_route import CompiledRoute

_PEER_LABELS = (
    "reporter",
    "source_workload",
    "source_canonical_service",
    "source_canonical_revision",
    "source_workload_namespace",
    "source_principal",
    "source_app",
    "source_version",
    "source_cluster",
    "destination_workload",
    "destination_workload_namespace",
    "destination_principal",
    "destination_app",
    "destination_version",
    "destination_service",
    "destination_canonical_service",
    "destination_canonical_revision",
    "destination_service_name",
    "destination_service_namespace",
    "destination_cluster",
)
REQUEST_LABELS = (
    *_PEER_LABELS,
    "request_protocol",
    "response_code",
    "grpc_response_status",
    "response_flags",
    "connection_security_policy",
)
TCP_LABELS = (*_PEER_LABELS, "request_protocol", "response_flags", "connection_security_policy")

REQUESTS = Metric("istio_requests_total", "Requests handled by the proxy.", Kind.COUNTER)
DURATION = Metric(
    "istio_request_duration_milliseconds", "Time from the request's head to the end of the response.", Kind.HISTOGRAM
)
REQUEST_BYTES = Metric("istio_request_bytes", "Bytes of request bodies.", Kind.HISTOGRAM)
RESPONSE_BYTES = Metric("istio_response_bytes", "Bytes of response bodies.", Kind.HISTOGRAM)
REQUEST_MESSAGES = Metric("istio_request_messages_total", "gRPC messages sent by clients.", Kind.COUNTER)
RESPONSE_MESSAGES = Metric("istio_response_messages_total", "gRPC messages sent by servers.", Kind.COUNTER)
TCP_OPENED = Metric("istio_tcp_connections_opened_total", "TCP connections opened.", Kind.COUNTER)
TCP_CLOSED = Metric("istio_tcp_connections_closed_total", "TCP connections closed.", Kind.COUNTER)
TCP_SENT = Metric("istio_tcp_sent_bytes_total", "Bytes sent to clients of TCP connections.", Kind.COUNTER)
TCP_RECEIVED = Metric("istio_tcp_received_bytes_total", "Bytes received from clients of TCP connections.", Kind.COUNTER)

ROUTE_LABELS = (
    "virtual_host",
    "route",
    "origin",
    "generation",
    "cluster",
    "request_protocol",
    "response_code",
    "grpc_response_status",
)
ROUTE_REQUESTS = Metric(
    "triomesh_route_requests_total", "Requests by the route that decided and the cluster it drew.", Kind.COUNTER
)
ROUTE_DURATION = Metric(
    "triomesh_route_request_duration_seconds", "Time of requests by route and cluster.", Kind.HISTOGRAM, per_unit=1000
)
"""Observed in milliseconds, like Istio's; the name is ours, so it has Prometheus' base unit."""

# Cluster names that stand for "nowhere we know"; Istio shows them as the service's name.
_CATCH_ALL = frozenset(
    (
        "PassthroughCluster",
        "BlackHoleCluster",
        "InboundPassthroughCluster",
        "InboundPassthroughClusterIpv4",
        "InboundPassthroughClusterIpv6",
        "block_all",
        "allow_any",
    )
)


def request_group(max_series: int = MAX_SERIES) -> Group:
    """istio_requests_total and the three histograms that share its labels."""
    return Group((REQUESTS, DURATION, REQUEST_BYTES, RESPONSE_BYTES), REQUEST_LABELS, max_series)


def message_group(max_series: int = MAX_SERIES) -> Group:
    """The two counters only gRPC requests have."""
    return Group((REQUEST_MESSAGES, RESPONSE_MESSAGES), REQUEST_LABELS, max_series)


def tcp_group(max_series: int = MAX_SERIES) -> Group:
    return Group((TCP_OPENED, TCP_CLOSED, TCP_SENT, TCP_RECEIVED), TCP_LABELS, max_series)


def route_group(max_series: int = MAX_SERIES) -> Group:
    """Our own: which route, made from which object, sent how much where. On the side that decides: outbound."""
    return Group((ROUTE_REQUESTS, ROUTE_DURATION), ROUTE_LABELS, max_series)


def route_labels(record: Record, route: CompiledRoute) -> tuple[str, ...]:
    """Values for ROUTE_LABELS."""
    return (
        route.virtual_host,
        route.name,
        route.origin_text,
        route.origin_generation,
        record.share.cluster if record.share is not None else "",
        "grpc" if record.is_grpc else "http",
        str(record.status),
        str(record.grpc_status) if record.grpc_status >= 0 else "",
    )


class RequestLabels:
    """Label values as this proxy sees them. `local` is its own workload."""

    __slots__ = ("_is_inbound", "_local")

    def __init__(self, local: Peer, *, is_inbound: bool) -> None:
        self._local = local
        self._is_inbound = is_inbound

    def of(self, record: Record, cluster: Cluster | None, host: Host | None) -> tuple[str, ...]:
        """Values for REQUEST_LABELS."""
        return (
            *self._peers(record, cluster, host),
            "grpc" if record.is_grpc else "http",
            str(record.status),
            str(record.grpc_status) if record.grpc_status >= 0 else "",
            flags_text(record),
            self._security(record),
        )

    def of_tcp(self, record: Record, cluster: Cluster | None, host: Host | None) -> tuple[str, ...]:
        """Values for TCP_LABELS."""
        return (*self._peers(record, cluster, host), "tcp", flags_text(record), self._security(record))

    def _security(self, record: Record) -> str:
        if not self._is_inbound:
            # Istio's clients always say unknown. Where the handshake proved both sides we know better.
            security = record.upstream_security
            return "mutual_tls" if security is not None and security.is_mutual else "unknown"
        return "mutual_tls" if record.connection.is_mutual_tls else "none"

    def _peers(self, record: Record, cluster: Cluster | None, host: Host | None) -> tuple[str, ...]:
        if self._is_inbound:
            source_principal = record.connection.peer_principal or "unknown"
            source, destination = record.peer or UNKNOWN, self._local
            if source is UNKNOWN and source_principal != "unknown":
                source = peer_of_principal(source_principal)
            destination_principal = record.connection.local_principal or "unknown"
        else:
            workload = host.endpoint.workload if host is not None else None
            source, destination = self._local, peer_of_workload(workload)
            security = record.upstream_security
            source_principal = (security.local_principal if security is not None else "") or "unknown"
            destination_principal = (security.peer_principal if security is not None else "") or "unknown"
        service, name, namespace = _service(cluster, destination)
        return (
            "destination" if self._is_inbound else "source",
            source.workload,
            source.canonical_service,
            source.canonical_revision,
            source.namespace,
            source_principal,
            source.app,
            source.version,
            source.cluster,
            destination.workload,
            destination.namespace,
            destination_principal,
            destination.app,
            destination.version,
            service,
            destination.canonical_service,
            destination.canonical_revision,
            name,
            namespace,
            destination.cluster,
        )


def _service(cluster: Cluster | None, destination: Peer) -> tuple[str, str, str]:
    if cluster is None:
        return "unknown", "unknown", "unknown"
    service = cluster.service
    if service is not None:
        return service.host, service.name, service.namespace or "unknown"
    if cluster.name in _CATCH_ALL:
        return "unknown", cluster.name, destination.namespace
    return "unknown", "unknown", destination.namespace


def flags_text(record: Record) -> str:
    """`-`, or Envoy's letters joined by commas."""
    return ",".join(flag.value for flag in record.flags) if record.flags else "-"
