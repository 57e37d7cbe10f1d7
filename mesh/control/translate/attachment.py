"""Attachment: does a route hang on a Gateway's listeners, on which, under which host names, and if not, why."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from mesh.control.kube import gateway_api
from mesh.control.kube.world import World
from mesh.control.mesh_config import MeshConfig
from mesh.control.translate.registry import covers, selects
from mesh.model.origin import Problem

CONTROLLER_NAME = "triomesh.io/gateway-controller"
"""What a GatewayClass names to mean us, and who writes the status of routes, with Gateway and with Service parents."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """One parentRef of one route to a Gateway of ours. listeners: (name, host names); () = refused for `reason`."""

    route: gateway_api.HttpRoute
    parent: gateway_api.ParentRef
    gateway: gateway_api.Gateway
    listeners: tuple[tuple[str, tuple[str, ...]], ...]
    reason: str = "Accepted"
    message: str = ""
    problems: tuple[Problem, ...] = ()


def is_ours(gateway: gateway_api.Gateway, world: World, config: MeshConfig) -> bool:
    """By the GatewayClass's controller; the class names of the config also hold without a GatewayClass object."""
    known = world.gateway_classes.get(("", gateway.class_name))
    if known is not None:
        return known.controller == CONTROLLER_NAME
    return gateway.class_name in config.gateway_classes


def attachments(world: World, config: MeshConfig) -> Iterator[Attachment]:
    for route in sorted(world.routes, key=lambda route: route.meta.age_order):
        for parent in route.parents:
            if (parent.group, parent.kind) != (gateway_api.GROUP, "Gateway"):
                continue
            gateway = world.gateways.get((parent.namespace, parent.name))
            if gateway is not None and is_ours(gateway, world, config):
                yield _attach(world, route, parent, gateway)


def _attach(
    world: World, route: gateway_api.HttpRoute, parent: gateway_api.ParentRef, gateway: gateway_api.Gateway
) -> Attachment:
    refused = _refused(world, route)
    problems = tuple(
        Problem(route.meta.ref, field, f"no ReferenceGrant in {namespace} allows it", "RefNotPermitted")
        for field, namespace in refused
    )
    if refused:
        route = _without(route, frozenset(field for field, _ in refused))
    failed = Attachment(route, parent, gateway, (), problems=problems)
    candidates = [
        listener
        for listener in gateway.listeners
        if parent.section in ("", listener.name) and parent.port in (None, listener.port)
    ]
    if not candidates:
        where = f"{gateway.meta.ref} has no listener {parent.section or ''} on port {parent.port or 'any'}"
        return replace(failed, reason="NoMatchingParent", message=where)
    allowed = [listener for listener in candidates if _is_allowed(world, route, gateway, listener)]
    if not allowed:
        message = f"allowedRoutes of {gateway.meta.ref} does not admit {route.meta.kind} from {route.meta.namespace}"
        return replace(failed, reason="NotAllowedByListeners", message=message)
    found = []
    for listener in allowed:
        hosts = _hosts(listener.hostname, route.hostnames)
        if hosts:
            found.append((listener.name, hosts))
    if not found:
        message = f"no listener of {gateway.meta.ref} has a hostname in common with the route"
        return replace(failed, reason="NoMatchingListenerHostname", message=message)
    return Attachment(route, parent, gateway, tuple(found), problems=problems)


def _hosts(listener: str, route: tuple[str, ...]) -> tuple[str, ...]:
    """The host names that both allow; `*` when neither says any."""
    if not route:
        return (listener or "*",)
    if not listener:
        return route
    found = []
    for host in route:
        if covers(listener, host):
            found.append(host)
        elif covers(host, listener):
            found.append(listener)
    return tuple(dict.fromkeys(found))


def _is_allowed(
    world: World,
    route: gateway_api.HttpRoute,
    gateway: gateway_api.Gateway,
    listener: gateway_api.GatewayListener,
) -> bool:
    if listener.protocol not in ("HTTP", "HTTPS"):
        return False
    if listener.kinds and (gateway_api.GROUP, route.meta.kind) not in listener.kinds:
        return False
    source = listener.allowed_from
    if source is gateway_api.AllowedFrom.SAME:
        return route.meta.namespace == gateway.meta.namespace
    if source is gateway_api.AllowedFrom.SELECTOR:
        namespace = world.namespaces.get(("", route.meta.namespace))
        return namespace is not None and selects(listener.namespace_labels, namespace.meta.labels)
    return source is gateway_api.AllowedFrom.ALL


def _refused(world: World, route: gateway_api.HttpRoute) -> list[tuple[str, str]]:
    """(field, namespace) of every backend in another namespace that nobody there allows."""
    found = []
    for rule in route.rules:
        for backend in (*rule.backends, *(mirror.backend for mirror in rule.mirrors)):
            if backend.namespace != route.meta.namespace and not backend.invalid:
                if not is_granted(world, route, backend.namespace, backend.name):
                    found.append((backend.field, backend.namespace))
    return found


def is_granted(world: World, route: gateway_api.HttpRoute, namespace: str, name: str) -> bool:
    """Does some ReferenceGrant of the namespace let routes like this one refer to its Service `name`?"""
    source = (gateway_api.GROUP, route.meta.kind, route.meta.namespace)
    return any(
        source in grant.sources and (("", "Service", "") in grant.targets or ("", "Service", name) in grant.targets)
        for grant in world.reference_grants.values()
        if grant.meta.namespace == namespace
    )


def _without(route: gateway_api.HttpRoute, refused: frozenset[str]) -> gateway_api.HttpRoute:
    """The route as a gateway may use it: what is refused answers 500 and is not mirrored to."""
    rules = tuple(
        replace(
            rule,
            backends=tuple(
                replace(backend, invalid="RefNotPermitted") if backend.field in refused else backend
                for backend in rule.backends
            ),
            mirrors=tuple(mirror for mirror in rule.mirrors if mirror.backend.field not in refused),
        )
        for rule in route.rules
    )
    return replace(route, rules=rules)
