"""Bindings: which rules govern a host of the mesh, and in which order they are tried.

The one place where precedence is decided:
* HTTPRoutes (and GRPCRoutes) of a Service beat VirtualServices for its host; GRPCRoute beats HTTPRoute.
* A consumer's HTTPRoutes (in the client's namespace) beat the producer's (in the Service's).
* Among HTTPRoutes: Gateway API's order (`precedence`). Among VirtualServices of equally exact hosts: oldest object
  first, each in its own order, but what matches everything goes last.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from mesh.control.kube import gateway_api, istio
from mesh.control.kube.objects import Meta, PortProtocol
from mesh.control.kube.parse_match import service_host
from mesh.control.kube.rules import HttpRule, Where
from mesh.control.kube.world import World
from mesh.control.translate.actions import Client, Names, backend_problems, compiled, is_catch_all
from mesh.control.translate.delegation import delegated
from mesh.control.translate.registry import MeshService, Registry, wildcards_of
from mesh.model.match import PathKind, RouteMatch
from mesh.model.origin import Problem, Severity
from mesh.model.route import Route

# Gateway API leaves regular expressions to the implementation: before prefixes, or PathPrefix / would hide them.
_PATH_RANK = {PathKind.EXACT: 0, PathKind.REGEX: 1, PathKind.SEGMENT_PREFIX: 2, PathKind.PREFIX: 2}


@dataclass(frozen=True, slots=True)
class ServiceRoute:
    """A route attached to a Service. port None = every port."""

    route: gateway_api.HttpRoute
    port: int | None


@dataclass(frozen=True, slots=True)
class Bindings:
    """virtual_services: by host pattern, oldest first, those that name `mesh`. routes: by Service host.

    source_labels: pod labels that some match looks at; source_dependent: host patterns whose rules depend on who asks.
    balanced: hosts that rules send others' traffic to. unknown_hosts: governed, but nobody's service.
    """

    virtual_services: Mapping[str, tuple[istio.VirtualService, ...]] = field(default_factory=dict)
    routes: Mapping[str, tuple[ServiceRoute, ...]] = field(default_factory=dict)
    source_labels: frozenset[str] = frozenset()
    source_dependent: frozenset[str] = frozenset()
    balanced: frozenset[str] = frozenset()
    unknown_hosts: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()

    def virtual_services_of(self, host: str, namespace: str) -> tuple[istio.VirtualService, ...]:
        """Those of the most exact pattern that covers the host and is visible to the client's namespace."""
        for pattern in (host, *wildcards_of(host)):
            found = tuple(
                item
                for item in self.virtual_services.get(pattern, ())
                if not item.export_to or namespace in item.export_to
            )
            if found:
                return found
        return ()

    def routes_of(self, service: MeshService, port: int, namespace: str) -> tuple[gateway_api.HttpRoute, ...]:
        """Consumer routes if the namespace has any, else the producer's; gRPC ones alone if there are any."""
        attached = [item.route for item in self.routes.get(service.host, ()) if item.port in (None, port)]
        if not attached:
            return ()
        consumer = [r for r in attached if r.meta.namespace == namespace and namespace != service.namespace]
        chosen = consumer or [route for route in attached if route.meta.namespace == service.namespace]
        grpc = [route for route in chosen if route.is_grpc]
        return tuple(_unique(grpc or chosen))


def _unique(routes: Iterable[gateway_api.HttpRoute]) -> Iterator[gateway_api.HttpRoute]:
    seen = set()
    for route in routes:
        if route.meta.ref not in seen:
            seen.add(route.meta.ref)
            yield route


