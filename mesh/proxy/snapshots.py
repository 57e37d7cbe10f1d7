"""Snapshots at run time: a configuration compiled to what connections and requests read, replaced whole.

Compiling is incremental: what did not change keeps its compiled object (and with it pools, counters and caches), so
that a push costs what it changes. A request reads `Proxy.current` once; a connection keeps the chain it began with, and drains when
that is no more (`superseded`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from mesh.codec.h1 import Limits
from mesh.model.cluster import Cluster, Discovery
from mesh.model.endpoint import LoadAssignment
from mesh.model.listener import Direction, FilterChain, HttpManager, Listener, TcpProxy
from mesh.model.route import RouteConfig
from mesh.model.secret import WORKLOAD_CERTIFICATE, WORKLOAD_ROOTS, DownstreamTls, Secret
from mesh.model.snapshot import EMPTY_SNAPSHOT, Snapshot
from mesh.proxy.chains import ChainTable, ListenerTable
from mesh.proxy.clusters import ClusterRuntime
from mesh.proxy.match import CompileError
from mesh.proxy.observe.http import HttpObserver
from mesh.proxy.observe.tcp import TcpObserver
from mesh.proxy.observe.telemetry import Telemetry
from mesh.proxy.route import RouteTable
from mesh.proxy.tls_context import VERSIONS, TlsContext, TlsSettings, compile_contexts

_log = logging.getLogger(__name__)
# What an HTTP chain can serve once it has been negotiated; in the mesh `istio` says nothing about what is inside.
_HTTP_ALPN = frozenset(("http/1.1", "http/1.0", "istio-http/1.1", "istio-http/1.0", "istio"))
# Who is answered this begins with a preamble about itself, which we would take for the application's bytes.
_PREAMBLE_ALPN = "istio-peer-exchange"


class HttpTerminal:
    """An HTTP chain, ready to serve. server: value of the `server` header of our own answers.

    tls: the chain's, with the protocols that we can serve.
    """

    __slots__ = (
        "_inline",
        "_route_name",
        "is_inbound",
        "is_outbound",
        "limits",
        "manager",
        "observer",
        "origin",
        "server",
        "tls",
    )

    def __init__(self, chain: FilterChain, manager: HttpManager, direction: Direction, observer: HttpObserver) -> None:
        self.manager = manager
        self.observer = observer
        self.origin = chain.origin
        self.is_inbound = direction is Direction.INBOUND
        self.is_outbound = direction is Direction.OUTBOUND
        self.limits = Limits(manager.max_request_headers_kb * 1024, manager.max_headers)
        self.server = manager.server_name.encode()
        self.tls = _servable(chain.tls) if chain.tls is not None else None
        self._route_name = manager.route_config_name
        self._inline = RouteTable(manager.route_config) if manager.route_config is not None else None

    @property
    def problems(self) -> tuple[str, ...]:
        """Of the inline routes."""
        return self._inline.problems if self._inline is not None else ()

    def table(self, current: Compiled) -> RouteTable | None:
        """None while the routes that it names are not there (yet): every request is 404 NR."""
        return self._inline if self._inline is not None else current.routes.get(self._route_name)


class TcpTerminal:
    """An opaque chain, ready to serve."""

    __slots__ = ("is_inbound", "is_outbound", "observer", "origin", "proxy", "tls")

    def __init__(self, chain: FilterChain, proxy: TcpProxy, direction: Direction, observer: TcpObserver) -> None:
        self.proxy = proxy
        self.observer = observer
        self.origin = chain.origin
        self.tls = _without_preamble(chain.tls) if chain.tls is not None else None
        self.is_inbound = direction is Direction.INBOUND
        self.is_outbound = direction is Direction.OUTBOUND


Terminal = HttpTerminal | TcpTerminal


class ListenerRuntime:
    """A listener's chain table and the terminal of every chain.

    loggers: told of every connection at its end. refusal_loggers: of those alone that no chain could serve.
    """

    __slots__ = ("_terminals", "loggers", "model", "refusal_loggers", "table")

    def __init__(self, model: Listener, telemetry: Telemetry) -> None:
        self.model = model
        self.table = ChainTable(model)
        self.loggers, self.refusal_loggers = telemetry.connection_loggers(model.access_logs)
        chains = model.chains if model.default_chain is None else (*model.chains, model.default_chain)
        self._terminals = {id(chain): _terminal(chain, model.direction, telemetry) for chain in chains}

    def terminal(self, chain: FilterChain) -> Terminal:
        return self._terminals[id(chain)]

    def tls_settings(self) -> Iterator[DownstreamTls]:
        """Of the chains that terminate TLS."""
        return (terminal.tls for terminal in self._terminals.values() if terminal.tls is not None)

    @property
    def problems(self) -> tuple[str, ...]:
        """Of the routes inside its chains."""
        return tuple(
            problem
            for terminal in self._terminals.values()
            if isinstance(terminal, HttpTerminal)
            for problem in terminal.problems
        )


@dataclass(frozen=True, slots=True)
class Compiled:
    """Everything of one moment. problems: resource name -> why its newest version is not in use.

    secrets: those of the configuration and the proxy's own.
    tls: settings -> what new connections shake hands with; missing while there is no usable secret.
    """

    source: Snapshot = EMPTY_SNAPSHOT
    clusters: Mapping[str, ClusterRuntime] = field(default_factory=dict)
    routes: Mapping[str, RouteTable] = field(default_factory=dict)
    listeners: Mapping[str, ListenerRuntime] = field(default_factory=dict)
    virtual: ListenerTable[ListenerRuntime] = field(default_factory=lambda: ListenerTable(()))
    secrets: Mapping[str, Secret] = field(default_factory=dict)
    tls: Mapping[TlsSettings, TlsContext] = field(default_factory=dict)
    problems: Mapping[str, str] = field(default_factory=dict)


EMPTY = Compiled()

MakeCluster = Callable[[Cluster, LoadAssignment | None], ClusterRuntime]


@dataclass(frozen=True, slots=True)
class OwnSecrets:
    """What the proxy has from the CA. principal: its SPIFFE id. is_awaited: they are still to come, and missing them is no problem."""

    secrets: Mapping[str, Secret] = field(default_factory=dict)
    principal: str = ""
    is_awaited: bool = False


NO_SECRETS = OwnSecrets()
_OWN_NAMES = frozenset((WORKLOAD_CERTIFICATE, WORKLOAD_ROOTS))


def compile_snapshot(
    snapshot: Snapshot,
    previous: Compiled,
    telemetry: Telemetry,
    make_cluster: MakeCluster,
    own: OwnSecrets = NO_SECRETS,
) -> Compiled:
    """The next Compiled. Changes runtimes of clusters in place; listeners and tables are shared or new.

    A resource that cannot be compiled keeps its previous version, if any, and is named in `problems`.
    """
    problems: dict[str, str] = {}
    clusters = _clusters(snapshot, previous, make_cluster)
    routes: dict[str, RouteTable] = {}
    for name, config in snapshot.routes.items():
        table = _route_table(config, previous.routes.get(name), problems)
        if table is not None:
            routes[name] = table
    listeners: dict[str, ListenerRuntime] = {}
    for name, model in snapshot.listeners.items():
        listener = _listener(model, previous.listeners.get(name), telemetry, problems)
        if listener is not None:
            listeners[name] = listener
    virtual = previous.virtual
    if listeners != previous.listeners:
        virtual = ListenerTable(
            [(runtime.model, runtime) for runtime in listeners.values() if not runtime.model.bind_to_port]
        )
    secrets = {**snapshot.secrets, **own.secrets}
    contexts = _contexts(snapshot, clusters, listeners, secrets, previous, own, problems)
    return Compiled(snapshot, clusters, routes, listeners, virtual, secrets, contexts, problems)


def with_secrets(current: Compiled, own: OwnSecrets) -> Compiled:
    """The same configuration with other secrets of the proxy's own, for new connections."""
    problems: dict[str, str] = {}
    secrets = {**current.source.secrets, **own.secrets}
    contexts = _contexts(current.source, current.clusters, current.listeners, secrets, current, own, problems)
    others = {name: text for name, text in current.problems.items() if name not in _OWN_NAMES}
    return replace(current, secrets=secrets, tls=contexts, problems={**others, **problems})


