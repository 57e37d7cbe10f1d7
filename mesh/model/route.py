"""Routes: from a matched request to weighted clusters, a redirect or an answer (Envoy `route.v3`)."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from mesh.model.match import RouteMatch, StringMatch
from mesh.model.origin import Origin


@dataclass(frozen=True, slots=True)
class HeaderMutation:
    """Changes of a head, applied in the order remove, set, add. Names are lower case.

    `set` overwrites (Envoy OVERWRITE_IF_EXISTS_OR_ADD), `add` appends another value (APPEND_IF_EXISTS_OR_ADD).
    Values may hold Envoy's command operators (`%REQ(x)%`, `%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%`), `%%` is a percent sign.
    """

    set: tuple[tuple[str, str], ...] = ()
    add: tuple[tuple[str, str], ...] = ()
    remove: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.set or self.add or self.remove)


NO_MUTATION = HeaderMutation()


@dataclass(frozen=True, slots=True)
class WeightedCluster:
    """One share of a route's traffic. Weight 0 gets nothing; the sum of a route's weights is free."""

    name: str
    weight: int = 1
    request_headers: HeaderMutation = NO_MUTATION
    response_headers: HeaderMutation = NO_MUTATION


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Envoy `RetryPolicy`. `on` holds Envoy's condition names, HTTP ones and gRPC ones.

    attempts: retries after the first try. per_try_timeout_seconds None = the route's timeout.
    status_codes: for the condition `retriable-status-codes`. previous_hosts: exclude hosts already tried.
    """

    on: frozenset[str]
    attempts: int = 1
    per_try_timeout_seconds: float | None = None
    status_codes: tuple[int, ...] = ()
    backoff_base_seconds: float = 0.025
    backoff_max_seconds: float = 0.25
    previous_hosts: bool = True


@dataclass(frozen=True, slots=True)
class Mirror:
    """Fire-and-forget copy of a share of the requests; the copy's Host gets the suffix `-shadow`."""

    cluster: str
    percent: float = 100.0


@dataclass(frozen=True, slots=True)
class PrefixRewrite:
    """Replaces what the route's PREFIX, SEGMENT_PREFIX or EXACT path matched (Envoy `prefix_rewrite`)."""

    prefix: str


@dataclass(frozen=True, slots=True)
class FullRewrite:
    """Replaces the whole path, keeping the query (Gateway API `ReplaceFullPath`; Envoy `regex_rewrite` of `^/.*$`)."""

    path: str


@dataclass(frozen=True, slots=True)
class RegexRewrite:
    """RE2 pattern and substitution with `\\1` groups, applied to the path (Envoy `regex_rewrite`)."""

    pattern: str
    substitution: str


PathRewrite = PrefixRewrite | FullRewrite | RegexRewrite


class HashKind(Enum):
    HEADER = "header"
    COOKIE = "cookie"
    SOURCE_IP = "source_ip"
    QUERY = "query"


@dataclass(frozen=True, slots=True)
class HashPolicy:
    """What a consistent-hash balancer hashes (Envoy `RouteAction.HashPolicy`).

    cookie_ttl_seconds None = never generate the cookie; 0 = a session cookie.
    """

    kind: HashKind
    name: str = ""
    cookie_ttl_seconds: float | None = None
    cookie_path: str = ""
    terminal: bool = False


@dataclass(frozen=True, slots=True)
class ForwardAction:
    """Envoy `RouteAction`.

    timeout_seconds: whole exchange from the end of the request head; 0 = none (Envoy's own default is 15).
    idle_timeout_seconds: None = the listener's stream idle timeout.
    host_rewrite: literal new Host; auto_host_rewrite: the chosen endpoint's DNS name.
    missing_cluster_status: answer when a named cluster does not exist (503 NC; 500 for a bad Gateway API backendRef).
    """

    clusters: tuple[WeightedCluster, ...]
    timeout_seconds: float = 0.0
    idle_timeout_seconds: float | None = None
    retry: RetryPolicy | None = None
    path_rewrite: PathRewrite | None = None
    host_rewrite: str | None = None
    auto_host_rewrite: bool = False
    mirrors: tuple[Mirror, ...] = ()
    hash_policies: tuple[HashPolicy, ...] = ()
    missing_cluster_status: int = 503


@dataclass(frozen=True, slots=True)
class RedirectAction:
    """Envoy `RedirectAction`. None = keep the request's. `port` 0 = derive from the scheme (left out when default)."""

    status: int = 301
    scheme: str | None = None
    host: str | None = None
    port: int | None = None
    path: PathRewrite | None = None
    strip_query: bool = False


@dataclass(frozen=True, slots=True)
class DirectResponse:
    """Envoy `DirectResponseAction`: an answer made by the proxy itself."""

    status: int
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class NonForwarding:
    """Envoy `NonForwardingAction`: what inbound routes of a proxyless gRPC server carry."""


RouteActionKind = ForwardAction | RedirectAction | DirectResponse | NonForwarding


@dataclass(frozen=True, slots=True)
class FaultDelay:
    seconds: float
    percent: float = 100.0


@dataclass(frozen=True, slots=True)
class FaultAbort:
    """Exactly one of http_status (200..599, non-standard ones too) and grpc_status (0..16) is set."""

    percent: float = 100.0
    http_status: int | None = None
    grpc_status: int | None = None


@dataclass(frozen=True, slots=True)
class Fault:
    """Envoy `HTTPFault` per route: the delay is drawn and served first, then the abort is drawn."""

    delay: FaultDelay | None = None
    abort: FaultAbort | None = None


@dataclass(frozen=True, slots=True)
class CorsPolicy:
    """Envoy `CorsPolicy` per route. forward_unmatched: preflights of other origins go on to the app."""

    allow_origins: tuple[StringMatch, ...]
    allow_methods: str = ""
    allow_headers: str = ""
    expose_headers: str = ""
    max_age: str = ""
    allow_credentials: bool = False
    forward_unmatched: bool = True


@dataclass(frozen=True, slots=True)
class Route:
    """First match in list order wins. `name` is Envoy's route name (Istio: the VirtualService rule's name)."""

    match: RouteMatch
    action: RouteActionKind
    name: str = ""
    request_headers: HeaderMutation = NO_MUTATION
    response_headers: HeaderMutation = NO_MUTATION
    fault: Fault | None = None
    cors: CorsPolicy | None = None
    origin: Origin | None = None
    operation: str = ""
    """Span name (Envoy `Decorator.operation`), e.g. `reviews.default.svc.cluster.local:9080/*`."""


@dataclass(frozen=True, slots=True)
class VirtualHost:
    """Domains: exact, `*.suffix`, `prefix.*` or `*`, with or without `:port`; Envoy's search order applies."""

    name: str
    domains: tuple[str, ...]
    routes: tuple[Route, ...] = ()
    origin: Origin | None = None
    require_tls: bool = False


@dataclass(frozen=True, slots=True)
class RouteConfig:
    """An RDS resource (Envoy `RouteConfiguration`)."""

    name: str
    virtual_hosts: tuple[VirtualHost, ...] = field(default_factory=tuple)
    ignore_port_in_host: bool = False
    max_direct_response_bytes: int = 1 << 20
