"""StatefulSets."""

from typing import Any

from mesh.sandbox.controllers import statefulset
from mesh.sandbox.kubeclient import PODS, STATEFUL_SETS
from tests.support.sandbox_controllers import World, make_ready, settle, template


def make(world: World, replicas: int, **spec: Any) -> dict[str, Any]:
    body = {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db"}}
    return world.add({**body, "spec": {"replicas": replicas, "serviceName": "db", "template": template(), **spec}})


def step(world: World) -> bool:
    return world.execute(statefulset.plan(world.get(STATEFUL_SETS, "db"), world.all(PODS), 0.0))


def run(world: World) -> list[str]:
    """Until nothing changes; one pod becomes ready per round. Returns the order in which names appeared."""
    order: list[str] = []

    def once() -> bool:
        changed = step(world)
        for pod in world.all(PODS):
            if pod["metadata"]["uid"] not in order:
                order.append(pod["metadata"]["uid"])
            if "status" not in pod:
                make_ready(pod)
                return True
        return changed

    settle(once)
    return order


def names(world: World) -> list[str]:
    return [pod["metadata"]["name"] for pod in world.all(PODS)]


def test_pods_come_one_after_the_other() -> None:
    world = World()
    make(world, 3)
    step(world)
    assert names(world) == ["db-0"]
    step(world)
    assert names(world) == ["db-0"]
    run(world)
    assert names(world) == ["db-0", "db-1", "db-2"]
    assert world.get(PODS, "db-1")["spec"]["hostname"] == "db-1"


def test_parallel_pods_come_together() -> None:
    world = World()
    make(world, 3, podManagementPolicy="Parallel")
    step(world)
    assert names(world) == ["db-0", "db-1", "db-2"]


def test_the_highest_goes_first() -> None:
    world = World()
    found = make(world, 3)
    run(world)
    found["spec"]["replicas"] = 1
    step(world)
    assert names(world) == ["db-0", "db-1"]
    run(world)
    assert names(world) == ["db-0"]


def test_an_update_replaces_one_pod_at_a_time_from_the_top() -> None:
    world = World()
    found = make(world, 2)
    run(world)
    found["spec"]["template"] = template("2")
    step(world)
    assert names(world) == ["db-0"]
    run(world)
    assert {pod["spec"]["containers"][0]["image"] for pod in world.all(PODS)} == {"image:2"}
    assert found["status"]["currentRevision"] == found["status"]["updateRevision"]


def test_a_broken_update_can_be_repaired() -> None:
    world = World()
    found = make(world, 1)
    step(world)
    found["spec"]["template"] = template("2")
    settle(lambda: step(world))
    assert world.get(PODS, "db-0")["spec"]["containers"][0]["image"] == "image:2"


def test_storage_is_refused_aloud() -> None:
    world = World()
    make(world, 1, volumeClaimTemplates=[{}])
    step(world)
    assert "no storage provisioner" in world.notes[0].message and names(world) == []
