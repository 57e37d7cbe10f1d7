"""Istio's networking kinds, parsed and frozen. Short host names are already resolved in the object's namespace."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from mesh.control.kube.objects import Meta, PortProtocol, StaticEndpoint
from mesh.control.kube.rules import ANYWHERE, Backend, HttpRule, Where
from mesh.model.addr import Cidr
from mesh.model.cluster import LbPolicy, OutlierDetection, TcpKeepalive
from mesh.model.match import StringMatch
from mesh.model.origin import Problem
from mesh.model.route import HashPolicy

GROUP = "networking.istio.io"
MESH = "mesh"
"""The reserved gateway name that means every sidecar."""


@dataclass(frozen=True, slots=True)
class L4Rule:
    """A `tcp[]` or `tls[]` rule of a VirtualService. server_names is empty for tcp."""

    path: str
    wheres: tuple[L4Match, ...]
    backends: tuple[Backend, ...]


@dataclass(frozen=True, slots=True)
class L4Match:
    where: Where = ANYWHERE
    server_names: tuple[str, ...] = ()
    destination_subnets: tuple[Cidr, ...] = ()


@dataclass(frozen=True, slots=True)
class VirtualService:
    """hosts: FQDNs and wildcards. gateways: `ns/name` or `mesh`. export_to: namespaces, `*`; empty = everywhere."""

    meta: Meta
    hosts: tuple[str, ...]
    gateways: frozenset[str]
    http: tuple[HttpRule, ...] = ()
    tcp: tuple[L4Rule, ...] = ()
    tls: tuple[L4Rule, ...] = ()
    export_to: frozenset[str] = frozenset()
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class LocalityLb:
    """distribute: (from, ((to, weight), …)), places as `region/zone/sub-zone`, `*` for the rest. failover: (from, to) regions."""

    is_enabled: bool = True
    distribute: tuple[tuple[str, tuple[tuple[str, int], ...]], ...] = ()
    failover: tuple[tuple[str, str], ...] = ()


DEFAULT_LOCALITY = LocalityLb()


@dataclass(frozen=True, slots=True)
class LoadBalancer:
    """policy CLUSTER_PROVIDED = Istio's PASSTHROUGH (the address that the client dialled)."""

    policy: LbPolicy = LbPolicy.LEAST_REQUEST
    hash: HashPolicy | None = None
    ring_min_size: int = 1024
    maglev_table_size: int = 65537
    slow_start_seconds: float = 0.0
    locality: LocalityLb = DEFAULT_LOCALITY


@dataclass(frozen=True, slots=True)
class ConnectionPool:
    """None = the mesh's default. use_h2: h2UpgradePolicy UPGRADE/DO_NOT_UPGRADE."""

    max_connections: int | None = None
    connect_timeout_seconds: float | None = None
    tcp_keepalive: TcpKeepalive | None = None
    max_connection_duration_seconds: float | None = None
    max_pending_requests: int | None = None
    max_requests: int | None = None
    max_requests_per_connection: int | None = None
    max_retries: int | None = None
    idle_timeout_seconds: float | None = None
    use_h2: bool | None = None
    use_client_protocol: bool = False


class TlsMode(Enum):
    """BROKEN: TLS was asked for in a way we cannot do; sending plaintext instead would betray it, so nothing is sent."""

    DISABLE = "DISABLE"
    SIMPLE = "SIMPLE"
    MUTUAL = "MUTUAL"
    ISTIO_MUTUAL = "ISTIO_MUTUAL"
    BROKEN = ""


@dataclass(frozen=True, slots=True)
class ClientTls:
    """Files are those of the proxy that connects; "" = none (roots: the system's)."""

    mode: TlsMode
    sni: str = ""
    subject_alt_names: tuple[StringMatch, ...] = ()
    insecure: bool = False
    path: str = ""
    roots_file: str = ""
    certificate_file: str = ""
    key_file: str = ""


@dataclass(frozen=True, slots=True)
class TrafficPolicy:
    """Each part replaces the wider level's part as a whole; `ports` replaces everything for its port (Istio's rule)."""

    balancer: LoadBalancer | None = None
    pool: ConnectionPool | None = None
    outlier: OutlierDetection | None = None
    tls: ClientTls | None = None
    ports: Mapping[int, TrafficPolicy] = field(default_factory=dict)


NO_POLICY = TrafficPolicy()


@dataclass(frozen=True, slots=True)
class Subset:
    name: str
    labels: Mapping[str, str]
    policy: TrafficPolicy = NO_POLICY
    path: str = ""


@dataclass(frozen=True, slots=True)
class DestinationRule:
    meta: Meta
    host: str
    policy: TrafficPolicy = NO_POLICY
    subsets: tuple[Subset, ...] = ()
    export_to: frozenset[str] = frozenset()
    problems: tuple[Problem, ...] = ()


class ServerTls(Enum):
    """What a gateway's server does with TLS; PASSTHROUGH routes by server name."""

    NONE = "NONE"
    SIMPLE = "SIMPLE"
    MUTUAL = "MUTUAL"
    OPTIONAL_MUTUAL = "OPTIONAL_MUTUAL"
    PASSTHROUGH = "PASSTHROUGH"


@dataclass(frozen=True, slots=True)
class ServerHost:
    """`ns/host`: namespace "" = any."""

    namespace: str
    host: str


@dataclass(frozen=True, slots=True)
class Server:
    """One server of a Gateway. min_tls: "1.2" or "1.3". client_names: of clients' certificates, () = any."""

    path: str
    port: int
    port_name: str
    protocol: str
    hosts: tuple[ServerHost, ...]
    tls: ServerTls = ServerTls.NONE
    https_redirect: bool = False
    credentials: tuple[str, ...] = ()
    min_tls: str = "1.2"
    client_names: tuple[StringMatch, ...] = ()
    bind: str = ""


@dataclass(frozen=True, slots=True)
class IstioGateway:
    meta: Meta
    selector: Mapping[str, str]
    servers: tuple[Server, ...]
    problems: tuple[Problem, ...] = ()


class Resolution(Enum):
    NONE = "NONE"
    STATIC = "STATIC"
    DNS = "DNS"
    DNS_ROUND_ROBIN = "DNS_ROUND_ROBIN"


@dataclass(frozen=True, slots=True)
class EntryPort:
    number: int
    name: str
    protocol: PortProtocol
    target: int


@dataclass(frozen=True, slots=True)
class ServiceEntry:
    """addresses: IPs and prefixes. selector: pods of the namespace that are its endpoints."""

    meta: Meta
    hosts: tuple[str, ...]
    ports: tuple[EntryPort, ...]
    addresses: tuple[Cidr, ...] = ()
    resolution: Resolution = Resolution.NONE
    is_external: bool = True
    endpoints: tuple[StaticEndpoint, ...] = ()
    selector: Mapping[str, str] = field(default_factory=dict)
    export_to: frozenset[str] = frozenset()
    subject_alt_names: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
