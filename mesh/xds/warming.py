"""Warming: which of the resources that a client has accepted may be put in force (Envoy's rule, in one place).

A cluster waits for its endpoints and secrets, a listener for its routes and secrets. Until those are there, the last
warm version stays in force, or, if there is none, the resource stays out. What the server says does not exist, or
what was waited for long enough (Envoy: `initial_fetch_timeout`), counts as there and empty.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mesh.model.cluster import Cluster
from mesh.model.endpoint import LoadAssignment
from mesh.model.listener import Listener
from mesh.model.route import RouteConfig
from mesh.model.secret import Secret
from mesh.model.snapshot import Snapshot
from mesh.xds.kind import Kind
from mesh.xds.references import Model
from mesh.xds.resource import Ref


@dataclass(frozen=True, slots=True)
class Accepted:
    """A resource that was decoded, with what it takes to ask for it, store it and warm it."""

    value: Model
    version: str
    body: bytes
    refs: frozenset[Ref]

    def needs(self) -> Iterable[Ref]:
        """What must be there before it is in force. Clusters named by routes are not: that is 503 NC, not a wait."""
        return (ref for ref in self.refs if ref[0] is not Kind.CLUSTER)


class Warmer:
    """Remembers the warm version of every cluster and listener."""

    def __init__(self) -> None:
        self._clusters: dict[str, Accepted] = {}
        self._listeners: dict[str, Accepted] = {}

    def needed(self, accepted: Mapping[Kind, Mapping[str, Accepted]]) -> set[Ref]:
        """Names to ask for: what the newest versions refer to, and what those in force still do."""
        groups = (accepted[Kind.CLUSTER], accepted[Kind.LISTENER], self._clusters, self._listeners)
        return {ref for group in groups for held in group.values() for ref in held.needs()}

    def warm(self, accepted: Mapping[Kind, Mapping[str, Accepted]], empty: set[Ref]) -> tuple[Snapshot, set[Ref]]:
        """(what is in force now, what is missing). empty: names that count as there, without content."""
        there = {(kind, name) for kind, group in accepted.items() for name in group} | empty
        missing: set[Ref] = set()
        self._clusters = _in_force(accepted[Kind.CLUSTER], self._clusters, there, missing)
        self._listeners = _in_force(accepted[Kind.LISTENER], self._listeners, there, missing)
        used = {ref for group in (self._clusters, self._listeners) for held in group.values() for ref in held.needs()}
        clusters: dict[str, Cluster] = {}
        endpoints: dict[str, LoadAssignment] = {}
        listeners: dict[str, Listener] = {}
        routes: dict[str, RouteConfig] = {}
        secrets: dict[str, Secret] = {}
        for name, held in (*self._clusters.items(), *self._listeners.items()):
            match held.value:
                case Cluster():
                    clusters[name] = held.value
                case Listener():
                    listeners[name] = held.value
        for kind, name in sorted(used, key=lambda ref: ref[1]):
            found = accepted[kind].get(name)
            match found.value if found is not None else _empty(kind, name):
                case LoadAssignment() as assignment:
                    endpoints[name] = assignment
                case RouteConfig() as route_config:
                    routes[name] = route_config
                case Secret() as secret:
                    secrets[name] = secret
        return Snapshot(clusters, endpoints, listeners, routes, secrets), missing


def _in_force(
    newest: Mapping[str, Accepted], before: Mapping[str, Accepted], there: set[Ref], missing: set[Ref]
) -> dict[str, Accepted]:
    result: dict[str, Accepted] = {}
    for name, held in newest.items():
        lacks = [ref for ref in held.needs() if ref not in there]
        missing.update(lacks)
        if not lacks:
            result[name] = held
        elif name in before:
            result[name] = before[name]
    return result


def _empty(kind: Kind, name: str) -> Model | None:
    if kind is Kind.ENDPOINT:
        return LoadAssignment(name)
    if kind is Kind.ROUTE:
        return RouteConfig(name)
    return None
