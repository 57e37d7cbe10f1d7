"""CronJobs."""

from typing import Any

from mesh.sandbox.controllers import cronjob
from mesh.sandbox.kubeclient import CRON_JOBS, JOBS
from mesh.sandbox.times import parse_stamp
from tests.support.sandbox_controllers import EPOCH, World, settle, template

START = parse_stamp(EPOCH)


def make(world: World, **spec: Any) -> dict[str, Any]:
    body = {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "c"}}
    return world.add({**body, "spec": {"schedule": "*/5 * * * *", "jobTemplate": {"spec": {"template": template()}}, **spec}})


def step(world: World, now: float) -> bool:
    return world.execute(cronjob.plan(world.get(CRON_JOBS, "c"), world.all(JOBS), now))


def finish(world: World) -> None:
    for job in world.all(JOBS):
        job["status"] = {"conditions": [{"type": "Complete", "status": "True"}]}


def test_it_waits_for_its_time_and_starts_each_run_once() -> None:
    world = World()
    found = make(world)
    assert cronjob.plan(found, [], START + 60).again_seconds == 240
    settle(lambda: step(world, START + 299))
    assert world.all(JOBS) == []
    settle(lambda: step(world, START + 301))
    assert [job["metadata"]["name"] for job in world.all(JOBS)] == [f"c-{int(START + 300) // 60}"]
    assert found["status"]["lastScheduleTime"] == "2026-01-01T00:05:00Z"


def test_concurrency_policies() -> None:
    for policy, expected in (("Allow", 2), ("Forbid", 1), ("Replace", 1)):
        world = World()
        make(world, concurrencyPolicy=policy)
        for now in (START + 301, START + 601):
            step(world, now)
        assert len(world.all(JOBS)) == expected, policy


def test_history_is_limited() -> None:
    world = World()
    make(world, successfulJobsHistoryLimit=2)
    for run in range(1, 6):
        step(world, START + 300 * run + 1)
        finish(world)
    step(world, START + 1502)
    assert len(world.all(JOBS)) == 2


def test_a_suspended_one_starts_nothing_and_a_late_one_is_missed() -> None:
    for spec in ({"suspend": True}, {"startingDeadlineSeconds": 10}):
        world = World()
        make(world, **spec)
        step(world, START + 350)
        assert world.all(JOBS) == []


def test_a_bad_schedule_is_said() -> None:
    world = World()
    make(world, schedule="nonsense")
    step(world, START)
    assert world.notes[0].reason == "UnparseableSchedule"