def _contexts(
    snapshot: Snapshot,
    clusters: Mapping[str, ClusterRuntime],
    listeners: Mapping[str, ListenerRuntime],
    secrets: Mapping[str, Secret],
    previous: Compiled,
    own: OwnSecrets,
    problems: dict[str, str],
) -> Mapping[TlsSettings, TlsContext]:
    found: dict[str, str] = {}
    contexts = compile_contexts(_tls_settings(snapshot, listeners), secrets, previous.tls, found, own.principal)
    if own.is_awaited:
        found = {name: text for name, text in found.items() if name not in _OWN_NAMES}
    problems.update(found)
    for cluster in clusters.values():
        cluster.dialler.contexts = contexts
    return contexts


def _tls_settings(
    snapshot: Snapshot, listeners: Mapping[str, ListenerRuntime]
) -> Iterator[tuple[str, TlsSettings]]:
    for name, listener in listeners.items():
        yield from ((name, settings) for settings in listener.tls_settings())
    for name, cluster in snapshot.clusters.items():
        for tls in (cluster.tls, *(match.tls for match in cluster.tls_matches)):
            if tls is not None:
                yield name, tls


def _without_preamble(tls: DownstreamTls) -> DownstreamTls:
    return replace(tls, alpn=tuple(name for name in tls.alpn if name != _PREAMBLE_ALPN))


