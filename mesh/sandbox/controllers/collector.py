"""The garbage collector's shell: an index of who owns whom over every kind, custom ones included."""

import logging
from functools import partial
from typing import Any

import trio

from mesh.sandbox.controllers.discovery import Discovery
from mesh.sandbox.controllers.garbage import FOREGROUND, ORPHAN, Owner, Placed, as_dependent, as_owner, state_of
from mesh.sandbox.controllers.queue import Queue
from mesh.sandbox.controllers.shell import Shell
from mesh.sandbox.kubeclient import CRDS, ApiError, Resource, Unreachable

Json = dict[str, Any]
_log = logging.getLogger("garbage")
_RETRY_SECONDS = 1.0
_UNOWNED = frozenset({"events", "leases", "nodes", "namespaces", "endpoints", "componentstatuses", "customresourcedefinitions"})
"""Kinds that own nothing here and are owned by nobody, or by Services alone (Endpoints have their controller)."""


class Collector:
    """Concurrency: one `run` task; informers' callbacks in the same thread."""

    def __init__(self, shell: Shell, discovery: Discovery) -> None:
        self._shell, self._discovery = shell, discovery
        self.queue: Queue[str] = Queue("garbage", self._reconcile, workers=4)
        self._objects: dict[str, Placed] = {}
        self._dependents: dict[str, set[str]] = {}
        self._watched: dict[Resource, trio.CancelScope | None] = {}
        self._kinds_changed = trio.Event()
        shell.informer(CRDS).subscribe(lambda _old, _new: self._kinds_changed.set())

    async def run(self) -> None:
        """Follow every kind until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.queue.run)
            while True:
                changed = self._kinds_changed = trio.Event()
                try:
                    await self._follow_kinds(nursery)
                except (ApiError, Unreachable) as exc:
                    _log.info("discovery: %s", exc)
                    await trio.sleep(_RETRY_SECONDS)
                    continue
                await changed.wait()

    async def _follow_kinds(self, nursery: trio.Nursery) -> None:
        wanted = {r for r in await self._discovery.resources() if r.plural not in _UNOWNED}
        for resource in [resource for resource in self._watched if resource not in wanted]:
            scope = self._watched.pop(resource)
            if scope is not None:
                scope.cancel()
                self._shell.informers.pop(resource, None)
        for resource in wanted - self._watched.keys():
            known = resource in self._shell.informers
            informer = self._shell.informer(resource)
            informer.subscribe(partial(self._on_change, resource))
            self._watched[resource] = None
            if not known:
                self._watched[resource] = scope = trio.CancelScope()
                nursery.start_soon(_run_in, scope, informer.run)

    def _on_change(self, resource: Resource, old: Json | None, new: Json | None) -> None:
        for item, present in ((old, False), (new, True)):
            if item is not None:
                uid = item["metadata"]["uid"]
                for reference in item["metadata"].get("ownerReferences") or ():
                    bucket = self._dependents.setdefault(reference["uid"], set())
                    bucket.add(uid) if present else bucket.discard(uid)
        if new is None and old is not None:
            uid = old["metadata"]["uid"]
            self._objects.pop(uid, None)
            for dependent in self._dependents.pop(uid, ()):
                self.queue.add(dependent)
            for reference in old["metadata"].get("ownerReferences") or ():
                self.queue.add(reference["uid"])
        elif new is not None:
            meta = new["metadata"]
            self._objects[meta["uid"]] = (resource, new)
            finalizers = meta.get("finalizers") or ()
            if meta.get("ownerReferences") or ("deletionTimestamp" in meta and (FOREGROUND in finalizers or ORPHAN in finalizers)):
                self.queue.add(meta["uid"])

    async def _reconcile(self, uid: str) -> float | None:
        placed = self._objects.get(uid)
        if placed is None:
            return None
        resource, obj = placed
        dependents = [self._objects[item] for item in self._dependents.get(uid, ()) if item in self._objects]
        await self._shell.execute(as_owner(resource, obj, dependents))
        if "deletionTimestamp" in obj["metadata"]:
            if FOREGROUND in (obj["metadata"].get("finalizers") or ()):
                for item in self._dependents.get(uid, ()):
                    self.queue.add(item)
            return None
        owners = {}
        for reference in obj["metadata"].get("ownerReferences") or ():
            owners[reference["uid"]] = await self._owner(obj, reference)
        await self._shell.execute(as_dependent(resource, obj, owners))
        return None

    async def _owner(self, obj: Json, reference: Json) -> Owner:
        if reference["uid"] in self._objects:
            return state_of(self._objects[reference["uid"]][1], reference["uid"])
        # Not in our copies: they may be late. Only the API server's word is enough to delete something.
        resource = await self._discovery.find(reference["apiVersion"], reference["kind"])
        if resource is None:
            return Owner.ALIVE  # a kind that is not served (its CRD may come back): nothing is deleted on a guess
        namespace = obj["metadata"].get("namespace", "") if resource.namespaced else ""
        try:
            return state_of(await self._shell.client.get(resource, namespace, reference["name"]), reference["uid"])
        except ApiError as exc:
            if exc.code == 404:
                return Owner.GONE
            raise


async def _run_in(scope: trio.CancelScope, run: Any) -> None:
    with scope:
        await run()
