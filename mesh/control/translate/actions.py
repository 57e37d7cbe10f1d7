"""Actions: a parsed rule and a client become routes of the model, host names become clusters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from mesh.control.kube.objects import Meta
from mesh.control.kube.parse_retry import DEFAULT_RETRY
from mesh.control.kube.rules import Backend, HttpRule, RuleMatch
from mesh.control.translate.clusters import PASSTHROUGH
from mesh.control.translate.endpoints import cluster_name
from mesh.control.translate.policies import Policies
from mesh.control.translate.registry import MeshService, Registry, selects
from mesh.model.match import PathKind, RouteMatch
from mesh.model.origin import Problem, Severity
from mesh.model.route import (
    DirectResponse,
    ForwardAction,
    HashPolicy,
    Mirror,
    RetryPolicy,
    Route,
    RouteActionKind,
    WeightedCluster,
)

_NO_LABELS: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class Client:
    """Whose requests: a sidecar's (gateway `mesh`) or a gateway's (`ns/name`), on which port, from which pod."""

    gateway: str
    port: int
    namespace: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Names:
    """What host names mean."""

    registry: Registry
    policies: Policies

    def cluster(self, backend: Backend, default_port: int) -> str:
        """Istio's rule for a missing port: the service's only one, else the port that the request came to."""
        port = backend.port
        if port is None:
            service = self.registry.get(backend.host)
            port = service.ports[0].number if service is not None and len(service.ports) == 1 else default_port
        return cluster_name(port, backend.subset, backend.host)

    def hash_policies(self, backends: Iterable[Backend], client: Client) -> tuple[HashPolicy, ...]:
        """What the balancer of the first consistently hashed destination hashes."""
        for backend in backends:
            rule = self.policies.governing(backend.host, client.namespace)
            if rule is None:
                continue
            subset = next((item for _, item in rule.subsets if item.name == backend.subset), None)
            balancer = rule.effective(backend.port or client.port, subset).balancer
            if balancer is not None and balancer.hash is not None:
                return (balancer.hash,)
        return ()


def default_route(service: MeshService, port: int, names: Names, client: Client) -> Route:
    """Plain forwarding, with the mesh's default retries: what a service has without any rule."""
    backend = Backend(service.host, port)
    return Route(
        match=RouteMatch(),
        action=ForwardAction(
            (WeightedCluster(cluster_name(port, "", service.host)),),
            retry=DEFAULT_RETRY,
            hash_policies=names.hash_policies((backend,), client),
        ),
        name="default",
        origin=service.meta.origin(),
        operation=f"{service.host}:{port}/*",
    )


def passthrough_route() -> Route:
    """Requests to hosts that nobody declared go where the client dialled."""
    return Route(RouteMatch(), ForwardAction((WeightedCluster(PASSTHROUGH),)), name="allow_any")


def block_route() -> Route:
    """REGISTRY_ONLY: what nobody declared is refused as Istio refuses it."""
    return Route(RouteMatch(), DirectResponse(502), name="block_all")


def compiled(rule: HttpRule, meta: Meta, names: Names, client: Client) -> Iterator[Route]:
    """The routes of one rule for one client, in the order of its matches; none when no match is for this client."""
    actions: dict[int, RouteActionKind] = {}
    owner = rule.owner or meta
    for index, match in enumerate(rule.matches):
        if not applies(match, client):
            continue
        action = _action(rule, owner, index, names, client, actions)
        yield Route(
            match=match.match,
            action=action,
            name=rule.name,
            request_headers=rule.request_headers,
            response_headers=rule.response_headers,
            fault=rule.fault,
            cors=rule.cors,
            origin=replace(owner.origin(rule.path), generation=owner.generation),
            operation=_operation(action, owner, match.match, client.port),
        )


def applies(match: RuleMatch, client: Client) -> bool:
    """Is this client among those that the match speaks of?"""
    where = match.where
    return (
        (where.gateways is None or client.gateway in where.gateways)
        and (where.port is None or where.port == client.port)
        and (not where.source_namespace or where.source_namespace == client.namespace)
        and selects(where.source_labels, client.labels)
    )


def is_catch_all(match: RouteMatch) -> bool:
    """Does it match every request?"""
    path = match.path
    is_any_path = (path.kind is PathKind.PREFIX and path.value in ("/", "")) or (
        path.kind is PathKind.REGEX and path.value in (".*", "/.*")
    )
    return is_any_path and not match.headers and not match.query


