"""Status: what every mesh object's `status` should say. Pure: graph + NACKs + old statuses → patches that are needed.

Gateway API: features 1.13. Istio objects: `status.conditions` and `status.validationMessages`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mesh.control.conditions import Condition, errors, merged, summary
from mesh.control.kube import gateway_api, kinds
from mesh.control.kube.kinds import Kind
from mesh.control.kube.objects import Meta
from mesh.control.kube.parse_match import service_host
from mesh.control.translate.attachment import CONTROLLER_NAME, Attachment, is_ours
from mesh.control.translate.gateways import serving_of
from mesh.control.translate.graph import Graph
from mesh.control.translate.registry import selects
from mesh.model.origin import ObjectRef, Problem, Severity

Statuses = Callable[[ObjectRef], Mapping[str, Any]]
"""The status of an object as last seen ({} when it has none)."""

# Problems that say where a reference leads nowhere: ResolvedRefs instead of Accepted.
_REFERENCE_REASONS = (
    "RefNotPermitted",
    "InvalidKind",
    "BackendNotFound",
    "ReferencedResourceNotFound",
    "UnsupportedProtocol",
)
_PARENT_FIELDS = ("group", "kind", "namespace", "name", "sectionName", "port")
_ISTIO_KINDS = (
    kinds.VIRTUAL_SERVICE,
    kinds.DESTINATION_RULE,
    kinds.ISTIO_GATEWAY,
    kinds.SERVICE_ENTRY,
    kinds.SIDECAR,
    kinds.PEER_AUTHENTICATION,
)


@dataclass(frozen=True, slots=True)
class StatusPatch:
    """The status that an object is to have, whole."""

    kind: Kind
    meta: Meta
    status: Mapping[str, Any]


def plan(graph: Graph, statuses: Statuses, nacks: Mapping[ObjectRef, str], now: str) -> list[StatusPatch]:
    """Patches for every object whose status is not what it should be.

    Args: nacks: by object, why a proxy refuses what was made of it. now: RFC 3339, for transitions.
    """
    problems: dict[ObjectRef, list[Problem]] = {}
    for problem in graph.problems():
        problems.setdefault(problem.ref, []).append(problem)
    wanted = [
        *_istio(graph, problems, nacks, statuses, now),
        *_classes(graph, statuses, now),
        *_gateways(graph, problems, nacks, statuses, now),
        *_routes(graph, problems, nacks, statuses, now),
    ]
    return [patch for patch in wanted if statuses(patch.meta.ref) != patch.status]


def _istio(
    graph: Graph,
    problems: Mapping[ObjectRef, list[Problem]],
    nacks: Mapping[ObjectRef, str],
    statuses: Statuses,
    now: str,
) -> Iterator[StatusPatch]:
    for kind in (*_ISTIO_KINDS, *kinds.UNENFORCED):
        for item in graph.world.of(kind).values():
            meta: Meta = item.meta
            found = problems.get(meta.ref, [])
            if kind in kinds.UNENFORCED:
                # Nothing is made of them, so nothing can be resolved or programmed.
                conditions = [Condition("Accepted", not found, found[0].reason if found else "Accepted", summary(found))]
            else:
                conditions = [*_validity(found), *_refused(nacks.get(meta.ref))]
            old = statuses(meta.ref)
            yield StatusPatch(
                kind,
                meta,
                {
                    **old,
                    "observedGeneration": meta.generation,
                    "conditions": merged(conditions, meta.generation, old.get("conditions") or (), now),
                    "validationMessages": [_message(problem) for problem in found],
                },
            )


def _validity(found: Iterable[Problem]) -> Iterator[Condition]:
    """Accepted (the object itself) and ResolvedRefs (what it points to)."""
    wrong = errors(found)
    dangling = [problem for problem in wrong if problem.reason in _REFERENCE_REASONS]
    invalid = [problem for problem in wrong if problem not in dangling]
    yield Condition("Accepted", not invalid, invalid[0].reason if invalid else "Accepted", summary(invalid))
    yield Condition("ResolvedRefs", not dangling, dangling[0].reason if dangling else "ResolvedRefs", summary(dangling))


def _refused(text: str | None) -> Iterator[Condition]:
    if text is None:
        yield Condition("Programmed", True, "Programmed")
    else:
        yield Condition("Programmed", False, "ProxyRejected", text)


def _message(problem: Problem) -> dict[str, Any]:
    """As Istio's AnalysisMessageBase, with where and what."""
    return {
        "type": {"name": problem.reason},
        "level": "ERROR" if problem.severity is Severity.ERROR else "WARNING",
        "field": problem.field,
        "message": problem.message,
    }


