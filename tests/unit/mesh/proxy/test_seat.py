import math

import pytest

from mesh.proxy.downstream_h1 import Downstream
from mesh.proxy.observe.record import Record
from mesh.proxy.pipeline import Proxy
from mesh.proxy.poller import Parker
from tests.support.observe import head
from tests.support.proxy import cluster, forward, listener, manager, routes, running, snapshot
from tests.support.proxy_seat import FakeKeeper, seat

GET = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"


class CountingParker(Parker):
    woken = 0

    def wake(self) -> None:
        type(self).woken += 1


def begun(proxy: Proxy, keeper: FakeKeeper | None = None) -> Downstream:
    """A connection inside its first request."""
    CountingParker.woken = 0
    down = seat(proxy, CountingParker(), keeper)
    down.parser.feed(GET)
    assert down.parser.head() is not None
    return down


CONFIG = snapshot(listener(manager(routes(forward("a")), idle_timeout_seconds=7.0)), cluster("a", 1))


async def test_a_connection_that_goes_on_waits_for_the_next_request_without_its_task() -> None:
    async with running(CONFIG) as proxy:
        down = begun(proxy)
        down.after_exchange(True, 100.0)
        assert down.idle.at == 107.0 and down.parser.is_idle
        assert (CountingParker.woken, down.is_over, down.forwarding) == (0, False, None)


@pytest.mark.parametrize("why", ["pipelined", "readable", "must close"])
async def test_the_task_is_woken_when_there_is_more_to_do(why: str) -> None:
    async with running(CONFIG) as proxy:
        down = begun(proxy)
        if why == "pipelined":
            down.parser.feed(b"G")
        elif why == "readable":
            down.channel.is_readable = True
        else:
            down.must_close = True
        down.after_exchange(True, 100.0)
        assert CountingParker.woken == 1 and not down.is_over and down.idle.at == math.inf


async def test_the_task_is_woken_to_close() -> None:
    async with running(CONFIG) as proxy:
        down = begun(proxy)
        down.after_exchange(False, 100.0)
        assert CountingParker.woken == 1 and down.is_over


async def test_a_task_is_started_once_when_something_has_to_wait() -> None:
    async with running(CONFIG) as proxy:
        keeper = FakeKeeper()
        down = begun(proxy, keeper)
        down.resume()
        down.resume()
        assert (keeper.started, keeper.ended, CountingParker.woken, down.has_task) == (1, 0, 1, True)


async def test_a_connection_without_a_task_is_closed_at_once() -> None:
    async with running(CONFIG) as proxy:
        keeper = FakeKeeper()
        down = begun(proxy, keeper)
        down.after_exchange(False, 100.0)
        assert (keeper.started, keeper.ended, down.is_over) == (0, 1, True)


async def test_the_end_of_an_exchange_lifts_its_deadlines_and_is_observed() -> None:
    async with running(CONFIG) as proxy:
        down = begun(proxy)
        seen: list[Record] = []

        class Logger:
            log = seen.append

        down.observer.loggers = (Logger,)  # type: ignore[assignment]
        record = down.record = Record(head(), down.connection, 0.0)
        down.timeout.arm(5.0)
        down.overall.arm(6.0)
        down.has_started = True
        down.finish(record)
        assert (down.timeout.at, down.overall.at, down.record, down.has_started) == (math.inf, math.inf, None, False)
        assert seen == [record] and record.finished_at > 0.0


async def test_a_bug_in_a_callback_is_the_tasks_to_raise() -> None:
    async with running(CONFIG) as proxy:
        down, bug = begun(proxy), RuntimeError("bug")
        down.fail(bug)
        assert down.error is bug and CountingParker.woken == 1


async def test_idle_seconds_are_the_routes_or_else_the_listeners() -> None:
    routes_of = (forward("a"), forward("a", idle_timeout_seconds=7.0), forward("a", idle_timeout_seconds=0.0))
    async with running(snapshot(listener(manager(routes(*routes_of))), cluster("a", 1))) as proxy:
        down = begun(proxy)
        table = down.terminal.table(proxy.current)
        assert table is not None
        assert [down.idle_seconds(route) for route in table.routes()] == [300.0, 7.0, math.inf]
