"""Watchers: one task per kind keeps a store (the WorldStore) equal to the API server: list, then watch, for ever.

Listing -> Watching   the list has replaced the kind in the store; the kind is synced from here on
Watching -> Watching  the server ended the stream, or the connection broke: watch again from the last resourceVersion
Watching -> Listing   410 Gone, any other refusal, or the periodic comparison is due
Listing -> Listing    403 of a kind that has no effect here: it counts as synced, and is tried again
Listing -> Absent     404: the CRD is not there; the kind counts as synced and empty until a CRD event wakes it
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from mesh.control.kube import kinds
from mesh.control.kube.client import KubeClient, KubeError
from mesh.control.kube.kinds import Kind

_log = logging.getLogger(__name__)

FIRST_RETRY_SECONDS = 0.2
MAX_RETRY_SECONDS = 30.0
# A watch that silently lost an event is the worst of bugs (linkerd2#11480): compare with a fresh list now and then.
RELIST_SECONDS = 1800.0


class Metrics(Protocol):
    def count(self, name: str, labels: tuple[tuple[str, str], ...] = (), by: int = 1) -> None: ...

    def gauge(self, name: str, value: float, labels: tuple[tuple[str, str], ...] = ()) -> None: ...


class Store(Protocol):
    """Where objects go, as the API server sends them. Each says whether (how many) anything that matters changed."""

    def put(self, kind: Kind, item: Mapping[str, Any]) -> bool: ...

    def remove(self, kind: Kind, key: tuple[str, str]) -> bool: ...

    def replace(self, kind: Kind, items: Iterable[Mapping[str, Any]]) -> int: ...


@dataclass(frozen=True, slots=True)
class Scope:
    """Which part of a kind is watched: one namespace ("" = all) and a query such as a field selector."""

    namespace: str = ""
    query: Mapping[str, str] | None = None


class Watchers:
    """Runs all watches. `on_change` is called after each event that changed the store; `synced` after all first lists."""

    def __init__(
        self,
        client: KubeClient,
        store: Store,
        on_change: Callable[[], None],
        metrics: Metrics,
        scopes: Mapping[Kind, Scope] | None = None,
        rng: random.Random | None = None,
        watched: tuple[Kind, ...] = kinds.KINDS,
    ) -> None:
        self._client = client
        self._store = store
        self._on_change = on_change
        self._metrics = metrics
        self._scopes = scopes or {}
        self._rng = rng or random.Random()
        self._watched = watched
        self._unsynced = set(watched)
        self._crd_events: dict[Kind, asyncio.Event] = {kind: asyncio.Event() for kind in watched}
        self.synced = asyncio.Event()
        self.versions: dict[Kind, str] = {}
        """The API version that a kind is read at; "" while its CRD is absent."""

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            for kind in self._watched:
                group.create_task(self._keep(kind), name=f"watch {kind}")

    async def _keep(self, kind: Kind) -> None:
        delay = FIRST_RETRY_SECONDS
        while True:
            try:
                await self._follow(kind)
                delay = FIRST_RETRY_SECONDS
                continue
            except KubeError as error:
                if error.status == 404 and kind.is_optional:
                    await self._absent(kind)
                    continue
                if error.status == 410:
                    _log.info("watch of %s is too old, listing again", kind)
                    self._metrics.count("pilot_k8s_watch_relists", (("type", kind.name),))
                    delay = FIRST_RETRY_SECONDS
                else:
                    if error.status == 403 and kind in kinds.UNENFORCED:
                        # No resource depends on these, only their status: an older ClusterRole must not keep us from serving.
                        self._mark_synced(kind)
                    _log.warning("cannot follow %s: %s; again in %.1f s", kind, error, delay)
            # Jitter, so that a restarted API server is not met by everybody at once.
            await asyncio.sleep(delay * self._rng.uniform(0.5, 1.0))
            delay = min(delay * 2, MAX_RETRY_SECONDS)

    async def _follow(self, kind: Kind) -> None:
        """List, then watch until a relist is due. Raises KubeError."""
        scope = self._scopes.get(kind, Scope())
        # Cleared before the list: a CRD that appears while it is answered 404 is not missed.
        self._crd_events[kind].clear()
        path, version = await self._list(kind, scope)
        relist_at = time.monotonic() + RELIST_SECONDS * self._rng.uniform(0.8, 1.2)
        failures = 0
        while time.monotonic() < relist_at:
            try:
                async for event in self._client.watch(path, version, scope.query):
                    failures = 0
                    version = self._handle(kind, event) or version
            except KubeError as error:
                # A broken connection loses nothing: the next watch starts where this one ended.
                if error.status or failures >= 5:
                    raise
                failures += 1
                await asyncio.sleep(FIRST_RETRY_SECONDS * 2**failures * self._rng.uniform(0.5, 1.0))

    async def _list(self, kind: Kind, scope: Scope) -> tuple[str, str]:
        """Lists at the best version served and replaces the kind in the store; (path, resourceVersion) to watch from."""
        refused: KubeError | None = None
        for version in kind.versions:
            path = kind.path(version, scope.namespace)
            try:
                items, resource_version = await self._client.list(path, scope.query)
            except KubeError as error:
                if error.status != 404:
                    raise
                refused = error
                continue
            differing = self._store.replace(kind, items)
            self.versions[kind] = version
            self._mark_synced(kind)
            if differing:
                self._on_change()
            return path, resource_version
        assert refused is not None
        raise refused

    async def _absent(self, kind: Kind) -> None:
        self.versions[kind] = ""
        if self._store.replace(kind, ()):
            self._on_change()
        self._mark_synced(kind)
        _log.info("%s is not served; waiting for its CustomResourceDefinition", kind)
        await self._crd_events[kind].wait()

    def _mark_synced(self, kind: Kind) -> None:
        self._unsynced.discard(kind)
        if not self._unsynced and not self.synced.is_set():
            self.synced.set()
            self._on_change()

    def _handle(self, kind: Kind, event: Mapping[str, Any]) -> str:
        """Applies one event; returns its resourceVersion."""
        item = event.get("object") or {}
        metadata = item.get("metadata") or {}
        action = event.get("type")
        if action == "BOOKMARK":
            self._metrics.gauge("pilot_k8s_watch_last_event_seconds", time.time(), (("type", kind.name),))
            return metadata.get("resourceVersion") or ""
        label = {"ADDED": "add", "MODIFIED": "update", "DELETED": "delete"}.get(str(action), "other")
        self._metrics.count("pilot_k8s_reg_events", (("type", kind.name), ("event", label)))
        self._metrics.gauge("pilot_k8s_watch_last_event_seconds", time.time(), (("type", kind.name),))
        if action == "DELETED":
            has_changed = self._store.remove(kind, (metadata.get("namespace") or "", metadata.get("name") or ""))
        elif action in ("ADDED", "MODIFIED"):
            has_changed = self._store.put(kind, item)
        else:
            _log.warning("watch of %s sent an event of unknown type %r", kind, action)
            return ""
        if kind is kinds.CRD:
            self._wake(item)
        if has_changed and kind is not kinds.CRD:
            self._on_change()
        return metadata.get("resourceVersion") or ""

    def _wake(self, item: Mapping[str, Any]) -> None:
        """A CRD appeared or changed: the kind that waits for it is tried again."""
        spec = item.get("spec") or {}
        plural = (spec.get("names") or {}).get("plural")
        for kind, event in self._crd_events.items():
            if kind.group == spec.get("group") and kind.plural == plural:
                event.set()
