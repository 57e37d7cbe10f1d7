import pytest
import trio.testing

from mesh.codec.h1 import RequestHead
from mesh.model.addr import Address
from mesh.proxy.downstream_h1 import Downstream
from mesh.proxy.exchange import decide
from mesh.proxy.forwarding import Forwarding
from mesh.proxy.observe.record import Connection
from mesh.proxy.pipeline import Proxy
from mesh.proxy.poller import Parker
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

GET = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class FakeChannel:
    """The client's side: takes everything."""

    hung_up = is_readable = False
    on_idle = None

    def __init__(self) -> None:
        self.sent = b""

    def try_send(self, data: bytes, offset: int = 0) -> int:
        self.sent += data[offset:]
        return len(data) - offset


def forwarding(proxy: Proxy) -> tuple[Forwarding, Downstream]:
    runtime = proxy.current.listeners["test"]
    terminal = runtime.terminal(runtime.model.chains[0])
    down = Downstream(proxy, terminal, FakeChannel(), Parker(), Connection("1.2.3.4:5"), Address("1.1.1.1", 80))  # type: ignore[arg-type]
    down.parser.feed(GET)
    head = down.parser.head()
    assert isinstance(head, RequestHead)
    decision = decide(down, head)
    assert isinstance(decision, Forwarding)
    return decision, down


async def test_an_abandoned_exchange_gives_everything_back() -> None:
    config = snapshot(listener(manager(routes(forward("a", timeout_seconds=5.0)))), cluster("a", 1))
    async with running(config) as proxy:
        decision, down = forwarding(proxy)
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
            decision, down = forwarding(proxy)
            assert decision.begin() and pool.idle_count == 0
            assert len(upstream.requests) == 1  # sending is put off to the end of the poller's batch
            assert len(proxy.poller.after_batch) == 1
            proxy.poller.after_batch.pop()()
            if is_abandoned:
                decision.abandon()
                assert pool.open == 0
                return
            await trio.testing.wait_all_tasks_blocked(0.02)
            assert len(upstream.requests) == 2 and down.channel.sent == OK  # type: ignore[attr-defined]
            assert down.record is None and (pool.open, pool.idle_count) == (1, 1)
            assert proxy.current.clusters["a"].breaker.requests == 0
