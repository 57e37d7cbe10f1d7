import trio
import trio.testing

from mesh.proxy.drain import Drain


async def test_whoever_waits_for_the_beginning_is_told() -> None:
    drain = Drain()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(drain.wait_begun)
        await trio.testing.wait_all_tasks_blocked()
        assert not drain.is_draining
        drain.begin()
        drain.begin()
    assert drain.is_draining


async def test_idle_means_neither_inbound_nor_outbound_connections() -> None:
    drain = Drain()
    drain.opened(is_outbound=False)
    drain.opened(is_outbound=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(drain.wait_idle)
        await trio.testing.wait_all_tasks_blocked()
        drain.closed(is_outbound=False)
        await trio.testing.wait_all_tasks_blocked()
        assert len(nursery.child_tasks) == 1
        drain.closed(is_outbound=True)
    await drain.wait_idle()


def test_a_gateway_sends_its_clients_away_and_a_sidecar_keeps_its_application() -> None:
    drain = Drain()
    assert [drain.concerns(is_outbound) for is_outbound in (False, True)] == [True, False]
    drain.spares_outbound = False
    assert [drain.concerns(is_outbound) for is_outbound in (False, True)] == [True, True]
