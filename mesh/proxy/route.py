"""Route table: from a request's head to what is done with it.

A RouteConfig is compiled once per snapshot. `find` looks up the virtual host (`domains`), then takes the first of its
routes whose predicates all hold (`route_index`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from itertools import accumulate
from typing import assert_never

from mesh.model.match import RouteMatch
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
from mesh.proxy.domains import DomainTable
from mesh.proxy.edits import Edits, compile_edits
from mesh.proxy.faults import CompiledFault, compile_fault
from mesh.proxy.head import Head
from mesh.proxy.match import CompileError, describe_path, path_test, request_tests
from mesh.proxy.reply import LocalReply
from mesh.proxy.retry import CompiledRetry, compile_retry
from mesh.proxy.rewrite import PathChange, compile_location, compile_path_rewrite, query_of
from mesh.proxy.route_index import RouteIndex


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
        "origin_generation",
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
        self.origin_generation: str = str(route.origin.generation) if route.origin is not None and route.origin.generation else ""
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

    @property
    def matches_every_path(self) -> bool:
        return self._path_test is None

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
        return self._path_change(head.path) + query_of(head.target)

    def redirect(self, head: Head, scheme: bytes) -> LocalReply:
        """The answer of a REDIRECT route. scheme: the request's, b"http" or b"https"."""
        assert self._location is not None and isinstance(self.source.action, RedirectAction)
        line = b"location: %b\r\n" % self._location(head, scheme)
        return LocalReply(self.source.action.status, headers=line, details="direct_response")

    def __repr__(self) -> str:
        return f"CompiledRoute({self.virtual_host}[{self.order}] {self.name or self.origin_text})"


@dataclass(frozen=True, slots=True)
class Verdict:
    """One step of `explain`: a route that was looked at. failed: the predicate that did not hold; None = it matched."""

    route: CompiledRoute
    failed: str | None


@dataclass(frozen=True, slots=True)
class _Host:
    """One virtual host, compiled."""

    routes: tuple[CompiledRoute, ...]
    index: RouteIndex
    require_tls: bool


class RouteTable:
    """A compiled RouteConfig. Raises CompileError when a domain is in two virtual hosts: then nothing is certain.

    A route that cannot be compiled does not take the others with it: it answers 500, or, when it is its match that
    cannot be compiled, is left out; `problems` says so, naming virtual host, route and object.
    """

    __slots__ = ("_domains", "_hosts", "config", "name", "problems")

    def __init__(self, config: RouteConfig) -> None:
        self.config = config
        self.name = config.name
        self.problems: tuple[str, ...] = ()
        self._hosts = tuple(self._compile(virtual_host) for virtual_host in config.virtual_hosts)
        self._domains: DomainTable[_Host] = DomainTable(
            [(domain, host) for source, host in zip(config.virtual_hosts, self._hosts) for domain in source.domains],
            config.ignore_port_in_host,
            f"route config {config.name}",
        )

    def _compile(self, virtual_host: VirtualHost) -> _Host:
        compiled = [self._route(route, order, virtual_host.name) for order, route in enumerate(virtual_host.routes)]
        routes = tuple(route for route in compiled if route is not None)
        return _Host(routes, RouteIndex(routes), virtual_host.require_tls)

    def _route(self, route: Route, order: int, virtual_host: str) -> CompiledRoute | None:
        field = f"virtual host {virtual_host} route[{order}]"
        if who := " ".join(filter(None, (route.name, str(route.origin or "")))):
            field += f" ({who})"
        try:
            compiled = CompiledRoute(route, order, virtual_host, field)
            if compiled.direct is not None and len(compiled.direct.body) > self.config.max_direct_response_bytes:
                raise CompileError(
                    f"{field}: the direct response has {len(compiled.direct.body)} bytes, "
                    f"the limit is {self.config.max_direct_response_bytes}"
                )
            return compiled
        except CompileError as exc:
            self.problems = (*self.problems, str(exc))
        broken = Route(route.match, _BROKEN, route.name, origin=route.origin, operation=route.operation)
        try:
            return CompiledRoute(broken, order, virtual_host, field)
        except CompileError:
            return None  # the match itself, which the problem already names

    def find(self, head: Head, scheme: bytes = b"http") -> CompiledRoute | None:
        """The route of this request; None: 404 NR. scheme: b"https" on TLS connections."""
        host = self._domains.find(head.authority)
        if host is None:
            return None
        if host.require_tls and scheme != b"https":
            return TO_HTTPS
        return host.index.find(head)

    def explain(self, head: Head, scheme: bytes = b"http") -> list[Verdict]:
        """Every route that was looked at, in order, up to the one that matched. Empty: no virtual host has that name."""
        host = self._domains.find(head.authority)
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
        """Every compiled route, for introspection, virtual host by virtual host."""
        return [route for host in self._hosts for route in host.routes]


_BROKEN = DirectResponse(500, b"the configuration of this route is not valid; see the proxy's log\n")


def _to_https() -> CompiledRoute:
    # Envoy VirtualHost.require_tls: 301 to the same URL with https; an explicit port is the plaintext one's, so it goes.
    return CompiledRoute(Route(RouteMatch(), RedirectAction(301, scheme="https", port=443), "require_tls"), -1, "", "")


TO_HTTPS = _to_https()
