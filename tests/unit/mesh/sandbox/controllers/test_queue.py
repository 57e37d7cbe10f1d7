"""The work queue."""

import itertools

import trio
from trio.testing import MockClock

from mesh.sandbox.controllers.queue import Queue
from mesh.sandbox.kubeclient import Unreachable


async def test_a_key_that_changes_while_it_is_worked_on_is_worked_on_once_more(nursery: trio.Nursery) -> None:
    seen: list[str] = []
    started, go_on, done = trio.Event(), trio.Event(), trio.Event()

    async def reconcile(key: str) -> None:
        seen.append(key)
        started.set()
        await go_on.wait()
        if len(seen) == 2:
            done.set()

    queue: Queue[str] = Queue("test", reconcile, workers=3)
    queue.add("a")
    nursery.start_soon(queue.run)
    await started.wait()
    queue.add("a"), queue.add("a")
    await trio.testing.wait_all_tasks_blocked()
    assert seen == ["a"]
    go_on.set()
    await done.wait()
    await trio.testing.wait_all_tasks_blocked()
    assert seen == ["a", "a"]


async def test_failures_are_tried_again_after_growing_pauses(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    times: list[float] = []
    done = trio.Event()

    async def reconcile(_key: str) -> None:
        times.append(trio.current_time())
        if len(times) < 4:
            raise Unreachable("away")
        done.set()

    queue: Queue[str] = Queue("test", reconcile)
    nursery.start_soon(queue.run)
    queue.add("a")
    await done.wait()
    assert [round(b - a, 3) for a, b in itertools.pairwise(times)] == [0.02, 0.04, 0.08]


async def test_a_later_look_can_be_asked_for(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    times: list[float] = []
    done = trio.Event()

    async def reconcile(_key: str) -> float | None:
        times.append(trio.current_time())
        if len(times) == 2:
            done.set()
            return None
        return 7.0

    queue: Queue[str] = Queue("test", reconcile)
    nursery.start_soon(queue.run)
    queue.add("a")
    await done.wait()
    assert times[1] - times[0] == 7.0
