"""Status: what every mesh object's `status` should say. Pure: graph + NACKs + old statuses → patches that are needed.

Here: Istio's objects, `status.conditions` and `status.validationMessages`. Gateway API (features 1.13): `gateway_status`, `route_status`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from mesh.control.conditions import Condition, errors, summary
from mesh.control.facts import REFERENCE_REASONS, Facts, Statuses, StatusPatch
from mesh.control.gateway_status import class_patches, gateway_patches
from mesh.control.kube import kinds
from mesh.control.kube.objects import Meta
from mesh.control.route_status import route_patches
from mesh.control.translate.graph import Graph
from mesh.model.origin import ObjectRef, Problem, Severity

_ISTIO_KINDS = (
    kinds.VIRTUAL_SERVICE,
    kinds.DESTINATION_RULE,
    kinds.ISTIO_GATEWAY,
    kinds.SERVICE_ENTRY,
    kinds.SIDECAR,
    kinds.PEER_AUTHENTICATION,
)


def plan(graph: Graph, statuses: Statuses, nacks: Mapping[ObjectRef, str], now: str) -> list[StatusPatch]:
    """Patches for every object whose status is not what it should be.

    Args: nacks: by object, why a proxy refuses what was made of it. now: RFC 3339, for transitions.
    """
    problems: dict[ObjectRef, list[Problem]] = {}
    for problem in graph.problems():
        problems.setdefault(problem.ref, []).append(problem)
    facts = Facts(graph, problems, nacks, statuses, now)
    wanted = [*_istio(facts), *class_patches(facts), *gateway_patches(facts), *route_patches(facts)]
    return [patch for patch in wanted if statuses(patch.meta.ref) != patch.status]


def _istio(facts: Facts) -> Iterator[StatusPatch]:
    for kind in (*_ISTIO_KINDS, *kinds.UNENFORCED):
        for item in facts.graph.world.of(kind).values():
            meta: Meta = item.meta
            found = facts.found(meta)
            if kind in kinds.UNENFORCED:
                # Nothing is made of them, so nothing can be resolved or programmed.
                conditions = [Condition("Accepted", not found, found[0].reason if found else "Accepted", summary(found))]
            else:
                conditions = [*_validity(found), *_refused(facts.refusal(meta))]
            old = facts.status(meta)
            yield StatusPatch(
                kind,
                meta,
                {
                    **old,
                    "observedGeneration": meta.generation,
                    "conditions": facts.conditions(conditions, meta, old),
                    "validationMessages": [_message(problem) for problem in found],
                },
            )


def _validity(found: Iterable[Problem]) -> Iterator[Condition]:
    """Accepted (the object itself) and ResolvedRefs (what it points to)."""
    wrong = errors(found)
    dangling = [problem for problem in wrong if problem.reason in REFERENCE_REASONS]
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
