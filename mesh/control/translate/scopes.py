"""Scopes: what a pod's proxy is told of, by the Sidecar that means it.

Source: Istio's Sidecar: one with a selector that fits beats the namespace's, which beats the root namespace's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from mesh.control.kube import kinds
from mesh.control.kube.parse_sidecar import EgressHost, Sidecar
from mesh.control.kube.world import World
from mesh.control.translate.registry import covers, selects
from mesh.model.origin import Problem, Severity


@dataclass(frozen=True, slots=True)
class Scope:
    """hosts None = everything that is exported to the namespace. registry_only None = as the mesh has it."""

    namespace: str
    hosts: tuple[EgressHost, ...] | None = None
    registry_only: bool | None = None

    def admits(self, namespace: str, host: str) -> bool:
        """Is the host, owned by that namespace, visible?"""
        if self.hosts is None:
            return True
        return any(
            covers(item.host, host)
            and (item.namespace in ("*", namespace) or (item.namespace == "." and namespace == self.namespace))
            for item in self.hosts
        )


@dataclass(frozen=True, slots=True)
class Scopes:
    """sidecars: by namespace, those with a selector first, then oldest first. default: the root namespace's."""

    sidecars: Mapping[str, tuple[Sidecar, ...]] = field(default_factory=dict)
    default: Sidecar | None = None
    problems: tuple[Problem, ...] = ()

    def of(self, namespace: str, labels: Mapping[str, str]) -> Scope | None:
        """The scope of a pod; None when no Sidecar means it."""
        found = next((item for item in self.sidecars.get(namespace, ()) if selects(item.selector, labels)), self.default)
        return None if found is None else Scope(namespace, found.egress, found.registry_only)


NO_SCOPES = Scopes()


def scopes(world: World, root_namespace: str) -> Scopes:
    by_namespace: dict[str, list[Sidecar]] = {}
    ordered: list[Sidecar] = sorted(world.of(kinds.SIDECAR).values(), key=lambda item: (not item.selector, item.meta.age_order))
    for item in ordered:
        by_namespace.setdefault(item.meta.namespace, []).append(item)
    default = next((item for item in by_namespace.get(root_namespace, ()) if not item.selector), None)
    problems = tuple(problem for items in by_namespace.values() for problem in _hidden(items))
    return Scopes({namespace: tuple(items) for namespace, items in by_namespace.items()}, default, problems)


def _hidden(items: list[Sidecar]) -> Iterator[Problem]:
    """Those that an older one with the same selector leaves nothing to."""
    first: dict[tuple[tuple[str, str], ...], Sidecar] = {}
    for item in items:
        older = first.setdefault(tuple(sorted(item.selector.items())), item)
        if older is not item:
            message = f"has no effect: the older {older.meta.ref} means the same pods"
            yield Problem(item.meta.ref, "spec.workloadSelector", message, "Conflict", Severity.WARNING)
