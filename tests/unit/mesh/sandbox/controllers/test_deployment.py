"""Deployments: rolling updates, history, status."""

from typing import Any

from mesh.sandbox.controllers import deployment, replicaset
from mesh.sandbox.kubeclient import DEPLOYMENTS, PODS, REPLICA_SETS
from mesh.sandbox.times import parse_stamp
from tests.support.sandbox_controllers import EPOCH, World, make_ready, settle, template

NOW = parse_stamp(EPOCH) + 10


def make(world: World, **spec: Any) -> dict[str, Any]:
    body = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "web"}}, "template": template(), **spec},
    }
    return world.add(body)


def step(world: World, *, ready: bool = True) -> bool:
    """One round of both controllers; new pods become ready at the end of it."""
    found = world.get(DEPLOYMENTS, "web")
    old = {rs["metadata"]["uid"] for rs in world.all(REPLICA_SETS) if not deployment.same_template(rs["spec"]["template"], found["spec"]["template"])}
    old_pods = sum(pod["metadata"]["ownerReferences"][0]["uid"] in old for pod in world.all(PODS))
    changed = world.execute(deployment.plan(found, world.all(REPLICA_SETS), old_pods, NOW))
    for rs in world.all(REPLICA_SETS):
        changed |= world.execute(replicaset.plan(rs, world.all(PODS), NOW))
    for pod in world.all(PODS):
        if ready and "status" not in pod:
            make_ready(pod)
            changed = True
    return changed


def images(world: World) -> list[str]:
    return sorted(pod["spec"]["containers"][0]["image"] for pod in world.all(PODS))


def test_a_new_deployment_gets_its_pods_and_says_so() -> None:
    world = World()
    make(world)
    settle(lambda: step(world))
    status = world.get(DEPLOYMENTS, "web")["status"]
    assert images(world) == ["image:1"] * 3
    assert {key: status[key] for key in ("replicas", "readyReplicas", "availableReplicas", "updatedReplicas")} == dict.fromkeys(
        ("replicas", "readyReplicas", "availableReplicas", "updatedReplicas"), 3
    )
    assert {c["type"]: (c["status"], c["reason"]) for c in status["conditions"]} == {
        "Available": ("True", "MinimumReplicasAvailable"),
        "Progressing": ("True", "NewReplicaSetAvailable"),
    }


def test_the_name_and_labels_of_the_set_carry_the_hash() -> None:
    world = World()
    make(world)
    step(world)
    (rs,) = world.all(REPLICA_SETS)
    digest = rs["metadata"]["labels"]["pod-template-hash"]
    assert rs["metadata"]["name"] == f"web-{digest}"
    assert rs["spec"]["selector"]["matchLabels"] == {"app": "web", "pod-template-hash": digest}
    assert rs["metadata"]["annotations"][deployment.REVISION] == "1"


def test_an_update_that_never_gets_ready_keeps_the_old_pods() -> None:
    world = World()
    found = make(world, strategy={"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 1}})
    settle(lambda: step(world))
    found["spec"]["template"] = template("broken")
    settle(lambda: step(world, ready=False))
    assert images(world) == ["image:1", "image:1", "image:broken", "image:broken"]
    progressing = next(c for c in found["status"]["conditions"] if c["type"] == "Progressing")
    assert progressing["status"] == "True"
    late = deployment.plan(found, world.all(REPLICA_SETS), 0, NOW + 601)
    world.execute(late)
    assert next(c for c in found["status"]["conditions"] if c["type"] == "Progressing")["reason"] == "ProgressDeadlineExceeded"


def test_going_back_uses_the_old_set_as_the_newest_revision() -> None:
    world = World()
    found = make(world)
    settle(lambda: step(world))
    found["spec"]["template"] = template("2")
    settle(lambda: step(world))
    found["spec"]["template"] = template("1")
    settle(lambda: step(world))
    assert len(world.all(REPLICA_SETS)) == 2
    assert found["metadata"]["annotations"][deployment.REVISION] == "3"
    assert images(world) == ["image:1"] * 3


def test_recreate_never_mixes_versions() -> None:
    world = World()
    found = make(world, strategy={"type": "Recreate"})
    settle(lambda: step(world))
    found["spec"]["template"] = template("2")

    def watched() -> bool:
        changed = step(world)
        assert len(set(images(world))) <= 1
        return changed

    settle(watched)
    assert images(world) == ["image:2"] * 3


def test_a_paused_deployment_is_scaled_but_not_updated() -> None:
    world = World()
    found = make(world)
    settle(lambda: step(world))
    found["spec"] |= {"paused": True, "template": template("2"), "replicas": 5}
    settle(lambda: step(world))
    assert images(world) == ["image:1"] * 5
    assert found["status"]["conditions"][1]["reason"] == "DeploymentPaused"


def test_history_is_limited() -> None:
    world = World()
    found = make(world, revisionHistoryLimit=1)
    for version in "1234":
        found["spec"]["template"] = template(version)
        settle(lambda: step(world))
    assert len(world.all(REPLICA_SETS)) == 2
