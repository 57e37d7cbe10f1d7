"""Jobs."""

from typing import Any

from mesh.sandbox.controllers import job
from mesh.sandbox.kubeclient import JOBS, PODS
from mesh.sandbox.times import parse_stamp
from tests.support.sandbox_controllers import EPOCH, World, settle, template

NOW = parse_stamp(EPOCH) + 1000


def make(world: World, **spec: Any) -> dict[str, Any]:
    return world.add({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j"}, "spec": {"template": template(), "completions": 1, "parallelism": 1, **spec}})


def step(world: World, now: float = NOW) -> bool:
    return ("Job", "j") in world.objects and world.execute(job.plan(world.get(JOBS, "j"), world.all(PODS), now))


def finish(world: World, phase: str) -> None:
    for pod in world.all(PODS):
        pod.setdefault("status", {"phase": phase})


def conditions(found: dict[str, Any]) -> list[tuple[str, str]]:
    return [(item["type"], item["reason"]) for item in found["status"].get("conditions", [])]


def test_a_job_completes_when_enough_pods_succeeded() -> None:
    world = World()
    found = make(world, completions=3, parallelism=2)
    settle(lambda: step(world))
    assert (len(world.all(PODS)), found["status"]["active"]) == (2, 2)
    finish(world, "Succeeded")
    settle(lambda: step(world))
    assert len(world.all(PODS)) == 3
    finish(world, "Succeeded")
    settle(lambda: step(world))
    assert conditions(found) == [("SuccessCriteriaMet", "CompletionsReached"), ("Complete", "CompletionsReached")]
    assert found["status"]["succeeded"] == 3


def test_failures_are_tried_again_after_a_pause_and_counted() -> None:
    world = World()
    found = make(world, backoffLimit=1)
    step(world)
    finish(world, "Failed")
    world.all(PODS)[0]["metadata"]["creationTimestamp"] = "2026-01-01T00:16:35Z"  # NOW - 5
    plan = job.plan(found, world.all(PODS), NOW)
    assert plan.again_seconds == 5
    world.execute(plan)
    assert len(world.all(PODS)) == 1
    step(world, NOW + 5)
    assert len(world.all(PODS)) == 2
    finish(world, "Failed")
    settle(lambda: step(world, NOW + 100))
    assert conditions(found)[-1] == ("Failed", "BackoffLimitExceeded")


def test_indexed_pods_know_their_number() -> None:
    world = World()
    found = make(world, completions=3, parallelism=3, completionMode="Indexed")
    settle(lambda: step(world))
    numbers = sorted(pod["spec"]["containers"][0]["env"][0]["value"] for pod in world.all(PODS))
    assert numbers == ["0", "1", "2"]
    finish(world, "Succeeded")
    settle(lambda: step(world))
    assert found["status"]["completedIndexes"] == "0-2"


def test_a_deadline_ends_it() -> None:
    world = World()
    found = make(world, activeDeadlineSeconds=60)
    step(world)
    settle(lambda: step(world, NOW + 60))
    assert conditions(found)[-1] == ("Failed", "DeadlineExceeded") and world.all(PODS) == []


def test_a_suspended_job_runs_nothing() -> None:
    world = World()
    make(world, suspend=True)
    settle(lambda: step(world))
    assert world.all(PODS) == []


def test_a_finished_job_goes_after_its_time() -> None:
    world = World()
    make(world, ttlSecondsAfterFinished=10)
    step(world)
    finish(world, "Succeeded")
    settle(lambda: step(world))
    settle(lambda: step(world, NOW + 11))
    assert world.all(JOBS) == []
