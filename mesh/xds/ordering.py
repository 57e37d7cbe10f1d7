"""Ordering: what may be sent to, and taken from, a client without breaking what it has in force.

    a resource is sent only when every cluster that it names is usable at the client;
    a resource is taken away only when nothing that the client may have in force names it.

A cluster is usable once the client has ACKed some version of it and, for EDS clusters, has its endpoints. Nothing is
held for longer than `hold_seconds`, whatever the client fails to say.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from mesh.xds.kind import Kind
from mesh.xds.resource import Ref, Resource
from mesh.xds.subscription import Subscription

_NEVER = float("inf")


class Ordering:
    """Judges for one stream. Ask between `begin` and `end`: what was held in the last round and is not asked about in
    this one is no longer held.

    Args: subscriptions: the stream's own, read as they are at the time.
          find: the newest version of a resource, None = it is not to exist.
    """

    def __init__(
        self,
        subscriptions: Mapping[Kind, Subscription],
        find: Callable[[Kind, str], Resource | None],
        hold_seconds: float,
    ) -> None:
        self._subscriptions = subscriptions
        self._find = find
        self._hold_seconds = hold_seconds
        self._held: dict[tuple[str, Ref], float] = {}
        self._still_held: dict[tuple[str, Ref], float] = {}

    @property
    def deadline(self) -> float:
        """When the first hold ends; inf = nothing is held."""
        return min(self._held.values(), default=_NEVER)

    def begin(self) -> None:
        self._still_held = {}

    def end(self) -> None:
        self._held = self._still_held

    def may_send(self, resource: Resource, now: float) -> bool:
        if all(kind is not Kind.CLUSTER or self._is_usable(name) for kind, name in resource.refs):
            return True
        return self._hold_is_over("send", (resource.kind, resource.name), now)

    def _is_usable(self, cluster: str) -> bool:
        """The client can send requests to this cluster, or waiting for it is pointless."""
        clusters = self._subscriptions.get(Kind.CLUSTER)
        if clusters is None or not clusters.is_wildcard:
            return True
        resource = self._find(Kind.CLUSTER, cluster)
        if resource is None or cluster in clusters.unseen:
            return True
        if not clusters.is_settled(cluster):
            return False
        if cluster not in clusters.acked:
            return True
        endpoints = self._subscriptions.get(Kind.ENDPOINT)
        for kind, name in clusters.acked[cluster].refs:
            if kind is Kind.ENDPOINT and self._find(kind, name) is not None:
                if endpoints is None or not endpoints.is_settled(name):
                    return False
        return True

    def may_remove(self, ref: Ref, now: float) -> bool:
        if not self._is_referenced(ref):
            return True
        return self._hold_is_over("remove", ref, now)

    def _is_referenced(self, ref: Ref) -> bool:
        """Whether something that the client may have in force names it, as far as we can know."""
        if ref[0] is Kind.CLUSTER and self._is_listener_cold():
            return True
        for kind in _REFERRERS[ref[0]]:
            sub = self._subscriptions.get(kind)
            if sub is None:
                # Came back with clusters of an earlier stream, and what needs them is asked for next.
                if self._brought_along(ref) and (kind is not Kind.ROUTE or self._names_routes()):
                    return True
                continue
            if sub.unseen and self._brought_along(ref):
                return True
            if any(ref in resource.refs for resource in sub.held_by_client()):
                return True
        return False

    def _is_listener_cold(self) -> bool:
        """A listener waits for its routes at the client: until then its last version, unknown here, is in force."""
        listeners = self._subscriptions.get(Kind.LISTENER)
        routes = self._subscriptions.get(Kind.ROUTE)
        if listeners is None or not listeners.is_wildcard:
            return False
        return any(
            kind is Kind.ROUTE and self._find(kind, name) is not None and (routes is None or name not in routes.acked)
            for resource in listeners.acked.values()
            for kind, name in resource.refs
        )

    def _names_routes(self) -> bool:
        sub = self._subscriptions.get(Kind.LISTENER)
        return sub is None or any(kind is Kind.ROUTE for held in sub.held_by_client() for kind, _ in held.refs)

    def _brought_along(self, ref: Ref) -> bool:
        sub = self._subscriptions.get(ref[0])
        return sub is not None and sub.is_wildcard and ref[1] in sub.unseen

    def _hold_is_over(self, what: str, ref: Ref, now: float) -> bool:
        deadline = self._held.get((what, ref), now + self._hold_seconds)
        if now >= deadline:
            return True
        self._still_held[what, ref] = deadline
        return False


_REFERRERS: Mapping[Kind, tuple[Kind, ...]] = {
    Kind.CLUSTER: (Kind.LISTENER, Kind.ROUTE),
    Kind.ENDPOINT: (Kind.CLUSTER,),
    Kind.LISTENER: (),
    Kind.ROUTE: (Kind.LISTENER,),
    Kind.SECRET: (Kind.CLUSTER, Kind.LISTENER),
}