def _classes(graph: Graph, statuses: Statuses, now: str) -> Iterator[StatusPatch]:
    for item in graph.world.gateway_classes.values():
        if item.controller == CONTROLLER_NAME:
            old = statuses(item.meta.ref)
            conditions = [Condition("Accepted", True, "Accepted", "handled by Triomesh")]
            fresh = merged(conditions, item.meta.generation, old.get("conditions") or (), now)
            yield StatusPatch(kinds.GATEWAY_CLASS, item.meta, {**old, "conditions": fresh})


def _gateways(
    graph: Graph,
    problems: Mapping[ObjectRef, list[Problem]],
    nacks: Mapping[ObjectRef, str],
    statuses: Statuses,
    now: str,
) -> Iterator[StatusPatch]:
    addresses = ingress_addresses(graph)
    for item in graph.world.gateways.values():
        if not is_ours(item, graph.world, graph.config):
            continue
        old = statuses(item.meta.ref)
        old_listeners = {str(entry.get("name")): entry for entry in old.get("listeners") or ()}
        found = problems.get(item.meta.ref, [])
        listeners = [
            _listener(graph, item, listener, found, old_listeners.get(listener.name, {}), now)
            for listener in item.listeners
        ]
        conditions = list(_gateway_conditions(item, found, addresses, nacks.get(item.meta.ref)))
        yield StatusPatch(
            kinds.GATEWAY,
            item.meta,
            {
                **old,
                "addresses": [{"type": _address_type(address), "value": address} for address in addresses],
                "conditions": merged(conditions, item.meta.generation, old.get("conditions") or (), now),
                "listeners": listeners,
            },
        )


def ingress_addresses(graph: Graph) -> tuple[str, ...]:
    """Where the gateway pods' Services are reached: their load balancer's addresses, else their cluster IPs."""
    wanted = dict(graph.config.ingress_selector)
    chosen = [
        service
        for service in graph.world.services.values()
        if service.meta.namespace == graph.config.ingress_namespace and selects(wanted, service.selector)
    ]
    outside = tuple(address for service in chosen for address in service.addresses)
    return outside or tuple(address for service in chosen for address in service.cluster_ips)


def _address_type(address: str) -> str:
    return "IPAddress" if ":" in address or address.replace(".", "").isdigit() else "Hostname"


def _gateway_conditions(
    item: gateway_api.Gateway, found: Iterable[Problem], addresses: tuple[str, ...], refused: str | None
) -> Iterator[Condition]:
    wrong = errors(found)
    if not item.listeners:
        yield Condition("Accepted", False, "Invalid", summary(wrong) or "there is no usable listener")
        yield Condition("Programmed", False, "Invalid", "there is no usable listener")
        return
    if wrong:
        yield Condition("Accepted", True, "ListenersNotValid", summary(wrong))
    else:
        yield Condition("Accepted", True, "Accepted")
    if refused is not None:
        yield Condition("Programmed", False, "Invalid", f"a proxy refuses it: {refused}")
    elif not addresses:
        yield Condition("Programmed", False, "AddressNotAssigned", "no Service selects the ingress gateway's pods")
    else:
        yield Condition("Programmed", True, "Programmed")


def _listener(
    graph: Graph,
    item: gateway_api.Gateway,
    listener: gateway_api.GatewayListener,
    found: Iterable[Problem],
    old: Mapping[str, Any],
    now: str,
) -> dict[str, Any]:
    mine = [problem for problem in found if problem.field.startswith(listener.path)]
    credentials = [problem for problem in mine if problem.reason == "InvalidGatewayCredential"]
    serving = serving_of(listener)
    unknown = [kind for group, kind in listener.kinds if (group, kind) not in _supported(listener)]
    conditions = [
        Condition("Accepted", serving is not None, "Accepted" if serving else "UnsupportedProtocol", summary(mine)),
        Condition("Conflicted", False, "NoConflicts"),
    ]
    if unknown:
        message = f"routes of kind {', '.join(unknown)} are not supported here"
        conditions.append(Condition("ResolvedRefs", False, "InvalidRouteKinds", message))
    elif credentials:
        conditions.append(Condition("ResolvedRefs", False, "InvalidCertificateRef", summary(credentials)))
    else:
        conditions.append(Condition("ResolvedRefs", True, "ResolvedRefs"))
    is_open = serving is not None and not credentials
    conditions.append(Condition("Programmed", is_open, "Programmed" if is_open else "Invalid", summary(mine)))
    kinds_here = [entry for entry in _supported(listener) if not listener.kinds or entry in listener.kinds]
    return {
        "name": listener.name,
        "supportedKinds": [{"group": group, "kind": kind} for group, kind in kinds_here],
        "attachedRoutes": sum(
            any(name == listener.name for name, _ in attachment.listeners)
            for attachment in graph.gateways.attachments
            if attachment.gateway is item
        ),
        "conditions": merged(conditions, item.meta.generation, old.get("conditions") or (), now),
    }


