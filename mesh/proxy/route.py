"""Route table: from a request's head to what is done with it.

A RouteConfig is compiled once per snapshot. `find` looks up the virtual host in Envoy's order (exact, longest
`*.suffix`, longest `prefix.*`, `*`), then takes the first of its routes whose predicates all hold. Virtual hosts
with many routes are indexed by exact path and by prefix; the index only skips routes that cannot match, so the order
of the list always decides.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from itertools import accumulate
from typing import assert_never

from mesh.model.match import PathKind
from mesh.model.origin import Origin
from mesh.model.route import (
    DirectResponse,
    ForwardAction,
    NonForwarding,
    RedirectAction,
    Route,
    RouteConfig,
    VirtualHost,
)
from mesh.proxy.balance.hash_key import CompiledHash
from mesh.proxy.cors import CompiledCors, compile_cors
from mesh.proxy.edits import Edits, compile_edits
from mesh.proxy.faults import CompiledFault, compile_fault
from mesh.proxy.head import Head
from mesh.proxy.match import CompileError, describe_path, path_test, request_tests
from mesh.proxy.reply import LocalReply
from mesh.proxy.retry import CompiledRetry, compile_retry
from mesh.proxy.rewrite import PathChange, compile_location, compile_path_rewrite, with_query, without_port

# Below this many routes a plain walk is faster than the index.
_INDEX_FROM = 12
# Distinct Host values remembered per table; a client that sends ever new ones only makes lookups slower.
_MAX_CACHED_HOSTS = 1024


class ActionKind(Enum):
    FORWARD = "forward"
    REDIRECT = "redirect"
    DIRECT = "direct"
    NON_FORWARDING = "non_forwarding"


@dataclass(frozen=True, slots=True, eq=False)
class Share:
    """One weighted target. The edits are the share's and the route's together. Compared by identity (a key of series)."""

    cluster: str
    weight: int
    request_edits: Edits
    response_edits: Edits


@dataclass(frozen=True, slots=True)
class CompiledMirror:
    cluster: str
    share: float

    def is_drawn(self, rng: Callable[[], float]) -> bool:
        return rng() < self.share


class CompiledRoute:
    """One route, ready to be applied.

    timeout_seconds: 0.0 = none. idle_timeout_seconds: None = the listener's. host_rewrite: the new Host.
    direct: the answer of a DIRECT route. has_filters: `filters.before_forward` has something to say.
    response_edits: of routes that are not forwarded (a share has its own).
    origin_text: `VirtualService/default/reviews http[0]`, for logs and spans.
    """

    __slots__ = (
        "_bounds",
        "_location",
        "_path_change",
        "_path_test",
        "_tests",
        "_total",
        "auto_host_rewrite",
        "cors",
        "direct",
        "fault",
        "has_filters",
        "hash",
        "host_rewrite",
        "idle_timeout_seconds",
        "kind",
        "mirrors",
        "missing_cluster_status",
        "name",
        "operation",
        "order",
        "origin",
        "origin_text",
        "path_text",
        "response_edits",
        "retry",
        "shares",
        "source",
        "timeout_seconds",
        "virtual_host",
    )

    def __init__(self, route: Route, order: int, virtual_host: str, field: str) -> None:
        self.source: Route = route
        self.order: int = order
        self.virtual_host: str = virtual_host
        self.name: str = route.name
        self.origin: Origin | None = route.origin
        self.origin_text: str = str(route.origin) if route.origin is not None else ""
        self.operation = route.operation
        self.path_text = describe_path(route.match.path)
        self._path_test = path_test(route.match.path, f"{field} path")
        self._tests = request_tests(route.match, field)
        self.fault: CompiledFault | None = compile_fault(route.fault, f"{field} fault") if route.fault else None
        self.cors: CompiledCors | None = compile_cors(route.cors, f"{field} cors") if route.cors else None
        self.has_filters = self.fault is not None or self.cors is not None
        self.response_edits = compile_edits((route.response_headers,), f"{field} response headers")
        self.shares: tuple[Share, ...] = ()
        self._bounds: tuple[int, ...] = ()
        self._total = 0
        self.timeout_seconds = 0.0
        self.idle_timeout_seconds: float | None = None
        self.retry: CompiledRetry | None = None
        self.hash: CompiledHash | None = None
        self.mirrors: tuple[CompiledMirror, ...] = ()
        self.host_rewrite: bytes | None = None
        self.auto_host_rewrite = False
        self.missing_cluster_status = 503
        self.direct: LocalReply | None = None
        self._path_change: PathChange | None = None
        self._location: Callable[[Head, bytes], bytes] | None = None
        action = route.action
        match action:
            case ForwardAction():
                self.kind = ActionKind.FORWARD
                self._forward(action, route, field)
            case RedirectAction():
                self.kind = ActionKind.REDIRECT
                self._location = compile_location(action, route.match.path, f"{field} redirect")
            case DirectResponse():
                self.kind = ActionKind.DIRECT
                if not 200 <= action.status <= 599:
                    raise CompileError(f"{field}: direct response status {action.status} is not between 200 and 599")
                self.direct = LocalReply(action.status, action.body, details="direct_response")
            case NonForwarding():
                self.kind = ActionKind.NON_FORWARDING
            case _:
                assert_never(action)

    def _forward(self, action: ForwardAction, route: Route, field: str) -> None:
        targets = [target for target in action.clusters if target.weight > 0]
        if any(target.weight < 0 for target in action.clusters):
            raise CompileError(f"{field}: a weight is negative")
        if not targets:
            raise CompileError(f"{field}: no cluster has a weight above 0")
        self.shares = tuple(
            Share(
                target.name,
                target.weight,
                compile_edits((target.request_headers, route.request_headers), f"{field} request headers"),
                compile_edits((target.response_headers, route.response_headers), f"{field} response headers"),
            )
            for target in targets
        )
        self._bounds = tuple(accumulate(share.weight for share in self.shares))
        self._total = self._bounds[-1]
        self.timeout_seconds = action.timeout_seconds
        self.idle_timeout_seconds = action.idle_timeout_seconds
        self.retry = compile_retry(action.retry, f"{field} retry") if action.retry else None
        self.hash = CompiledHash(action.hash_policies, f"{field} hash policy") if action.hash_policies else None
        self.mirrors = tuple(
            CompiledMirror(mirror.cluster, mirror.percent / 100.0) for mirror in action.mirrors if mirror.percent > 0
        )
        self.host_rewrite = action.host_rewrite.encode() if action.host_rewrite else None
        self.auto_host_rewrite = action.auto_host_rewrite
        self.missing_cluster_status = action.missing_cluster_status
        if action.path_rewrite is not None:
            self._path_change = compile_path_rewrite(action.path_rewrite, route.match.path, f"{field} rewrite")

    def matches(self, head: Head) -> bool:
        """All predicates hold."""
        test = self._path_test
        if test is not None and not test(head.path):
            return False
        for _, check in self._tests:  # noqa: SIM110 (a generator costs more than the tests themselves)
            if not check(head):
                return False
        return True

    def failed_predicate(self, head: Head) -> str | None:
        """The first predicate that does not hold, in words; None when the route matches."""
        test = self._path_test
        if test is not None and not test(head.path):
            return self.path_text
        return next((text for text, check in self._tests if not check(head)), None)

    def pick(self, rng: Callable[[], float]) -> Share:
        """The share for one request, in proportion to the weights. rng: uniform in [0, 1)."""
        shares = self.shares
        if len(shares) == 1:
            return shares[0]
        point = rng() * self._total
        for share, bound in zip(shares, self._bounds):
            if point < bound:
                return share
        return shares[-1]

    def rewritten_target(self, head: Head) -> bytes | None:
        """Path and query to send upstream; None: as the client sent them."""
        if self._path_change is None:
            return None
        return with_query(self._path_change(head.path), head.query)

    def redirect(self, head: Head, scheme: bytes) -> LocalReply:
        """The answer of a REDIRECT route. scheme: the request's, b"http" or b"https"."""
        assert self._location is not None and isinstance(self.source.action, RedirectAction)
        line = b"location: %b\r\n" % self._location(head, scheme)
        return LocalReply(self.source.action.status, headers=line, details="direct_response")

    def __repr__(self) -> str:
        return f"CompiledRoute({self.virtual_host}[{self.order}] {self.name or self.origin_text})"


