"""Gateway status: GatewayClass, Gateway and its listeners (Gateway API's conditions)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from mesh.control.conditions import Condition, errors, summary
from mesh.control.facts import Facts, StatusPatch
from mesh.control.kube import gateway_api, kinds
from mesh.control.translate.attachment import CONTROLLER_NAME, is_ours
from mesh.control.translate.gateways import serving_of
from mesh.control.translate.graph import Graph
from mesh.control.translate.registry import selects
from mesh.model.origin import Problem


def class_patches(facts: Facts) -> Iterator[StatusPatch]:
    """GatewayClasses that name us."""
    for item in facts.graph.world.gateway_classes.values():
        if item.controller == CONTROLLER_NAME:
            old = facts.status(item.meta)
            conditions = [Condition("Accepted", True, "Accepted", "handled by Triomesh")]
            fresh = facts.conditions(conditions, item.meta, old)
            yield StatusPatch(kinds.GATEWAY_CLASS, item.meta, {**old, "conditions": fresh})


def gateway_patches(facts: Facts) -> Iterator[StatusPatch]:
    """Gateways of our classes, listener by listener."""
    graph = facts.graph
    addresses = ingress_addresses(graph)
    for item in graph.world.gateways.values():
        if not is_ours(item, graph.world, graph.config):
            continue
        old = facts.status(item.meta)
        old_listeners = {str(entry.get("name")): entry for entry in old.get("listeners") or ()}
        found = facts.found(item.meta)
        listeners = [
            _listener(facts, item, listener, found, old_listeners.get(listener.name, {})) for listener in item.listeners
        ]
        conditions = _gateway_conditions(item, found, addresses, facts.refusal(item.meta))
        yield StatusPatch(
            kinds.GATEWAY,
            item.meta,
            {
                **old,
                "addresses": [{"type": _address_type(address), "value": address} for address in addresses],
                "conditions": facts.conditions(conditions, item.meta, old),
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
    facts: Facts,
    item: gateway_api.Gateway,
    listener: gateway_api.GatewayListener,
    found: Iterable[Problem],
    old: Mapping[str, Any],
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
            for attachment in facts.graph.gateways.attachments
            if attachment.gateway is item
        ),
        "conditions": facts.conditions(conditions, item.meta, old),
    }


def _supported(listener: gateway_api.GatewayListener) -> tuple[tuple[str, str], ...]:
    if listener.protocol in ("HTTP", "HTTPS"):
        return ((gateway_api.GROUP, "HTTPRoute"), (gateway_api.GROUP, "GRPCRoute"))
    return ()
