import trio

from mesh.model.failure import Flag
from mesh.proxy.attempts import Attempts
from mesh.proxy.observe.record import Record
from tests.support.proxy import (
    Upstream,
    cluster,
    forward,
    listener,
    manager,
    read_head,
    replying,
    routes,
    running,
    serving,
    snapshot,
)
from tests.support.proxy_seat import FakeChannel, seated

GET = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


def sent_to(channel: object) -> bytes:
    assert isinstance(channel, FakeChannel)
    return channel.sent


async def test_a_request_without_a_pooled_connection_waits_for_a_new_one() -> None:
    async with serving(replying(OK)) as upstream:
        config = snapshot(listener(manager(routes(forward("a")))), cluster("a", upstream.port))
        async with running(config) as proxy:
            step, down = seated(proxy, GET)
            assert not step.begin()
            assert await Attempts(down, step).run()
            assert sent_to(down.channel).endswith(b"\r\n\r\nok") and down.parser.is_idle
            runtime = proxy.current.clusters["a"]
            assert (runtime.breaker.requests, runtime.balancer.hosts[0].active, upstream.connections) == (0, 0, 1)


async def test_a_refused_connection_is_answered_and_everything_given_back() -> None:
    config = snapshot(listener(manager(routes(forward("a")))), cluster("a", 1))
    async with running(config) as proxy:
        step, down = seated(proxy, GET)
        seen: list[Record] = []

        class Logger:
            log = seen.append

        down.observer.loggers = (Logger,)  # type: ignore[assignment]
        assert not step.begin() and await Attempts(down, step).run()
        assert sent_to(down.channel).startswith(b"HTTP/1.1 503 ")
        assert [(each.status, each.flags) for each in seen] == [(503, (Flag.UPSTREAM_CONNECT_FAILURE,))]
        runtime = proxy.current.clusters["a"]
        assert (runtime.breaker.requests, runtime.breaker.connections, runtime.balancer.hosts[0].active) == (0, 0, 0)


async def test_a_pooled_connection_that_died_unseen_is_replaced_and_no_attempt_is_counted() -> None:
    async def once(stream: trio.SocketStream, upstream: Upstream) -> None:
        for answer in (OK, b"") if upstream.connections == 1 else (OK,):
            await read_head(stream)
            if not answer:
                return
            await stream.send_all(answer)
        await stream.receive_some(1)

    async with serving(once) as upstream:
        config = snapshot(listener(manager(routes(forward("a")))), cluster("a", upstream.port))
        async with running(config) as proxy:
            first, down = seated(proxy, GET)
            assert not first.begin() and await Attempts(down, first).run()
            second, down = seated(proxy, GET)
            assert second.begin()
            for send in proxy.poller.after_batch[:]:
                send()
            proxy.poller.after_batch.clear()
            await down.parker.park()
            assert await Attempts(down, second).run()
            assert sent_to(down.channel).endswith(b"\r\n\r\nok")
            assert (upstream.connections, second.record.attempts) == (2, 1)
