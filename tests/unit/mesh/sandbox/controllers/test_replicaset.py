"""ReplicaSets."""

from typing import Any

from mesh.sandbox.controllers import replicaset
from mesh.sandbox.kubeclient import PODS, REPLICA_SETS
from mesh.sandbox.times import parse_stamp
from tests.support.sandbox_controllers import EPOCH, World, make_ready, settle, template

NOW = parse_stamp(EPOCH) + 10


def make(world: World, replicas: int, **spec: Any) -> dict[str, Any]:
    body = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": "web"}}
    return world.add({**body, "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "template": template(), **spec}})


def step(world: World, now: float = NOW) -> bool:
    return world.execute(replicaset.plan(world.get(REPLICA_SETS, "web"), world.all(PODS), now))


def test_pods_are_made_until_there_are_enough() -> None:
    world = World()
    rs = make(world, 60)
    plan = replicaset.plan(rs, [], NOW)
    assert (len(list(plan.actions)), plan.again_seconds) == (51, 0.0)
    settle(lambda: step(world))
    assert len(world.all(PODS)) == 60
    assert world.all(PODS)[0]["metadata"]["ownerReferences"][0]["uid"] == rs["metadata"]["uid"]


def test_the_pods_that_are_missed_least_go_first() -> None:
    world = World()
    rs = make(world, 3)
    settle(lambda: step(world))
    for pod in world.all(PODS)[1:]:
        make_ready(pod)
    lazy = world.all(PODS)[0]["metadata"]["name"]
    rs["spec"]["replicas"] = 2
    settle(lambda: step(world))
    assert lazy not in [pod["metadata"]["name"] for pod in world.all(PODS)]


def test_orphans_that_match_are_adopted_and_finished_pods_replaced() -> None:
    world = World()
    world.add({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "orphan", "labels": {"app": "web"}}, "spec": {}})
    make(world, 1)
    settle(lambda: step(world))
    assert [pod["metadata"]["name"] for pod in world.all(PODS)] == ["orphan"]
    world.get(PODS, "orphan")["status"] = {"phase": "Failed"}
    settle(lambda: step(world))
    assert len(world.all(PODS)) == 2


def test_a_pod_counts_as_available_after_its_minimum_time() -> None:
    world = World()
    rs = make(world, 1, minReadySeconds=30)
    settle(lambda: step(world))
    make_ready(world.all(PODS)[0])
    plan = replicaset.plan(rs, world.all(PODS), NOW)
    world.execute(plan)
    assert (plan.again_seconds, rs["status"].get("availableReplicas"), rs["status"]["readyReplicas"]) == (20.0, None, 1)
    step(world, NOW + 20)
    assert rs["status"]["availableReplicas"] == 1
