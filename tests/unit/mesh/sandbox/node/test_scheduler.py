"""Pods bound to the node, or told why not, in a real API."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio
import trio.testing

from mesh.sandbox.events import EventRecorder
from mesh.sandbox.informer import Informer
from mesh.sandbox.kubeclient import EVENTS, NODES, PODS, KubeClient
from mesh.sandbox.node.scheduler import Scheduler
from tests.support.node import api_client, until

Json = dict[str, Any]
NOW = 1_767_225_600.0


class Bound:
    def __init__(self, client: KubeClient, pods: Informer, events: Informer) -> None:
        self.client, self.pods, self.events = client, pods, events

    async def create(self, name: str, **spec: Any) -> None:
        body = {"containers": [{"name": "c", "image": "busybox"}], "automountServiceAccountToken": False, **spec}
        await self.client.create(PODS, "default", {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": body})

    async def node(self, pod: str) -> str:
        """Where a pod is, once it is somewhere."""
        found = await until(self.pods, pod, lambda item: bool((item or {}).get("spec", {}).get("nodeName")))
        return str((found or {})["spec"]["nodeName"])

    async def condition(self, pod: str) -> Json:
        """The pod's PodScheduled condition, once it has one."""
        found: list[Json] = []

        def has(item: Json | None) -> bool:
            found[:] = [c for c in (item or {}).get("status", {}).get("conditions") or () if c["type"] == "PodScheduled"]
            return bool(found)

        await until(self.pods, pod, has)
        return found[0]

    async def reasons(self, pod: str, count: int) -> list[str]:
        """Reasons of the Events about a pod, once there are `count`."""
        found: list[str] = []

        def enough(_: Json | None) -> bool:
            found[:] = sorted(e["reason"] for e in self.events.all() if e["involvedObject"]["name"] == pod)
            return len(found) >= count

        await until(self.events, "", enough)
        return found


@asynccontextmanager
async def scheduler(directory: Path) -> AsyncIterator[Bound]:
    async with api_client(directory) as client, trio.open_nursery() as nursery:
        informers = {resource: Informer(client, resource) for resource in (PODS, NODES, EVENTS)}
        events = EventRecorder(client, "default-scheduler", "", lambda: NOW)
        for run in (events.run, *(informer.run for informer in informers.values())):
            nursery.start_soon(run)
        nursery.start_soon(Scheduler(client, informers[PODS], informers[NODES], events, lambda: NOW).run, "node")
        yield Bound(client, informers[PODS], informers[EVENTS])
        await trio.testing.wait_all_tasks_blocked(0.02)
        nursery.cancel_scope.cancel()


async def add_node(client: KubeClient) -> None:
    await client.create(NODES, "", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node"}})


async def test_pods_wait_for_the_node_and_are_bound_when_it_is_there(tmp_path: Path) -> None:
    async with scheduler(tmp_path) as here:
        await here.create("early")
        await add_node(here.client)
        await here.create("late")
        assert [await here.node(name) for name in ("early", "late")] == ["node", "node"]
        assert await here.reasons("late", 1) == ["Scheduled"]


async def test_a_pod_that_does_not_fit_is_told_once_and_bound_when_it_does(tmp_path: Path) -> None:
    async with scheduler(tmp_path) as here:
        await add_node(here.client)
        await here.create("picky", nodeSelector={"disk": "fast"})
        told = await here.condition("picky")
        assert (told["status"], told["reason"], told["lastTransitionTime"]) == ("False", "Unschedulable", "2026-01-01T00:00:00Z")
        assert "didn't match Pod's node affinity/selector" in told["message"]
        await here.client.patch(NODES, "", "node", {"metadata": {"labels": {"other": "x"}}})  # looked at again, and nothing new to say
        await here.client.patch(NODES, "", "node", {"metadata": {"labels": {"disk": "fast"}}})
        assert await here.node("picky") == "node"
        assert await here.reasons("picky", 2) == ["FailedScheduling", "Scheduled"]
        event = next(e for e in here.events.all() if e["reason"] == "FailedScheduling")
        assert event["count"] == 1


async def test_a_gate_holds_a_pod_without_a_warning(tmp_path: Path) -> None:
    async with scheduler(tmp_path) as here:
        await add_node(here.client)
        await here.create("gated", schedulingGates=[{"name": "example.com/wait"}])
        assert (await here.condition("gated"))["reason"] == "SchedulingGated"
        await here.client.patch(PODS, "default", "gated", {"spec": {"schedulingGates": None}})
        assert await here.node("gated") == "node"
        assert await here.reasons("gated", 1) == ["Scheduled"]