def bindings(world: World, names: Names) -> Bindings:
    """Reads every route object once: who governs what, and what is wrong with it."""
    problems: list[Problem] = []
    by_host: dict[str, list[istio.VirtualService]] = {}
    balanced: set[str] = set()
    virtual_services, delegation_problems = delegated(world.virtual_services)
    problems += delegation_problems
    for item in sorted(virtual_services.values(), key=lambda item: item.meta.age_order):
        problems += rule_problems(item.meta, item.http, names)
        for rule in (*item.tcp, *item.tls):
            problems += backend_problems(item.meta, rule.backends, names)
        balanced |= _balanced(item.hosts, item.http)
        if istio.MESH in item.gateways:
            for host in item.hosts:
                by_host.setdefault(host, []).append(item)
                problems += _host_problems(item, host, by_host[host][:-1], names.registry)
    by_service: dict[str, list[ServiceRoute]] = {}
    for route in sorted(world.routes, key=lambda route: route.meta.age_order):
        problems += rule_problems(route.meta, route.rules, names)
        balanced |= _balanced((), route.rules)
        for parent in route.parents:
            if (parent.group, parent.kind) in (("", "Service"), ("core", "Service")):
                host = service_host(parent.name, parent.namespace)
                by_service.setdefault(host, []).append(ServiceRoute(route, parent.port))
    problems += _overridden(by_service, by_host, names.registry)
    problems += _holes(by_service)
    problems += _ineffective(by_service, by_host, names.registry)
    labels, dependent = _sources(by_host)
    return Bindings(
        virtual_services={host: tuple(items) for host, items in by_host.items()},
        routes={host: tuple(items) for host, items in by_service.items()},
        source_labels=labels,
        source_dependent=dependent,
        balanced=frozenset(balanced),
        unknown_hosts=tuple(sorted(h for h in by_host if not h.startswith("*") and names.registry.get(h) is None)),
        problems=tuple(dict.fromkeys(problems)),
    )


def service_routes(routes: Iterable[gateway_api.HttpRoute], names: Names, client: Client) -> tuple[Route, ...]:
    """HTTPRoutes as one list in Gateway API's order. Requests that match none get 404."""
    entries = []
    for route in routes:
        for rule_index, rule in enumerate(route.rules):
            for match_index, compiled_route in enumerate(compiled(rule, route.meta, names, client)):
                key = (*precedence(compiled_route.match), *route.meta.age_order, rule_index, match_index)
                entries.append((key, compiled_route))
    entries.sort(key=lambda entry: entry[0])
    return tuple(route for _, route in entries)


def precedence(match: RouteMatch) -> tuple[int, int, int, int, int]:
    """Gateway API's order as a sort key: exact path, longest path, method, most headers, most query parameters."""
    has_method = any(header.name == ":method" for header in match.headers)
    return (
        _PATH_RANK[match.path.kind],
        -len(match.path.value),
        0 if has_method else 1,
        -(len(match.headers) - has_method),
        -len(match.query),
    )


def virtual_service_routes(items: Iterable[tuple[istio.VirtualService, Client]], names: Names) -> tuple[Route, ...]:
    """VirtualServices of one host, each for its client, as one list; rules that another one hides are left out."""
    specific: list[Route] = []
    catch_all: Route | None = None
    for item, client in items:
        for rule in item.http:
            has_ended = False
            for route in compiled(rule, item.meta, names, client):
                if not is_catch_all(route.match):
                    specific.append(route)
                    continue
                catch_all = catch_all or route
                has_ended = True
            if has_ended:
                break
    return tuple(specific) if catch_all is None else (*specific, catch_all)


def rule_problems(meta: Meta, rules: tuple[HttpRule, ...], names: Names) -> Iterator[Problem]:
    """Dangling references, and rules that an earlier one of the same object hides."""
    catch_all = ""
    for rule in rules:
        backends = (*rule.backends, *(mirror.backend for mirror in rule.mirrors))
        yield from backend_problems(rule.owner or meta, backends, names)
        if catch_all and meta.kind == "VirtualService":
            message = f"is never reached: {catch_all} matches every request"
            ref = (rule.owner or meta).ref
            yield Problem(ref, f"spec.{rule.path}", message, "VirtualServiceUnreachableRule", Severity.WARNING)
        if any(is_catch_all(m.match) and m.where.port is None and not _is_scoped(m.where) for m in rule.matches):
            catch_all = catch_all or rule.path


def _is_scoped(where: Where) -> bool:
    return bool(where.gateways is not None or where.source_labels or where.source_namespace)


def _balanced(own_hosts: tuple[str, ...], rules: tuple[HttpRule, ...]) -> set[str]:
    """Hosts that the rules send traffic to on behalf of another host, or by subset."""
    return {
        backend.host
        for rule in rules
        for backend in (*rule.backends, *(mirror.backend for mirror in rule.mirrors))
        if backend.host not in own_hosts or backend.subset
    }


