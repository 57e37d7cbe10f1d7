"""Cleanup: when a CustomResourceDefinition is being deleted, its objects go first, then its finalizer, then itself.

Event-driven: woken by changes of definitions and of objects of those that are ending (their own finalizers may take a while).
"""

from __future__ import annotations

import copy
import logging
from datetime import datetime

import trio

from mesh.sandbox.apiserver import crd, deletion, status
from mesh.sandbox.apiserver.cluster import Cluster
from mesh.sandbox.apiserver.registry import Resource
from mesh.sandbox.apiserver.storage import Change, Key, Stale, Stored

log = logging.getLogger("mesh.sandbox.apiserver.cleanup")


class Cleaner:
    """Concurrency: one task runs `run`."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._wake = trio.Event()
        self._wake.set()  # definitions that were ending when the server last stopped
        self._ending: set[str] = set()
        cluster.store.on_change.append(self._on_change)

    def _on_change(self, change: Change) -> None:
        if change.key.resource == crd.KEY or change.key.resource in self._ending:
            self._wake.set()

    async def run(self) -> None:
        """Clean up for ever."""
        while True:
            await self._wake.wait()
            self._wake = trio.Event()
            for (_, name), stored in self._cluster.store.items(crd.KEY):
                if stored.obj["metadata"].get("deletionTimestamp") and crd.CLEANUP in (stored.obj["metadata"].get("finalizers") or ()):
                    self._ending.add(name)
                    try:
                        await self._clean(name, stored)
                    except (Stale, status.ApiError) as exc:
                        log.info("cleaning up %s is tried again: %s", name, exc)
                        self._wake.set()

    async def _clean(self, name: str, definition: Stored) -> None:
        store, now = self._cluster.store, self._cluster.clock()
        rows = self._cluster.registry.versions(name) or crd.rows(definition.obj)
        for place, stored in store.items(name):
            await self._delete(Key(name, *place), stored, rows[0], now)
        if store.items(name):
            return  # finalizers of others hold some: their going wakes us
        obj = copy.deepcopy(definition.obj)
        obj["metadata"]["finalizers"] = [f for f in obj["metadata"]["finalizers"] if f != crd.CLEANUP]
        if obj["metadata"]["finalizers"]:
            await store.put(Key(crd.KEY, "", name), obj, definition)
        else:
            await store.delete(Key(crd.KEY, "", name), obj, definition)
            self._ending.discard(name)

    async def _delete(self, key: Key, stored: Stored, resource: Resource, now: datetime) -> None:
        verdict = deletion.decide(stored.obj, resource, deletion.Options(), now)
        if verdict.obj is None:
            return
        await (self._cluster.store.delete if verdict.gone else self._cluster.store.put)(key, verdict.obj, stored)
