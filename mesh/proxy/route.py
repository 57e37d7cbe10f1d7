"""Route table: from a request's head to what is done with it.

A RouteConfig is compiled once per snapshot. `find` looks up the virtual host (`domains`), then takes the first of its
routes whose predicates all hold (`route_index`).
"""

from __future__ import annotations

from dataclasses import dataclass

from mesh.model.match import RouteMatch
from mesh.model.route import DirectResponse, RedirectAction, Route, RouteConfig, VirtualHost
from mesh.proxy.compiled_route import CompiledRoute
from mesh.proxy.domains import DomainTable
from mesh.proxy.head import Head
from mesh.proxy.match import CompileError
from mesh.proxy.route_index import RouteIndex


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
