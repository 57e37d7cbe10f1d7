"""Facts: what is known of every object when its status is judged, and the patch that comes of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mesh.control.conditions import Condition, merged
from mesh.control.kube.kinds import Kind
from mesh.control.kube.objects import Meta
from mesh.control.translate.graph import Graph
from mesh.model.origin import ObjectRef, Problem

Statuses = Callable[[ObjectRef], Mapping[str, Any]]
"""The status of an object as last seen ({} when it has none)."""

# Problems that say where a reference leads nowhere: ResolvedRefs instead of Accepted.
REFERENCE_REASONS = (
    "RefNotPermitted",
    "InvalidKind",
    "BackendNotFound",
    "ReferencedResourceNotFound",
    "UnsupportedProtocol",
)


@dataclass(frozen=True, slots=True)
class StatusPatch:
    """The status that an object is to have, whole."""

    kind: Kind
    meta: Meta
    status: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Facts:
    """problems: by object. nacks: by object, why a proxy refuses what was made of it. now: RFC 3339, for transitions."""

    graph: Graph
    problems: Mapping[ObjectRef, list[Problem]]
    nacks: Mapping[ObjectRef, str]
    statuses: Statuses
    now: str

    def status(self, meta: Meta) -> Mapping[str, Any]:
        """As last seen."""
        return self.statuses(meta.ref)

    def found(self, meta: Meta) -> list[Problem]:
        return self.problems.get(meta.ref, [])

    def refusal(self, meta: Meta) -> str | None:
        return self.nacks.get(meta.ref)

    def conditions(self, wanted: Iterable[Condition], meta: Meta, old: Mapping[str, Any]) -> list[dict[str, Any]]:
        """`wanted` as `conditions`, with the transition times of those in `old` (a status, or a part of one) that did not change."""
        return merged(wanted, meta.generation, old.get("conditions") or (), self.now)