class _Host:
    """One virtual host's routes, with an index when there are many.

    Theory of the index: a route is in `exact` or `prefixes` when its path predicate can hold only for paths found there,
    else in `rest`. The candidates of a path, in list order, are the routes of those buckets; a case-insensitive or regex
    path, and the catch-all, are always candidates.
    """

    __slots__ = ("_exact", "_lengths", "_prefixes", "_rest", "name", "require_tls", "routes")

    def __init__(self, name: str, routes: tuple[CompiledRoute, ...], require_tls: bool) -> None:
        self.name = name
        self.routes = routes
        self.require_tls = require_tls
        self._exact: dict[bytes, list[CompiledRoute]] = {}
        self._prefixes: dict[bytes, list[CompiledRoute]] = {}
        self._rest: list[CompiledRoute] = []
        if len(routes) >= _INDEX_FROM:
            for route in routes:
                self._file(route)
        self._lengths = sorted({len(prefix) for prefix in self._prefixes})

    def _file(self, route: CompiledRoute) -> None:
        match = route.source.match.path
        value = match.value.encode()
        if match.ignore_case or match.kind is PathKind.REGEX or route._path_test is None:
            self._rest.append(route)
        elif match.kind is PathKind.EXACT:
            self._exact.setdefault(value, []).append(route)
        else:
            prefix = value.rstrip(b"/") if match.kind is PathKind.SEGMENT_PREFIX else value
            self._prefixes.setdefault(prefix, []).append(route)

    def find(self, head: Head) -> CompiledRoute | None:
        if not self._exact and not self._prefixes:
            for route in self.routes:
                if route.matches(head):
                    return route
            return None
        path = head.path
        best = _first(self._exact.get(path), head, None)
        for length in self._lengths:
            if length > len(path):
                break
            best = _first(self._prefixes.get(path[:length]), head, best)
        return _first(self._rest, head, best)


