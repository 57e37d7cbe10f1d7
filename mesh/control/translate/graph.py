"""Graph: the world, resolved. Everything that does not depend on who asks, and memory of what was asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mesh.control.kube.world import World
from mesh.control.mesh_config import MeshConfig
from mesh.control.translate.actions import Names
from mesh.control.translate.bindings import Bindings
from mesh.control.translate.gateways import Gateways
from mesh.control.translate.scopes import NO_SCOPES, Scopes
from mesh.model.cluster import Cluster
from mesh.model.endpoint import LoadAssignment
from mesh.model.origin import Problem
from mesh.model.route import Route


@dataclass(frozen=True, slots=True)
class Graph:
    """clusters: of services, as sidecars without rules of their own have them. endpoints: EDS resources by cluster name.

    route_cache and memo keep what `project` has computed; a graph that differs in endpoints alone shares them.
    Concurrency: one thread.
    """

    world: World
    config: MeshConfig
    names: Names
    bindings: Bindings
    gateways: Gateways
    clusters: Mapping[str, Cluster]
    fixed: Mapping[str, Cluster]
    endpoints: Mapping[str, LoadAssignment]
    scopes: Scopes = NO_SCOPES
    routing_problems: tuple[Problem, ...] = ()
    endpoint_problems: tuple[Problem, ...] = ()
    route_cache: dict[Any, tuple[Route, ...]] = field(default_factory=dict, compare=False, repr=False)
    memo: dict[Any, Any] = field(default_factory=dict, compare=False, repr=False)

    def problems(self) -> tuple[Problem, ...]:
        """Everything that is wrong with anybody's object, without repetition."""
        everything = (*self.world.problems(), *self.routing_problems, *self.endpoint_problems)
        return tuple(dict.fromkeys(everything))