def _supported(listener: gateway_api.GatewayListener) -> tuple[tuple[str, str], ...]:
    if listener.protocol in ("HTTP", "HTTPS"):
        return ((gateway_api.GROUP, "HTTPRoute"), (gateway_api.GROUP, "GRPCRoute"))
    return ()


def _routes(
    graph: Graph,
    problems: Mapping[ObjectRef, list[Problem]],
    nacks: Mapping[ObjectRef, str],
    statuses: Statuses,
    now: str,
) -> Iterator[StatusPatch]:
    attached = {(item.route.meta.ref, item.parent.path): item for item in graph.gateways.attachments}
    for route in graph.world.routes:
        old = statuses(route.meta.ref)
        old_parents = old.get("parents") or []
        found = problems.get(route.meta.ref, [])
        entries = []
        for parent in route.parents:
            verdict = _verdict(graph, parent, attached.get((route.meta.ref, parent.path)))
            if verdict is None:
                continue
            controller, accepted = verdict
            reference = {field: parent.raw[field] for field in _PARENT_FIELDS if field in parent.raw}
            before: Mapping[str, Any] = next(
                (p for p in old_parents if p.get("parentRef") == reference and p.get("controllerName") == controller),
                {},
            )
            conditions = [*_route_conditions(route, accepted, found), *_refusal(nacks.get(route.meta.ref))]
            entries.append(
                {
                    "parentRef": reference,
                    "controllerName": controller,
                    "conditions": merged(conditions, route.meta.generation, before.get("conditions") or (), now),
                }
            )
        others = [entry for entry in old_parents if entry.get("controllerName") != CONTROLLER_NAME]
        if entries or others != old_parents:
            kind = kinds.GRPC_ROUTE if route.is_grpc else kinds.HTTP_ROUTE
            yield StatusPatch(kind, route.meta, {**old, "parents": [*others, *entries]})


def _verdict(
    graph: Graph, parent: gateway_api.ParentRef, attachment: Attachment | None
) -> tuple[str, Condition] | None:
    """(controllerName, Accepted as the parent sees it); None when the parent is not ours to speak for."""
    if attachment is not None:
        known = graph.world.gateway_classes.get(("", attachment.gateway.class_name))
        controller = known.controller if known is not None else CONTROLLER_NAME
        if attachment.listeners:
            return controller, Condition("Accepted", True, "Accepted")
        return controller, Condition("Accepted", False, attachment.reason, attachment.message)
    if (parent.group, parent.kind) not in (("", "Service"), ("core", "Service")):
        return None
    service = graph.names.registry.services.get(service_host(parent.name, parent.namespace))
    if service is None:
        message = f"there is no Service {parent.namespace}/{parent.name}"
        return CONTROLLER_NAME, Condition("Accepted", False, "NoMatchingParent", message)
    if parent.port is not None and service.port(parent.port) is None:
        message = f"Service {parent.namespace}/{parent.name} has no port {parent.port}"
        return CONTROLLER_NAME, Condition("Accepted", False, "NoMatchingParent", message)
    return CONTROLLER_NAME, Condition("Accepted", True, "Accepted")


def _route_conditions(
    route: gateway_api.HttpRoute, accepted: Condition, found: Iterable[Problem]
) -> Iterator[Condition]:
    wrong = errors(found)
    dangling = [problem for problem in wrong if problem.reason in _REFERENCE_REASONS]
    invalid = [problem for problem in wrong if problem not in dangling]
    notes = summary(problem for problem in found if problem.severity is Severity.WARNING)
    works = any(rule.matches and not rule.broken for rule in route.rules)
    if not accepted.holds:
        yield accepted
    elif invalid and not works:
        yield Condition("Accepted", False, "UnsupportedValue", summary(invalid))
    else:
        yield Condition("Accepted", True, "Accepted", notes)
        if invalid:
            yield Condition("PartiallyInvalid", True, "UnsupportedValue", summary(invalid))
    reason = next((r for r in _REFERENCE_REASONS if any(p.reason == r for p in dangling)), "ResolvedRefs")
    yield Condition("ResolvedRefs", not dangling, reason, summary(dangling))


def _refusal(text: str | None) -> Iterator[Condition]:
    # Only when there is one: routes have no condition Programmed of their own in Gateway API.
    if text is not None:
        yield Condition("Programmed", False, "ProxyRejected", text)
