"""The ConfigMaps and Secrets that this node's pods refer to: one watch for each, while a pod refers to it.

A kubelet may read no others: the Node authorizer of a real API server knows which pods are on which node, and what they refer to.
"""

from collections.abc import Iterator
from typing import Any

import trio

from mesh.sandbox.informer import Informer, OnChange
from mesh.sandbox.kubeclient import KubeClient, Resource
from mesh.sandbox.node.volumes import references

Json = dict[str, Any]
Reference = tuple[str, str, str]
"""(kind, namespace, name)"""
_QUEUE = 1 << 16
"""References begun and not yet followed: 250 pods of a node with what a pod can hold."""


def references_of(pod: Json) -> set[Reference]:
    """What a pod's volumes and environments refer to, optional or not. Source: v1.PodSpec, v1.EnvVarSource, v1.EnvFromSource."""
    namespace = pod["metadata"]["namespace"]
    return {(kind, namespace, name) for kind, name in _named(pod["spec"]) if name}


class References:
    """All references to one kind. Concurrency: one `run` task; the rest from anywhere in the trio thread."""

    def __init__(self, client: KubeClient, resource: Resource, on_change: OnChange) -> None:
        self._client, self._resource, self._on_change = client, resource, on_change
        self._held: dict[str, set[Reference]] = {}
        self._informers: dict[Reference, tuple[Informer, trio.CancelScope]] = {}
        self._send, self._receive = trio.open_memory_channel[tuple[Informer, trio.CancelScope]](_QUEUE)

    def get(self, namespace: str, name: str) -> Json | None:
        """The object; None when there is none, or nobody holds it."""
        found = self._informers.get((self._resource.kind, namespace, name))
        return None if found is None else found[0].get(namespace, name)

    def hold(self, pod: Json) -> None:
        """Follow what the pod refers to, besides what it referred to before, until `release`."""
        held = self._held.setdefault(pod["metadata"]["uid"], set())
        for reference in references_of(pod) - held:
            if reference[0] != self._resource.kind:
                continue
            held.add(reference)
            if reference not in self._informers:
                informer = Informer(self._client, self._resource, reference[1], fieldSelector=f"metadata.name={reference[2]}")
                informer.subscribe(self._on_change)
                self._informers[reference] = made = informer, trio.CancelScope()
                self._send.send_nowait(made)

    async def synced(self, uid: str) -> None:
        """Wait until it is known of everything that the pod refers to whether it is there."""
        for reference in list(self._held.get(uid, ())):
            await self._informers[reference][0].synced.wait()

    def release(self, uid: str) -> None:
        """The pod is gone; what nobody else refers to is followed no more."""
        mine = self._held.pop(uid, set())
        for reference in mine - {reference for held in self._held.values() for reference in held}:
            self._informers.pop(reference)[1].cancel()

    async def run(self) -> None:
        """Until cancelled."""
        async with trio.open_nursery() as nursery:
            async for informer, scope in self._receive:
                nursery.start_soon(_follow, informer, scope)


async def _follow(informer: Informer, scope: trio.CancelScope) -> None:
    with scope:
        await informer.run()


def _named(spec: Json) -> Iterator[tuple[str, str]]:
    for volume in spec.get("volumes") or ():
        yield from references(volume)
    for field in ("initContainers", "containers", "ephemeralContainers"):
        for container in spec.get(field) or ():
            for source in container.get("envFrom") or ():
                yield from _pairs(source, "configMapRef", "secretRef")
            for variable in container.get("env") or ():
                yield from _pairs(variable.get("valueFrom") or {}, "configMapKeyRef", "secretKeyRef")


def _pairs(source: Json, config_map: str, secret: str) -> Iterator[tuple[str, str]]:
    for kind, field in (("ConfigMap", config_map), ("Secret", secret)):
        if field in source:
            yield kind, source[field].get("name", "")
