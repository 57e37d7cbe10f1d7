import re

import pytest
import trio
import trio.testing

from mesh.proxy.attempts import Attempts
from tests.support.proxy import (
    Upstream,
    client,
    cluster,
    forward,
    listener,
    manager,
    read_head,
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


@pytest.mark.parametrize("is_dead", [False, True])
async def test_a_body_that_has_arrived_goes_along_with_its_head(is_dead: bool) -> None:
    got: list[bytes] = []

    async def serve(stream: trio.SocketStream, upstream: Upstream) -> None:
        while True:
            head, rest = await read_head(stream)
            if not head:
                return
            while len(rest) < 4 * head.count(b"POST"):
                rest += await stream.receive_some(4)
            got.append(head.partition(b" ")[0] + rest)
            await stream.send_all(OK)

    post = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody"
    async with serving(serve) as upstream:
        config = snapshot(listener(manager(routes(forward("a")))), cluster("a", upstream.port))
        async with running(config) as proxy:
            async with client(proxy) as stream:
                await stream.send_all(GET)
                assert (await read_response(stream))[0] == 200
            decision, down = seated(proxy, post)
            assert decision.begin() and decision.upload.is_done and decision.unsent.endswith(b"\r\n\r\nbody")
            if is_dead:
                assert decision.connection is not None
                decision.connection.channel.close()
            proxy.poller.after_batch.pop()()
            if is_dead:
                assert await Attempts(down, decision).run()
            await trio.testing.wait_all_tasks_blocked(0.02)
            assert got == [b"GET", b"POSTbody"] and upstream.connections == 1 + is_dead
            assert decision.record.bytes_received == 4 and decision.record.attempts == 1


@pytest.mark.parametrize("body", [b"bo", b""])
async def test_a_body_that_is_not_all_there_is_the_tasks_business(body: bytes) -> None:
    async with serving(replying(OK)) as upstream:
        config = snapshot(listener(manager(routes(forward("a")))), cluster("a", upstream.port))
        async with running(config) as proxy:
            async with client(proxy) as stream:
                await stream.send_all(GET)
                assert (await read_response(stream))[0] == 200
            decision, _ = seated(proxy, b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n" + body)
            assert not decision.begin() and decision.connection is not None and not decision.upload.is_done
            decision.abandon()
