"""Graph: the world, resolved. Everything that does not depend on who asks, and memory of what was asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mesh.control.kube.world import World
from mesh.control.mesh_config import MeshConfig
from mesh.control.translate.actions import Names
from mesh.control.translate.authentication import NO_AUTHENTICATION, Authentication
from mesh.control.translate.bindings import Bindings
from mesh.control.translate.gateways import Gateways
from mesh.control.translate.mesh_tls import MeshTls
from mesh.control.translate.peers import Key, Peers
from mesh.control.translate.scopes import NO_SCOPES, Scopes
from mesh.model.cluster import Cluster
from mesh.model.endpoint import LoadAssignment
from mesh.model.origin import Problem
from mesh.model.route import Route

CLUSTERS_MEMO = "clusters"
"""First part of those keys of a graph's memo whose values depend on who is behind the services."""


@dataclass(frozen=True, slots=True)
class Graph:
    """clusters, identified: of services, as proxies without and with an identity have them when their namespace has no
    rules of its own. endpoints: EDS resources by cluster name. peers: who is behind the services' ports.

    route_cache and memo keep what `project` has computed; a graph that differs in endpoints alone shares them.
    Concurrency: one thread.
    """

    world: World
    config: MeshConfig
    names: Names
    bindings: Bindings
    gateways: Gateways
    clusters: Mapping[str, Cluster]
    identified: Mapping[str, Cluster]
    fixed: Mapping[str, Cluster]
    endpoints: Mapping[str, LoadAssignment]
    scopes: Scopes = NO_SCOPES
    authentication: Authentication = NO_AUTHENTICATION
    peers: Mapping[Key, Peers] = field(default_factory=dict)
    routing_problems: tuple[Problem, ...] = ()
    endpoint_problems: tuple[Problem, ...] = ()
    route_cache: dict[Any, tuple[Route, ...]] = field(default_factory=dict, compare=False, repr=False)
    memo: dict[Any, Any] = field(default_factory=dict, compare=False, repr=False)

    def mesh_tls(self, has_identity: bool) -> MeshTls:
        """What proxies with or without an identity do about mesh TLS."""
        return MeshTls(has_identity, self.config.auto_mtls, self.peers)

    def problems(self) -> tuple[Problem, ...]:
        """Everything that is wrong with anybody's object, without repetition."""
        everything = (*self.world.problems(), *self.routing_problems, *self.endpoint_problems)
        return tuple(dict.fromkeys(everything))
