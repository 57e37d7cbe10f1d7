"""Clusters: a named group of endpoints and how to talk to it (Envoy `cluster.v3.Cluster`)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from mesh.model.endpoint import LoadAssignment
from mesh.model.origin import Origin
from mesh.model.secret import UpstreamTls


class Discovery(Enum):
    """Where the endpoints come from. ORIGINAL_DST: the address the client dialled."""

    EDS = "eds"
    STATIC = "static"
    STRICT_DNS = "strict_dns"
    LOGICAL_DNS = "logical_dns"
    ORIGINAL_DST = "original_dst"


class LbPolicy(Enum):
    LEAST_REQUEST = "least_request"
    ROUND_ROBIN = "round_robin"
    RANDOM = "random"
    RING_HASH = "ring_hash"
    MAGLEV = "maglev"
    CLUSTER_PROVIDED = "cluster_provided"


class Protocol(Enum):
    """What is spoken to the endpoints. DOWNSTREAM: whatever the client speaks."""

    HTTP1 = "http1"
    HTTP2 = "http2"
    DOWNSTREAM = "downstream"


@dataclass(frozen=True, slots=True)
class RetryBudget:
    """Envoy `RetryBudget`: concurrent retries <= max(min_concurrency, percent of active requests)."""

    percent: float = 20.0
    min_concurrency: int = 3


@dataclass(frozen=True, slots=True)
class CircuitBreaker:
    """Envoy `CircuitBreakers.Thresholds` (default priority). Overflow answers 503 UO with `x-envoy-overloaded: true`."""

    max_connections: int = (1 << 32) - 1
    max_pending_requests: int = (1 << 32) - 1
    max_requests: int = (1 << 32) - 1
    max_retries: int = (1 << 32) - 1
    retry_budget: RetryBudget | None = None


@dataclass(frozen=True, slots=True)
class OutlierDetection:
    """Envoy `OutlierDetection`; 0 switches a detector off. Ejection lasts base x (number of ejections).

    min_health_percent: below this share of healthy hosts health is not looked at (Envoy `healthy_panic_threshold`).
    """

    consecutive_5xx: int = 5
    consecutive_gateway_failure: int = 0
    consecutive_local_origin_failure: int = 0
    split_external_local_origin_errors: bool = False
    interval_seconds: float = 10.0
    base_ejection_seconds: float = 30.0
    max_ejection_seconds: float = 300.0
    max_ejection_percent: int = 10
    min_health_percent: int = 0


@dataclass(frozen=True, slots=True)
class TcpKeepalive:
    """Kernel defaults where None. Seconds."""

    probes: int | None = None
    time_seconds: int | None = None
    interval_seconds: int | None = None


@dataclass(frozen=True, slots=True)
class TlsMatch:
    """Envoy `TransportSocketMatch`: endpoints whose tls_mode equals `tls_mode` use `tls` (None = plaintext)."""

    name: str
    tls_mode: str
    tls: UpstreamTls | None


@dataclass(frozen=True, slots=True, order=True)
class ServiceRef:
    """The service a cluster stands for: labels destination_service{,_name,_namespace} (`filter_metadata["istio"]["services"]`)."""

    host: str
    name: str
    namespace: str


@dataclass(frozen=True, slots=True)
class Cluster:
    """A CDS resource. Istio's names: `outbound|9080|v1|reviews.default.svc.cluster.local`, `inbound|9080||`.

    assignment: inline endpoints for STATIC and DNS clusters, None for EDS.
    eds_service_name: "" = the cluster's own name.
    bind_host: source address of upstream connections ("" = any); inbound pass-through uses 127.0.0.6.
    connect_to_port: for ORIGINAL_DST, overrides the port when not 0.
    locality_weighted: share load by the weights of the localities (Envoy `locality_weighted_lb_config`).
    """

    name: str
    discovery: Discovery
    lb: LbPolicy = LbPolicy.LEAST_REQUEST
    eds_service_name: str = ""
    assignment: LoadAssignment | None = None
    connect_timeout_seconds: float = 10.0
    protocol: Protocol = Protocol.HTTP1
    circuit_breaker: CircuitBreaker = CircuitBreaker()
    outlier: OutlierDetection | None = None
    tls: UpstreamTls | None = None
    tls_matches: tuple[TlsMatch, ...] = ()
    idle_timeout_seconds: float = 3600.0
    max_requests_per_connection: int = 0
    max_connection_duration_seconds: float = 0.0
    tcp_keepalive: TcpKeepalive | None = None
    bind_host: str = ""
    connect_to_port: int = 0
    ring_min_size: int = 1024
    ring_max_size: int = 8 << 20
    maglev_table_size: int = 65537
    least_request_choices: int = 2
    slow_start_seconds: float = 0.0
    dns_refresh_seconds: float = 5.0
    locality_weighted: bool = False
    service: ServiceRef | None = None
    subset: str = ""
    origin: Origin | None = None
