"""Listeners, filter chains and the two terminal filters (Envoy `listener.v3`, HCM, `tcp_proxy`)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from mesh.model.addr import Address, Cidr
from mesh.model.origin import Origin
from mesh.model.route import RouteConfig, WeightedCluster
from mesh.model.secret import DownstreamTls


class Direction(Enum):
    """Envoy `TrafficDirection`: whose side of the call this listener serves."""

    UNSPECIFIED = "unspecified"
    INBOUND = "inbound"
    OUTBOUND = "outbound"


class ListenerFilter(Enum):
    """What may be learnt before a filter chain is chosen."""

    ORIGINAL_DST = "original_dst"
    TLS_INSPECTOR = "tls_inspector"
    HTTP_INSPECTOR = "http_inspector"
    PROXY_PROTOCOL = "proxy_protocol"


@dataclass(frozen=True, slots=True)
class ChainMatch:
    """Envoy `FilterChainMatch`; empty fields match everything; Envoy's order of specificity decides.

    transport_protocol: "", "raw_buffer" or "tls". application_protocols: "http/1.0", "http/1.1", "h2c" (from the
    HTTP inspector) or ALPN names (from the TLS inspector). server_names: exact or `*.suffix`.
    """

    destination_port: int | None = None
    prefix_ranges: tuple[Cidr, ...] = ()
    server_names: tuple[str, ...] = ()
    transport_protocol: str = ""
    application_protocols: tuple[str, ...] = ()
    source_prefix_ranges: tuple[Cidr, ...] = ()
    source_ports: tuple[int, ...] = ()

    @property
    def is_empty(self) -> bool:
        return self == EMPTY_MATCH


EMPTY_MATCH = ChainMatch()


@dataclass(frozen=True, slots=True)
class AccessLog:
    """A file access log. `json` None = `text`; the fields and the text hold Envoy's command operators."""

    path: str
    text: str = ""
    json: tuple[tuple[str, str], ...] | None = None


@dataclass(frozen=True, slots=True)
class Tracing:
    """Envoy HCM `Tracing`. Percentages 0..100. operation: is the span a CLIENT's or a SERVER's view.

    otlp_cluster: the cluster that spans are exported to (Envoy `OpenTelemetryConfig.grpc_service`).
    """

    random_sampling_percent: float = 1.0
    client_sampling_percent: float = 100.0
    overall_sampling_percent: float = 100.0
    otlp_cluster: str = ""
    service_name: str = ""
    custom_tags: tuple[tuple[str, str], ...] = ()


class HttpFilter(Enum):
    """HTTP filters that the chain runs, in this order; their per-route settings live in the route."""

    PEER_METADATA = "peer_metadata"
    CORS = "cors"
    FAULT = "fault"
    ROUTER = "router"


class ClientCertificate(Enum):
    """What becomes of x-forwarded-client-cert (Envoy `ForwardClientCertDetails`).

    SANITIZE: never forwarded. FORWARD_ONLY, APPEND, REPLACE: on connections with a client certificate the header is
    kept, gets the client's as a further element, or says the client's alone; on others it is taken off.
    ALWAYS_FORWARD: kept as it came, whoever sent it.
    """

    SANITIZE = "sanitize"
    FORWARD_ONLY = "forward_only"
    APPEND = "append_forward"
    REPLACE = "sanitize_set"
    ALWAYS_FORWARD = "always_forward_only"


class CertificateDetail(Enum):
    """What x-forwarded-client-cert says of a certificate beside its hash (Envoy `SetCurrentClientCertDetails`)."""

    SUBJECT = "subject"
    CERT = "cert"
    CHAIN = "chain"
    DNS = "dns"
    URI = "uri"


@dataclass(frozen=True, slots=True)
class HttpManager:
    """Envoy `HttpConnectionManager`. Exactly one of route_config_name (RDS) and route_config (inline) is set.

    use_remote_address: the edge: append the peer to x-forwarded-for, own x-request-id and x-forwarded-proto.
    stream_idle_timeout_seconds: no byte in either direction; 0 = off. request_headers_timeout_seconds: slow heads.
    """

    stat_prefix: str
    route_config_name: str = ""
    route_config: RouteConfig | None = None
    filters: tuple[HttpFilter, ...] = (HttpFilter.ROUTER,)
    tracing: Tracing | None = None
    access_logs: tuple[AccessLog, ...] = ()
    upgrades: tuple[str, ...] = ("websocket",)
    use_remote_address: bool = False
    xff_trusted_hops: int = 0
    generate_request_id: bool = True
    preserve_request_id: bool = False
    normalize_path: bool = True
    merge_slashes: bool = False
    accept_http_10: bool = True
    max_request_headers_kb: int = 60
    max_headers: int = 100
    stream_idle_timeout_seconds: float = 300.0
    request_timeout_seconds: float = 0.0
    request_headers_timeout_seconds: float = 0.0
    idle_timeout_seconds: float = 3600.0
    drain_timeout_seconds: float = 5.0
    server_name: str = "triomesh"
    strip_port: bool = False
    client_certificate: ClientCertificate = ClientCertificate.SANITIZE
    certificate_details: frozenset[CertificateDetail] = frozenset()


@dataclass(frozen=True, slots=True)
class TcpProxy:
    """Envoy `TcpProxy`: opaque bytes to one of the weighted clusters. 0 = no idle timeout."""

    stat_prefix: str
    clusters: tuple[WeightedCluster, ...]
    idle_timeout_seconds: float = 3600.0
    access_logs: tuple[AccessLog, ...] = ()
    max_connect_attempts: int = 1


@dataclass(frozen=True, slots=True)
class FilterChain:
    """What serves a connection: optional TLS termination, then one terminal filter."""

    filter: HttpManager | TcpProxy
    match: ChainMatch = EMPTY_MATCH
    name: str = ""
    tls: DownstreamTls | None = None
    origin: Origin | None = None


NO_ADDRESS = Address("0.0.0.0", 0)


@dataclass(frozen=True, slots=True)
class Listener:
    """An LDS resource.

    bind_to_port False: never opened; reached from a use_original_dst listener by destination (Istio's virtual listeners).
    filters_timeout_seconds: how long the listener filters may wait; 0 = for ever (server-first is raced, never timed).
    uninspected_ports: destination ports that HTTP and TLS inspectors leave alone (Envoy `ListenerFilter.filter_disabled`):
        their protocol is declared opaque, and a server-first one would wait for ever.
    api: set on gRPC's client-side listeners (Envoy `ApiListener`); then address and chains are unused.
    """

    name: str
    address: Address = NO_ADDRESS
    chains: tuple[FilterChain, ...] = ()
    default_chain: FilterChain | None = None
    bind_to_port: bool = True
    direction: Direction = Direction.UNSPECIFIED
    use_original_dst: bool = False
    filters: frozenset[ListenerFilter] = frozenset()
    uninspected_ports: tuple[int, ...] = ()
    filters_timeout_seconds: float = 0.0
    continue_on_filters_timeout: bool = True
    additional_addresses: tuple[Address, ...] = ()
    access_logs: tuple[AccessLog, ...] = ()
    api: HttpManager | None = None
    origin: Origin | None = None
