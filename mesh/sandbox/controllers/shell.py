"""Carry out plans through the API."""

import logging
from collections.abc import Callable

from mesh.sandbox.controllers.plan import Action, Create, Delete, Json, Note, Patch, Plan, controller_of
from mesh.sandbox.events import EventRecorder
from mesh.sandbox.informer import Informer
from mesh.sandbox.kubeclient import PODS, ApiError, KubeClient, Resource

_log = logging.getLogger("controllers")


class Shell:
    """What all controllers share: the client, the informers, and how actions are carried out."""

    def __init__(self, client: KubeClient, events: EventRecorder, clock: Callable[[], float]) -> None:
        self.client, self.events, self.clock = client, events, clock
        self.informers: dict[Resource, Informer] = {}

    def informer(self, resource: Resource) -> Informer:
        """The shared informer of a kind."""
        if resource not in self.informers:
            self.informers[resource] = Informer(self.client, resource)
        return self.informers[resource]

    async def execute(self, plan: Plan, owner: Json | None = None) -> float | None:
        """Do every action in order; returns when to look again. Answers go into the informers at once.

        Raises: ApiError, Unreachable: the rest is not done; the next reconciliation plans anew.
        """
        for action in plan.actions:
            await self._do(action, owner)
        return plan.again_seconds

    async def _do(self, action: Action, owner: Json | None) -> None:
        match action:
            case Create(resource, body, ignore_existing):
                await self._create(resource, body, ignore_existing, owner)
            case Delete(resource, obj, propagation):
                meta = obj["metadata"]
                await self.client.delete(resource, meta.get("namespace", ""), meta["name"], uid=meta["uid"], propagation=propagation)
            case Patch(resource, obj, body, sub):
                meta = obj["metadata"]
                try:
                    self._keep(resource, await self.client.patch(resource, meta.get("namespace", ""), meta["name"], body, sub=sub))
                except ApiError as exc:
                    if exc.code != 404:
                        raise
            case Note(obj, kind, reason, message):
                self.events.record(obj, kind, reason, message)

    async def _create(self, resource: Resource, body: Json, ignore_existing: bool, owner: Json | None) -> None:
        try:
            made = await self.client.create(resource, body["metadata"].get("namespace", ""), body)
        except ApiError as exc:
            if exc.code == 409 and ignore_existing:
                return
            if owner is not None and resource is PODS:
                self.events.record(owner, "Warning", "FailedCreate", f"Error creating: {exc.message}")
            raise
        self._keep(resource, made)
        if owner is not None and resource is PODS and controller_of(made) is not None:
            self.events.record(owner, "Normal", "SuccessfulCreate", f"Created pod: {made['metadata']['name']}")

    def _keep(self, resource: Resource, item: Json) -> None:
        informer = self.informers.get(resource)
        if informer is not None and item.get("kind") == resource.kind:
            informer.put(item)
