"""Delegation: a VirtualService hands a part of its requests to the rules of another one (Istio's `delegate`).

One level. A delegate has no hosts of its own. Where both say something of a request, the delegate must ask for the
same or for less: a match that asks for something else can never be met and is left out with a Problem. Settings that
the delegate leaves open are the delegating rule's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol, TypeVar

from mesh.control.kube import istio
from mesh.control.kube.objects import Key
from mesh.control.kube.rules import HttpRule, RuleMatch, Where
from mesh.model.match import PathKind, PathMatch, RouteMatch
from mesh.model.origin import Problem, Severity

_ANY_PATH = PathMatch()


class _HasName(Protocol):
    @property
    def name(self) -> str: ...


Named = TypeVar("Named", bound=_HasName)


def delegated(
    items: Mapping[Key, istio.VirtualService],
) -> tuple[dict[Key, istio.VirtualService], tuple[Problem, ...]]:
    """The VirtualServices that have hosts, with the rules of their delegates in place, and what is wrong with either."""
    problems: list[Problem] = []
    used: set[Key] = set()
    found = {}
    for key, item in items.items():
        if not item.hosts:
            continue
        if any(rule.delegate is not None for rule in item.http):
            rules: list[HttpRule] = []
            for rule in item.http:
                rules += _expanded(item, rule, items, used, problems)
            item = replace(item, http=tuple(rules))
        found[key] = item
    for key, item in items.items():
        if not item.hosts and key not in used:
            message = "has no hosts and no VirtualService delegates to it: it has no effect"
            problems.append(Problem(item.meta.ref, "spec.hosts", message, "Unreferenced", Severity.WARNING))
    return found, tuple(problems)


def _expanded(
    root: istio.VirtualService,
    rule: HttpRule,
    items: Mapping[Key, istio.VirtualService],
    used: set[Key],
    problems: list[Problem],
) -> list[HttpRule]:
    if rule.delegate is None:
        return [rule]
    field = f"spec.{rule.path}.delegate"
    target = items.get(rule.delegate)
    if target is None:
        message = f"there is no VirtualService {'/'.join(rule.delegate)}"
        problems.append(Problem(root.meta.ref, field, message, "ReferencedResourceNotFound"))
        return []
    if target.hosts:
        message = f"{target.meta.ref} has hosts of its own and cannot be a delegate"
        problems.append(Problem(root.meta.ref, field, message, "InvalidDelegate"))
        return []
    used.add(target.meta.key)
    if target.export_to and root.meta.namespace not in target.export_to:
        message = f"{target.meta.ref} is not exported to {root.meta.namespace}"
        problems.append(Problem(root.meta.ref, field, message, "InvalidDelegate"))
        return []
    return [made for part in target.http if (made := _combined(root, rule, target, part, problems)) is not None]


def _combined(
    root: istio.VirtualService,
    rule: HttpRule,
    target: istio.VirtualService,
    part: HttpRule,
    problems: list[Problem],
) -> HttpRule | None:
    if part.delegate is not None:
        message = "a delegate cannot delegate further"
        problems.append(Problem(target.meta.ref, f"spec.{part.path}.delegate", message, "InvalidDelegate"))
        return None
    pairs = [
        (match, outer_index, inner_index)
        for outer_index, outer in enumerate(rule.matches)
        for inner_index, inner in enumerate(part.matches)
        if (match := narrowed(outer, inner)) is not None
    ]
    if not pairs:
        message = f"asks for requests that {root.meta.ref} {rule.path} does not pass on"
        problems.append(Problem(target.meta.ref, f"spec.{part.path}.match", message, "DelegateConflict"))
        return None
    rewrites = tuple(part.rewrites[inner] for _, _, inner in pairs) if part.rewrites else ()
    if not rewrites and rule.rewrites:
        rewrites = tuple(rule.rewrites[outer] for _, outer, _ in pairs)
    return replace(
        part,
        matches=tuple(match for match, _, _ in pairs),
        redirects=tuple(part.redirects[inner] for _, _, inner in pairs) if part.redirects else (),
        rewrites=rewrites,
        host_rewrite=part.host_rewrite or rule.host_rewrite,
        timeout_seconds=part.timeout_seconds or rule.timeout_seconds,
        retry=part.retry if part.retry is not None else rule.retry,
        per_try_timeout_seconds=part.per_try_timeout_seconds or rule.per_try_timeout_seconds,
        fault=part.fault or rule.fault,
        cors=part.cors or rule.cors,
        mirrors=part.mirrors or rule.mirrors,
        request_headers=part.request_headers or rule.request_headers,
        response_headers=part.response_headers or rule.response_headers,
        owner=target.meta,
    )


def narrowed(outer: RuleMatch, inner: RuleMatch) -> RuleMatch | None:
    """What both ask for; None when the inner one asks for something else than the outer one."""
    path = _path(outer.match.path, inner.match.path)
    headers = _named(outer.match.headers, inner.match.headers)
    query = _named(outer.match.query, inner.match.query)
    where = _where(outer.where, inner.where)
    if path is None or headers is None or query is None or where is None:
        return None
    return RuleMatch(RouteMatch(path, headers, query), where)


def _path(outer: PathMatch, inner: PathMatch) -> PathMatch | None:
    if outer in (_ANY_PATH, inner):
        return inner
    if inner == _ANY_PATH:
        return outer
    is_below = outer.kind is PathKind.PREFIX and inner.kind in (PathKind.PREFIX, PathKind.EXACT)
    return inner if is_below and inner.value.startswith(outer.value) else None


def _named(outer: tuple[Named, ...], inner: tuple[Named, ...]) -> tuple[Named, ...] | None:
    names = {item.name: item for item in outer}
    if any(item.name in names and names[item.name] != item for item in inner):
        return None
    return (*outer, *(item for item in inner if item.name not in names))


def _where(outer: Where, inner: Where) -> Where | None:
    gateways = inner.gateways if outer.gateways is None else outer.gateways
    if outer.gateways is not None and inner.gateways is not None:
        if not inner.gateways <= outer.gateways:
            return None
        gateways = inner.gateways
    if outer.port is not None and inner.port not in (None, outer.port):
        return None
    if outer.source_namespace and inner.source_namespace not in ("", outer.source_namespace):
        return None
    labels = {**outer.source_labels, **inner.source_labels}
    if any(labels[key] != value for key, value in outer.source_labels.items()):
        return None
    return Where(gateways, outer.port or inner.port, labels, outer.source_namespace or inner.source_namespace)
