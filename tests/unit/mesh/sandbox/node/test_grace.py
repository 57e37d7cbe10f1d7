"""How a pod's grace ends the waits of its containers."""

import trio
from trio.testing import MockClock

from mesh.sandbox.node.grace import Grace


async def gave_up_after(grace: Grace, seconds: float) -> float:
    began = trio.current_time()
    with grace.scope(began + seconds):
        await trio.sleep_forever()
    return trio.current_time() - began


async def test_a_wait_ends_at_its_own_deadline_or_the_pods(autojump_clock: MockClock) -> None:
    grace = Grace()
    assert await gave_up_after(grace, 30) == 30
    grace.shorten(trio.current_time() + 5)
    assert await gave_up_after(grace, 30) == 5


async def test_a_shorter_grace_reaches_waits_that_have_begun_and_is_never_lengthened(autojump_clock: MockClock) -> None:
    grace, waited = Grace(), []

    async def wait() -> None:
        waited.append(await gave_up_after(grace, 30))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.sleep(2)
        grace.shorten(trio.current_time() + 1)
        grace.shorten(trio.current_time() + 20)
    assert waited == [3]