def _first(candidates: list[CompiledRoute] | None, head: Head, best: CompiledRoute | None) -> CompiledRoute | None:
    # The first match among candidates (in list order) that comes before `best`, or `best`.
    if candidates:
        for route in candidates:
            if best is not None and route.order > best.order:
                return best
            if route.matches(head):
                return route
    return best


@dataclass(frozen=True, slots=True)
class Verdict:
    """One step of `explain`: a route that was looked at. failed: the predicate that did not hold; None = it matched."""

    route: CompiledRoute
    failed: str | None


class RouteTable:
    """A compiled RouteConfig. Raises CompileError, naming virtual host and route, when it cannot be compiled."""

    __slots__ = ("_cache", "_catch_all", "_exact", "_ignore_port", "_prefixes", "_suffixes", "config", "name")

    def __init__(self, config: RouteConfig) -> None:
        self.config = config
        self.name = config.name
        self._ignore_port = config.ignore_port_in_host
        self._exact: dict[bytes, _Host] = {}
        self._catch_all: _Host | None = None
        suffixes: dict[bytes, _Host] = {}
        prefixes: dict[bytes, _Host] = {}
        for virtual_host in config.virtual_hosts:
            host = self._compile(virtual_host)
            for domain in virtual_host.domains:
                key = domain.lower().encode()
                if key == b"*":
                    self._claim_catch_all(host, virtual_host)
                    continue
                table, key = _table_of(key, self._exact, suffixes, prefixes)
                if table.setdefault(key, host) is not host:
                    raise CompileError(f"route config {config.name}: the domain {domain} is in two virtual hosts")
        # Longest first: the first hit is the most specific.
        self._suffixes = tuple(sorted(suffixes.items(), key=lambda item: -len(item[0])))
        self._prefixes = tuple(sorted(prefixes.items(), key=lambda item: -len(item[0])))
        self._cache: dict[bytes, _Host | None] = {}

    def _compile(self, virtual_host: VirtualHost) -> _Host:
        routes = []
        for order, route in enumerate(virtual_host.routes):
            field = f"virtual host {virtual_host.name} route[{order}]"
            if route.name:
                field += f" {route.name}"
            compiled = CompiledRoute(route, order, virtual_host.name, field)
            if compiled.direct is not None and len(compiled.direct.body) > self.config.max_direct_response_bytes:
                raise CompileError(
                    f"{field}: the direct response has {len(compiled.direct.body)} bytes, "
                    f"the limit is {self.config.max_direct_response_bytes}"
                )
            routes.append(compiled)
        return _Host(virtual_host.name, tuple(routes), virtual_host.require_tls)

    def _claim_catch_all(self, host: _Host, virtual_host: VirtualHost) -> None:
        if self._catch_all is not None:
            raise CompileError(f"route config {self.name}: the domain * is in two virtual hosts")
        self._catch_all = host

    def find(self, head: Head, scheme: bytes = b"http") -> CompiledRoute | None:
        """The route of this request; None: 404 NR. scheme: b"https" on TLS connections."""
        authority = head.authority
        host = self._cache.get(authority)
        if host is None:
            host = self._resolve(authority)
            if host is None:
                return None
        if host.require_tls and scheme != b"https":
            return TO_HTTPS
        return host.find(head)

    def explain(self, head: Head, scheme: bytes = b"http") -> list[Verdict]:
        """Every route that was looked at, in order, up to the one that matched. Empty: no virtual host has that name."""
        host = self._resolve(head.authority)
        if host is None:
            return []
        if host.require_tls and scheme != b"https":
            return [Verdict(TO_HTTPS, None)]
        verdicts = []
        for route in host.routes:
            failed = route.failed_predicate(head)
            verdicts.append(Verdict(route, failed))
            if failed is None:
                break
        return verdicts

    def routes(self) -> list[CompiledRoute]:
        """Every compiled route, for introspection. A virtual host's routes come once."""
        hosts = {id(host): host for host in (*self._exact.values(), *dict(self._suffixes).values(), *dict(self._prefixes).values())}
        if self._catch_all is not None:
            hosts[id(self._catch_all)] = self._catch_all
        return [route for host in hosts.values() for route in host.routes]

    def _resolve(self, authority: bytes) -> _Host | None:
        name = authority.lower()
        if self._ignore_port:
            name = without_port(name)
        host = self._exact.get(name)
        if host is None:
            host = _longest(self._suffixes, name, bytes.endswith) or _longest(self._prefixes, name, bytes.startswith)
        if host is None:
            host = self._catch_all
        if host is not None:
            if len(self._cache) >= _MAX_CACHED_HOSTS:
                self._cache.clear()
            self._cache[authority] = host
        return host


def _table_of(
    key: bytes, exact: dict[bytes, _Host], suffixes: dict[bytes, _Host], prefixes: dict[bytes, _Host]
) -> tuple[dict[bytes, _Host], bytes]:
    if key.startswith(b"*"):
        return suffixes, key[1:]
    if key.endswith(b"*"):
        return prefixes, key[:-1]
    return exact, key


def _longest(
    table: tuple[tuple[bytes, _Host], ...], name: bytes, holds: Callable[[bytes, bytes], bool]
) -> _Host | None:
    # Envoy: a wildcard stands for at least one character.
    return next((host for part, host in table if len(name) > len(part) and holds(name, part)), None)


def _to_https() -> CompiledRoute:
    from mesh.model.match import RouteMatch

    # Envoy VirtualHost.require_tls: 301 to the same URL with https; an explicit port is the plaintext one's, so it goes.
    return CompiledRoute(Route(RouteMatch(), RedirectAction(301, scheme="https", port=443), "require_tls"), -1, "", "")


TO_HTTPS = _to_https()
