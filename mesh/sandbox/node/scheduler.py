"""Bind unscheduled pods to this node."""

import logging
from typing import Any

import trio

from mesh.sandbox.events import EventRecorder
from mesh.sandbox.informer import Informer
from mesh.sandbox.kubeclient import PODS, ApiError, KubeClient, Unreachable
from mesh.sandbox.node.schedule import why_not
from mesh.sandbox.times import stamp

Json = dict[str, Any]
_log = logging.getLogger("scheduler")
_RETRY_SECONDS = 0.5


class Scheduler:
    """Concurrency: one `run` task, binding a few pods at once."""

    def __init__(self, client: KubeClient, pods: Informer, nodes: Informer, events: EventRecorder, now: Any) -> None:
        self._client, self._pods, self._nodes, self._events, self._now = client, pods, nodes, events, now
        self._wake = trio.Event()
        self._said: dict[str, str] = {}

    async def run(self, name: str) -> None:
        """Look at every waiting pod when pods or the node change."""
        self._pods.subscribe(self._on_pod)
        self._nodes.subscribe(lambda _old, _new: self._wake.set())
        while True:
            await self._wake.wait()
            self._wake = trio.Event()
            node = self._nodes.get("", name)
            waiting = [pod for pod in self._pods.all() if _is_waiting(pod)]
            if node is None:
                continue
            async with trio.open_nursery() as nursery:
                for pod in waiting:
                    nursery.start_soon(self._consider, pod, node)

    def _on_pod(self, old: Json | None, new: Json | None) -> None:
        if new is None and old is not None:
            self._said.pop(old["metadata"]["uid"], None)
        elif new is not None and _is_waiting(new):
            self._wake.set()

    async def _consider(self, pod: Json, node: Json) -> None:
        meta = pod["metadata"]
        try:
            reason = why_not(pod, node)
            if reason is not None:
                await self._refuse(pod, reason)
                return
            target = {"apiVersion": "v1", "kind": "Node", "name": node["metadata"]["name"]}
            body = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": meta["name"], "uid": meta["uid"]}, "target": target}
            await self._client.create(PODS, meta["namespace"], body, name=meta["name"], sub="binding")
        except ApiError as exc:
            if exc.code not in (404, 409):  # deleted or bound meanwhile
                _log.warning("bind %s/%s: %s", meta["namespace"], meta["name"], exc)
            return
        except Unreachable as exc:
            _log.info("bind %s/%s: %s", meta["namespace"], meta["name"], exc)
            await trio.sleep(_RETRY_SECONDS)
            self._wake.set()
            return
        message = f"Successfully assigned {meta['namespace']}/{meta['name']} to {node['metadata']['name']}"
        self._events.record(pod, "Normal", "Scheduled", message)

    async def _refuse(self, pod: Json, reason: str) -> None:
        meta = pod["metadata"]
        if self._said.get(meta["uid"]) == reason:
            return
        self._said[meta["uid"]] = reason
        why = "Unschedulable" if reason else "SchedulingGated"
        message = reason or "Scheduling is blocked due to non-empty scheduling gates"
        condition = {"type": "PodScheduled", "status": "False", "reason": why, "message": message, "lastTransitionTime": stamp(self._now())}
        await self._client.patch(PODS, meta["namespace"], meta["name"], {"status": {"conditions": [condition]}}, sub="status", kind="strategic")
        if reason:
            self._events.record(pod, "Warning", "FailedScheduling", reason)


def _is_waiting(pod: Json) -> bool:
    return not pod["spec"].get("nodeName") and "deletionTimestamp" not in pod["metadata"]
