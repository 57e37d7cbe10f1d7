import math

import trio
import trio.testing

from mesh.proxy.deadlines import Deadlines


def test_fires_at_its_time_and_not_before() -> None:
    fired: list[str] = []
    deadlines = Deadlines()
    deadlines.new(lambda: fired.append("b")).arm(2.0)
    deadlines.new(lambda: fired.append("a")).arm(1.0)
    assert deadlines.sweep(0.5) == 1.0 and fired == []
    assert deadlines.sweep(1.0) == 2.0 and fired == ["a"]
    assert deadlines.sweep(5.0) == math.inf and fired == ["a", "b"]


def test_a_moved_deadline_costs_one_entry_and_fires_at_the_new_time() -> None:
    fired: list[float] = []
    deadlines = Deadlines()
    deadline = deadlines.new(lambda: fired.append(1))
    for at in (10.0, 11.0, 12.0):
        deadline.arm(at)
    assert len(deadlines) == 1
    assert deadlines.sweep(10.0) == 12.0 and fired == []
    deadline.arm(11.0)
    assert deadlines.sweep(11.0) == math.inf and fired == [1]


def test_a_lifted_deadline_lets_the_sweeper_sleep() -> None:
    deadlines = Deadlines()
    deadline = deadlines.new(lambda: None)
    deadline.arm(1.0)
    deadline.lift()
    assert deadlines.sweep(1.0) == math.inf and len(deadlines) == 0


def test_closed_deadlines_do_not_pile_up() -> None:
    deadlines = Deadlines()
    for i in range(10_000):
        deadline = deadlines.new(lambda: None)
        deadline.arm(1000.0 + i)
        deadline.close()
    assert len(deadlines) == 0
    assert len(deadlines._heap) <= 600


async def test_run_wakes_for_an_earlier_deadline(autojump_clock: trio.testing.MockClock) -> None:
    deadlines = Deadlines()
    fired = trio.Event()
    late = deadlines.new(lambda: None)
    late.arm(trio.current_time() + 100)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(deadlines.run)
        await trio.testing.wait_all_tasks_blocked()
        began = trio.current_time()
        deadlines.new(fired.set).arm(began + 1)
        await fired.wait()
        assert trio.current_time() - began == 1
        nursery.cancel_scope.cancel()
