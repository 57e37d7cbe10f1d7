import re

import pytest
import trio.testing

from tests.support.proxy import (
    client,
    cluster,
    forward,
    listener,
    manager,
    read_response,
    replying,
    routes,
    running,
    serving,
    snapshot,
)
from tests.support.proxy_seat import seated

GET = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


async def test_an_abandoned_exchange_gives_everything_back() -> None:
    config = snapshot(listener(manager(routes(forward("a", timeout_seconds=5.0)))), cluster("a", 1))
    async with running(config) as proxy:
        decision, down = seated(proxy, GET)
        breaker = proxy.current.clusters["a"].breaker
        assert not decision.begin()  # nothing pooled
        assert breaker.requests == 1 and down.timeout.at < float("inf")
        host = proxy.current.clusters["a"].balancer.hosts[0]
        assert host.active == 1
        decision.abandon()
        decision.abandon()
        assert breaker.requests == 0 and host.active == 0


@pytest.mark.parametrize("is_abandoned", [False, True])
async def test_a_pooled_connection_carries_the_request_without_a_task(is_abandoned: bool) -> None:
    async with serving(replying(OK)) as upstream:
        config = snapshot(listener(manager(routes(forward("a")))), cluster("a", upstream.port))
        async with running(config) as proxy:
            async with client(proxy) as stream:
                await stream.send_all(GET)
                assert (await read_response(stream))[0] == 200
            pool = next(iter(proxy.current.clusters["a"].pools))
            assert (pool.open, pool.idle_count) == (1, 1)
            decision, down = seated(proxy, GET)
            assert decision.begin() and pool.idle_count == 0
            assert len(upstream.requests) == 1  # sending is put off to the end of the poller's batch
            assert len(proxy.poller.after_batch) == 1
            proxy.poller.after_batch.pop()()
            if is_abandoned:
                decision.abandon()
                assert pool.open == 0
                return
            await trio.testing.wait_all_tasks_blocked(0.02)
            sent = re.sub(rb"x-envoy-upstream-service-time: \d+\r\n", b"", down.channel.sent)  # type: ignore[attr-defined]
            assert len(upstream.requests) == 2 and sent == OK
            assert down.record is None and (pool.open, pool.idle_count) == (1, 1)
            assert proxy.current.clusters["a"].breaker.requests == 0
