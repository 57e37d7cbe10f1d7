"""Publisher: the current graph, and from it every node's snapshot. The ADS server's `SnapshotSource`."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace

from mesh.control.kube.world import Changes, WorldStore
from mesh.control.mesh_config import ProxySettings, node_settings
from mesh.control.metrics import MetricsRegistry
from mesh.control.translate import proxyless
from mesh.control.translate.build import build
from mesh.control.translate.graph import Graph
from mesh.control.translate.project import project
from mesh.model.node import Node
from mesh.model.origin import Problem, Severity
from mesh.model.snapshot import EMPTY_SNAPSHOT, Snapshot

_log = logging.getLogger(__name__)


class Publisher:
    """Concurrency: one thread. Snapshots of a node are kept until the graph or the node's description changes."""

    def __init__(self, store: WorldStore, metrics: MetricsRegistry, system_namespace: str) -> None:
        self._store = store
        self._metrics = metrics
        self._system_namespace = system_namespace
        self._graph: Graph | None = None
        self._snapshots: dict[str, tuple[Node, Snapshot]] = {}
        self._subscribers: dict[object, Callable[[], None]] = {}
        self._problems: frozenset[Problem] = frozenset()
        self._withheld: dict[str, tuple[str, ...]] = {}
        self._node_settings: dict[str, tuple[str, ...]] = {}

    @property
    def ready(self) -> bool:
        """False until the first graph: streams are refused, nothing half-synced is served."""
        return self._graph is not None

    @property
    def graph(self) -> Graph | None:
        return self._graph

    def subscribe(self, callback: Callable[[], None]) -> Callable[[], None]:
        """`callback()` after every rebuild; returns what ends the subscription."""
        token = object()
        self._subscribers[token] = callback
        return lambda: self._subscribers.pop(token, None) and None

    def snapshot_for(self, node: Node) -> Snapshot:
        """The node's whole configuration as of now."""
        if self._graph is None:
            return EMPTY_SNAPSHOT
        kept = self._snapshots.get(node.id)
        if kept is not None and kept[0] == node:
            return kept[1]
        self._note_settings(node)
        snapshot = self._without_secrets(node, project(self._graph, node))
        self._snapshots[node.id] = (node, snapshot)
        return snapshot

    def named_listener(self, node: Node, name: str) -> Snapshot | None:
        """For proxyless gRPC: what the target `name` needs."""
        return None if self._graph is None else proxyless.named_listener(self._graph, node, name)

    def rebuild(self) -> Changes:
        """Builds the graph of what the store holds now and tells the subscribers. Returns what had changed."""
        world, changes = self._store.take()
        if self._graph is not None and not changes:
            return changes
        started = time.perf_counter()
        self._graph = build(world, self._graph, changes, self._system_namespace)
        self._snapshots.clear()
        self._metrics.observe("pilot_build_time", time.perf_counter() - started)
        for kind in sorted(changes.kinds):
            self._metrics.count("pilot_push_triggers", (("type", kind),))
        self._report(self._graph)
        for callback in list(self._subscribers.values()):
            callback()
        return changes

    def _without_secrets(self, node: Node, snapshot: Snapshot) -> Snapshot:
        """Keys go to nobody who has not shown who he is: to him the secrets do not exist."""
        if node.has_identity or not snapshot.secrets:
            return snapshot
        names = tuple(sorted(snapshot.secrets))
        if self._withheld.get(node.id) != names:
            _log.warning("%s is not sent the secrets %s: its stream has no identity (port 15012)", node.id, ", ".join(names))
            self._withheld[node.id] = names
        return replace(snapshot, secrets={})

    def _note_settings(self, node: Node) -> None:
        """Says once per node what of its own settings cannot be used (the mesh's hold instead)."""
        _, wrong = node_settings(ProxySettings(), node.metadata.get("PROXY_CONFIG"))
        if wrong != self._node_settings.get(node.id, ()):
            for message in wrong:
                _log.warning("%s: %s; the mesh's settings hold", node.id, message)
            self._node_settings[node.id] = wrong

    def _report(self, graph: Graph) -> None:
        problems = graph.problems()
        self._metrics.gauge("pilot_services", len(graph.names.registry.services))
        for severity in Severity:
            amount = sum(problem.severity is severity for problem in problems)
            self._metrics.gauge("pilot_problems", amount, (("severity", severity.value),))
        for problem in problems:
            if problem not in self._problems:
                level = logging.WARNING if problem.severity is Severity.ERROR else logging.INFO
                _log.log(level, "%s %s: %s (%s)", problem.ref, problem.field, problem.message, problem.reason)
        self._problems = frozenset(problems)
