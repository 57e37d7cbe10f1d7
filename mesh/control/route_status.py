"""Route status: what each parent of an HTTPRoute or GRPCRoute makes of it (Gateway API's conditions)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from mesh.control.conditions import Condition, errors, summary
from mesh.control.facts import REFERENCE_REASONS, Facts, StatusPatch
from mesh.control.kube import gateway_api, kinds
from mesh.control.kube.parse_match import service_host
from mesh.control.translate.attachment import CONTROLLER_NAME, Attachment
from mesh.control.translate.graph import Graph
from mesh.model.origin import Problem, Severity

_PARENT_FIELDS = ("group", "kind", "namespace", "name", "sectionName", "port")


def route_patches(facts: Facts) -> Iterator[StatusPatch]:
    """HTTPRoutes and GRPCRoutes with a parent that is ours to speak for; other controllers' entries stay."""
    graph = facts.graph
    attached = {(item.route.meta.ref, item.parent.path): item for item in graph.gateways.attachments}
    for route in graph.world.routes:
        old = facts.status(route.meta)
        old_parents = old.get("parents") or []
        found = facts.found(route.meta)
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
            conditions = [*_route_conditions(route, accepted, found), *_refusal(facts.refusal(route.meta))]
            entries.append(
                {
                    "parentRef": reference,
                    "controllerName": controller,
                    "conditions": facts.conditions(conditions, route.meta, before),
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
    dangling = [problem for problem in wrong if problem.reason in REFERENCE_REASONS]
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
    reason = next((r for r in REFERENCE_REASONS if any(p.reason == r for p in dangling)), "ResolvedRefs")
    yield Condition("ResolvedRefs", not dangling, reason, summary(dangling))


def _refusal(text: str | None) -> Iterator[Condition]:
    # Only when there is one: routes have no condition Programmed of their own in Gateway API.
    if text is not None:
        yield Condition("Programmed", False, "ProxyRejected", text)
