"""Snapshot: everything one node is to have, of one moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mesh.model.cluster import Cluster
from mesh.model.endpoint import LoadAssignment
from mesh.model.listener import Listener
from mesh.model.route import RouteConfig
from mesh.model.secret import Secret


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Resources by name. Never mutated after construction; readers keep a reference for as long as they like."""

    clusters: Mapping[str, Cluster] = field(default_factory=dict)
    endpoints: Mapping[str, LoadAssignment] = field(default_factory=dict)
    listeners: Mapping[str, Listener] = field(default_factory=dict)
    routes: Mapping[str, RouteConfig] = field(default_factory=dict)
    secrets: Mapping[str, Secret] = field(default_factory=dict)


EMPTY_SNAPSHOT = Snapshot()
