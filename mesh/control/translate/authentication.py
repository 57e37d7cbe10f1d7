"""Authentication: which connections a pod's proxy takes on each port, by the PeerAuthentications that mean it.

Precedence (Istio): the port of a workload's policy, that policy, the namespace's, the mesh's (in the root namespace),
else PERMISSIVE. Of several at one level the oldest counts; UNSET leaves it to the next wider level.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from mesh.control.kube import kinds
from mesh.control.kube.parse_peer_authentication import PeerAuthentication, PeerMode
from mesh.control.kube.world import World
from mesh.control.translate.registry import selects
from mesh.model.origin import Problem, Severity

_NO_PORTS: Mapping[int, PeerMode] = {}


@dataclass(frozen=True, slots=True)
class Demand:
    """What a workload's proxy takes. mode: never UNSET, as are those of ports: where single ports differ."""

    mode: PeerMode = PeerMode.PERMISSIVE
    ports: Mapping[int, PeerMode] = field(default_factory=dict)

    def at(self, port: int) -> PeerMode:
        return self.ports.get(port, self.mode)


DEFAULT_DEMAND = Demand()


@dataclass(frozen=True, slots=True)
class Authentication:
    """workloads: by namespace, those with a selector, oldest first. namespaces: the modes of whole namespaces."""

    mesh: PeerMode = PeerMode.PERMISSIVE
    namespaces: Mapping[str, PeerMode] = field(default_factory=dict)
    workloads: Mapping[str, tuple[PeerAuthentication, ...]] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()

    def of(self, namespace: str, labels: Mapping[str, str]) -> Demand:
        """What the proxy of a pod takes."""
        mode = self.namespaces.get(namespace, self.mesh)
        own = next((item for item in self.workloads.get(namespace, ()) if selects(item.selector, labels)), None)
        if own is None:
            return DEFAULT_DEMAND if mode is PeerMode.PERMISSIVE else Demand(mode, _NO_PORTS)
        if own.mode is not PeerMode.UNSET:
            mode = own.mode
        return Demand(mode, {port: mode if at is PeerMode.UNSET else at for port, at in own.ports.items()})


NO_AUTHENTICATION = Authentication()


def authentication(world: World, root_namespace: str) -> Authentication:
    wide: dict[str, PeerAuthentication] = {}
    workloads: dict[str, list[PeerAuthentication]] = {}
    items = [item for item in world.of(kinds.PEER_AUTHENTICATION).values() if not item.is_broken]
    problems: list[Problem] = []
    for item in sorted(items, key=lambda item: item.meta.age_order):
        if item.selector:
            problems += _repeated(item, workloads.setdefault(item.meta.namespace, []))
            workloads[item.meta.namespace].append(item)
            continue
        first = wide.setdefault(item.meta.namespace, item)
        if first is not item:
            problems.append(_shadowed(item, first, "spec"))
    root = wide.pop(root_namespace, None)
    mesh = PeerMode.PERMISSIVE if root is None or root.mode is PeerMode.UNSET else root.mode
    return Authentication(
        mesh=mesh,
        namespaces={name: item.mode for name, item in sorted(wide.items()) if item.mode is not PeerMode.UNSET},
        workloads={name: tuple(found) for name, found in sorted(workloads.items())},
        problems=tuple(problems),
    )


def _repeated(item: PeerAuthentication, older: list[PeerAuthentication]) -> Iterator[Problem]:
    """An older policy for the same labels leaves it nothing; others overlap for some pods at most."""
    first = next((other for other in older if other.selector == item.selector), None)
    if first is not None:
        yield _shadowed(item, first, "spec.selector")


def _shadowed(item: PeerAuthentication, first: PeerAuthentication, path: str) -> Problem:
    message = f"has no effect: the older {first.meta.ref} means the same pods"
    return Problem(item.meta.ref, path, message, "Conflict", Severity.WARNING)
