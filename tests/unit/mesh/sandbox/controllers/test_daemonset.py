"""DaemonSets."""

from typing import Any

from mesh.sandbox.controllers import daemonset
from mesh.sandbox.kubeclient import DAEMON_SETS, PODS
from tests.support.sandbox_controllers import World, make_ready, settle, template

NODES: list[dict[str, Any]] = [{"metadata": {"name": "n1", "labels": {"a": "1"}}}, {"metadata": {"name": "n2"}}]


def make(world: World, **spec: Any) -> dict[str, Any]:
    return world.add({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "ds"}, "spec": {"template": template(), **spec}})


def step(world: World) -> bool:
    return world.execute(daemonset.plan(world.get(DAEMON_SETS, "ds"), world.all(PODS), NODES, 0.0))


def test_each_node_gets_one_pod() -> None:
    world = World()
    found = make(world)
    settle(lambda: step(world))
    assert len(world.all(PODS)) == 2
    assert (found["status"]["desiredNumberScheduled"], found["status"]["numberReady"]) == (2, 0)
    for pod in world.all(PODS):
        make_ready(pod)
        pod["spec"].pop("nodeName")
    settle(lambda: step(world))
    assert found["status"]["numberAvailable"] == 2


def test_a_node_selector_narrows_the_nodes() -> None:
    world = World()
    chosen = template()
    chosen["spec"]["nodeSelector"] = {"a": "1"}
    make(world, template=chosen)
    settle(lambda: step(world))
    (pod,) = world.all(PODS)
    terms = pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert terms[0]["matchFields"][0]["values"] == ["n1"]


def test_an_update_replaces_the_pods() -> None:
    world = World()
    found = make(world)
    settle(lambda: step(world))
    found["spec"]["template"] = template("2")
    settle(lambda: step(world))
    assert {pod["spec"]["containers"][0]["image"] for pod in world.all(PODS)} == {"image:2"}