def _servable(tls: DownstreamTls) -> DownstreamTls:
    return replace(tls, alpn=tuple(name for name in tls.alpn if name in _HTTP_ALPN))


def _clusters(snapshot: Snapshot, previous: Compiled, make_cluster: MakeCluster) -> dict[str, ClusterRuntime]:
    clusters: dict[str, ClusterRuntime] = {}
    for name, model in snapshot.clusters.items():
        assignment: LoadAssignment | None = None  # DNS clusters resolve their own, original destinations need none
        if model.discovery is Discovery.EDS:
            assignment = snapshot.endpoints.get(model.eds_service_name or name, LoadAssignment(name))
        elif model.discovery is Discovery.STATIC:
            assignment = model.assignment
        runtime = previous.clusters.get(name)
        if runtime is None:
            clusters[name] = make_cluster(model, assignment)
            continue
        clusters[name] = runtime
        runtime.update(model, assignment)
    for name, runtime in previous.clusters.items():
        if name not in clusters:
            runtime.close()
    return clusters


def _route_table(config: RouteConfig, previous: RouteTable | None, problems: dict[str, str]) -> RouteTable | None:
    table = previous
    if previous is None or previous.config != config:
        try:
            table = RouteTable(config)
        except CompileError as exc:
            _log.error("route config %s is not used: %s", config.name, exc)
            problems[config.name] = str(exc)
            return previous
    if table is not None and table.problems:
        problems[config.name] = "; ".join(table.problems)
    return table


def _listener(
    model: Listener, previous: ListenerRuntime | None, telemetry: Telemetry, problems: dict[str, str]
) -> ListenerRuntime | None:
    if model.api is not None:
        return None  # proxyless gRPC's own kind: nothing to listen on
    runtime = previous
    if previous is None or previous.model != model:
        try:
            runtime = ListenerRuntime(model, telemetry)
        except CompileError as exc:
            _log.error("listener %s is not used: %s", model.name, exc)
            problems[model.name] = str(exc)
            return previous
    if runtime is not None and runtime.problems:
        problems[model.name] = "; ".join(runtime.problems)
    return runtime


def _terminal(chain: FilterChain, direction: Direction, telemetry: Telemetry) -> Terminal:
    if chain.tls is not None and chain.tls.min_version not in VERSIONS:
        raise CompileError(
            f"filter chain {chain.name or '(unnamed)'}: TLS {chain.tls.min_version} is not offered any more (RFC 8996)"
        )
    if isinstance(chain.filter, HttpManager):
        return HttpTerminal(chain, chain.filter, direction, telemetry.http(chain.filter, direction))
    return TcpTerminal(chain, chain.filter, direction, telemetry.tcp(chain.filter, direction))