def _host_problems(
    item: istio.VirtualService, host: str, older: list[istio.VirtualService], registry: Registry
) -> Iterator[Problem]:
    field_path = "spec.hosts"
    if not host.startswith("*") and registry.get(host) is None:
        message = f"no service has the host {host}: the rules hold for port 80 only"
        yield Problem(item.meta.ref, field_path, message, "UnknownHost", Severity.WARNING)
    if older:
        message = (
            f"{host} is also governed by the older {older[0].meta.ref}: its rules come first, "
            "and of several that match everything only the oldest counts"
        )
        code = "ConflictingMeshGatewayVirtualServiceHosts"
        yield Problem(item.meta.ref, field_path, message, code, Severity.WARNING)


def _overridden(
    by_service: Mapping[str, list[ServiceRoute]],
    by_host: Mapping[str, list[istio.VirtualService]],
    registry: Registry,
) -> Iterator[Problem]:
    for host, attached in by_service.items():
        if registry.get(host) is None:
            continue
        for item in by_host.get(host, ()):
            if item.http:
                message = (
                    f"{attached[0].route.meta.ref} is attached to {host} and wins: this object has no effect on it"
                )
                yield Problem(item.meta.ref, "spec.hosts", message, "OverriddenByHTTPRoute", Severity.WARNING)
        if any(entry.route.is_grpc for entry in attached):
            for entry in attached:
                if not entry.route.is_grpc:
                    message = f"a GRPCRoute is attached to {host} and wins"
                    yield Problem(
                        entry.route.meta.ref, "spec.parentRefs", message, "OverriddenByGRPCRoute", Severity.WARNING
                    )


def _holes(by_service: Mapping[str, list[ServiceRoute]]) -> Iterator[Problem]:
    """Routes of one Service that together do not match everything: the rest is 404 from now on (linkerd2#9811)."""
    for host, attached in by_service.items():
        if any(is_catch_all(m.match) for entry in attached for rule in entry.route.rules for m in rule.matches):
            continue
        for entry in attached:
            message = f"no rule attached to {host} matches every request: what none of them matches gets 404"
            yield Problem(entry.route.meta.ref, "spec.rules", message, "NoCatchAll", Severity.WARNING)


def _ineffective(
    by_service: Mapping[str, list[ServiceRoute]],
    by_host: Mapping[str, list[istio.VirtualService]],
    registry: Registry,
) -> Iterator[Problem]:
    """HTTP rules for ports that are declared opaque."""
    for host, attached in by_service.items():
        for entry in attached:
            if not _speaks_http(registry, host, entry.port):
                message = (
                    f"{host} declares no HTTP port {entry.port or ''}".rstrip() + ": the rules have no effect there"
                )
                yield Problem(
                    entry.route.meta.ref, "spec.parentRefs", message, "IneffectiveOnProtocol", Severity.WARNING
                )
    for host, items in by_host.items():
        for item in items:
            if item.http and not _speaks_http(registry, host, None):
                message = f"{host} declares no HTTP port: the http rules have no effect on it"
                yield Problem(item.meta.ref, "spec.http", message, "IneffectiveOnProtocol", Severity.WARNING)


def _speaks_http(registry: Registry, host: str, port: int | None) -> bool:
    """Unknown hosts and ports are somebody else's problem."""
    service = registry.services.get(host)
    ports = [p for p in service.ports if port in (None, p.number)] if service is not None else []
    return not ports or any(p.protocol.is_http or p.protocol is PortProtocol.AUTO for p in ports)


def _sources(by_host: Mapping[str, list[istio.VirtualService]]) -> tuple[frozenset[str], frozenset[str]]:
    """(pod labels that some match looks at, hosts whose rules depend on who asks)."""
    labels: set[str] = set()
    dependent: set[str] = set()
    for host, items in by_host.items():
        wheres = [m.where for item in items for rule in item.http for m in rule.matches]
        wheres += [m.where for item in items for l4 in (*item.tcp, *item.tls) for m in l4.wheres]
        for where in wheres:
            labels |= set(where.source_labels)
            if where.source_labels or where.source_namespace:
                dependent.add(host)
    return frozenset(labels), frozenset(dependent)