def _action(
    rule: HttpRule,
    meta: Meta,
    index: int,
    names: Names,
    client: Client,
    shared: dict[int, RouteActionKind],
) -> RouteActionKind:
    if rule.broken:
        return DirectResponse(500, f"{meta.ref} {rule.path}: {rule.broken}\n".encode())
    if rule.redirects:
        return rule.redirects[index]
    if rule.direct is not None:
        return rule.direct
    if 0 not in shared:
        shared[0] = _forward(rule, meta, names, client)
    action = shared[0]
    if isinstance(action, ForwardAction) and rule.rewrites:
        return replace(action, path_rewrite=rule.rewrites[index])
    return action


def _forward(rule: HttpRule, meta: Meta, names: Names, client: Client) -> RouteActionKind:
    is_gateway_api = meta.kind in ("HTTPRoute", "GRPCRoute")
    if is_gateway_api and not any(backend.weight for backend in rule.backends):
        # Gateway API: a rule whose weights sum to 0 answers 500.
        return DirectResponse(500, f"{meta.ref} {rule.path}: every weight is 0\n".encode())
    return ForwardAction(
        clusters=tuple(
            WeightedCluster(
                names.cluster(backend, client.port) if not backend.invalid else f"InvalidBackend|{backend.field}",
                backend.weight,
                backend.request_headers,
                backend.response_headers,
            )
            for backend in rule.backends
        ),
        timeout_seconds=rule.timeout_seconds,
        retry=_retry(rule),
        host_rewrite=rule.host_rewrite,
        mirrors=tuple(
            Mirror(names.cluster(mirror.backend, client.port), mirror.percent)
            for mirror in rule.mirrors
            if not mirror.backend.invalid
        ),
        hash_policies=names.hash_policies(rule.backends, client),
        missing_cluster_status=500 if is_gateway_api else 503,
    )


def _retry(rule: HttpRule) -> RetryPolicy | None:
    retry = DEFAULT_RETRY if rule.retry is None else rule.retry
    if retry.attempts == 0 and rule.per_try_timeout_seconds is None:
        return None
    return replace(retry, per_try_timeout_seconds=rule.per_try_timeout_seconds)


def _operation(action: RouteActionKind, meta: Meta, match: RouteMatch, port: int) -> str:
    """Istio's span names: `host:port/path*`, with the object's name instead of the host when there are several."""
    path = match.path
    suffix = path.value if path.kind in (PathKind.EXACT, PathKind.REGEX) else f"{path.value}*"
    if isinstance(action, ForwardAction) and len(action.clusters) == 1:
        parts = action.clusters[0].name.split("|")
        if len(parts) == 4:
            return f"{parts[3]}:{parts[1]}{suffix}"
    return f"{meta.name}:{port}{suffix}"


def backend_problems(meta: Meta, backends: Iterable[Backend], names: Names) -> Iterator[Problem]:
    """References that lead nowhere now. The route is made all the same, and heals when the target appears."""
    is_gateway_api = meta.kind in ("HTTPRoute", "GRPCRoute")
    reason = "BackendNotFound" if is_gateway_api else "ReferencedResourceNotFound"
    for backend in backends:
        if backend.invalid:
            continue
        service = names.registry.get(backend.host)
        if service is None:
            yield Problem(meta.ref, f"{backend.field}.host", f"no service has the host {backend.host}", reason)
            continue
        if backend.port is not None and service.port(backend.port) is None:
            known = ", ".join(str(port.number) for port in service.ports) or "none"
            message = f"{service.host} has no port {backend.port} (it has {known})"
            yield Problem(meta.ref, f"{backend.field}.port", message, reason)
        elif backend.port is None and len(service.ports) > 1:
            message = f"{service.host} has {len(service.ports)} ports: say which (the port of the request is used)"
            code = "VirtualServiceDestinationPortSelectorRequired"
            yield Problem(meta.ref, f"{backend.field}.port", message, code, Severity.WARNING)
        if backend.subset:
            rule = names.policies.governing(backend.host, meta.namespace)
            if rule is None or all(subset.name != backend.subset for _, subset in rule.subsets):
                message = f"no DestinationRule defines the subset {backend.subset} of {backend.host}"
                yield Problem(meta.ref, f"{backend.field}.subset", message, "ReferencedResourceNotFound")
