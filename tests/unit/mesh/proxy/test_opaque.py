import socket

import pytest
import trio

from mesh.model.failure import Flag
from mesh.model.listener import TcpProxy
from mesh.model.route import WeightedCluster
from mesh.proxy.observe.record import TcpRecord
from mesh.proxy.pipeline import Proxy
from tests.support.proxy import Upstream, client, cluster, listener, read_all, running, serving, snapshot


async def greet(stream: trio.SocketStream, upstream: Upstream) -> None:
    await stream.send_all(b"hello")


def records(proxy: Proxy) -> list[TcpRecord]:
    """Every finished connection from now on."""
    runtime = proxy.current.listeners["test"]
    observer = runtime.terminal(runtime.model.chains[0]).observer
    seen: list[TcpRecord] = []
    end = observer.end

    def spy(record: TcpRecord, now: float) -> None:
        end(record, now)  # type: ignore[arg-type]
        seen.append(record)

    observer.end = spy  # type: ignore[method-assign,assignment]
    return seen


async def test_another_host_is_tried_when_one_refuses() -> None:
    with socket.socket() as dead:
        dead.bind(("127.0.0.1", 0))
        async with serving(greet) as upstream:
            proxy_model = TcpProxy("t", (WeightedCluster("a"),), max_connect_attempts=2)
            config = snapshot(listener(proxy_model), cluster("a", dead.getsockname()[1], upstream.port))
            async with running(config) as proxy:
                for _ in range(20):
                    async with client(proxy) as stream:
                        assert await stream.receive_some(10) == b"hello"


@pytest.mark.parametrize(
    ("target", "flag"),
    [("missing", Flag.NO_CLUSTER), ("empty", Flag.NO_HEALTHY_UPSTREAM), ("dead", Flag.UPSTREAM_CONNECT_FAILURE)],
)
async def test_who_cannot_be_served_is_reset_and_the_log_says_why(target: str, flag: Flag) -> None:
    config = snapshot(listener(TcpProxy("t", (WeightedCluster(target),))), cluster("empty"), cluster("dead", 1))
    async with running(config) as proxy:
        seen = records(proxy)
        async with client(proxy) as stream:
            with trio.fail_after(2), pytest.raises(trio.BrokenResourceError):
                await read_all(stream)
        assert [record.flags for record in seen] == [(flag,)]


async def test_bytes_and_limits_are_accounted_for() -> None:
    async def answer(stream: trio.SocketStream, upstream: Upstream) -> None:
        await read_all(stream)
        await stream.send_all(b"hello")

    async with serving(answer) as upstream:
        async with running(
            snapshot(listener(TcpProxy("t", (WeightedCluster("a"),))), cluster("a", upstream.port))
        ) as proxy:
            seen = records(proxy)
            async with client(proxy) as stream:
                await stream.send_all(b"abc")
                await stream.send_eof()
                assert await read_all(stream) == b"hello"
            with trio.fail_after(2):
                await proxy.drain.wait_idle()
            assert (seen[0].bytes_received, seen[0].bytes_sent) == (3, 5)
            runtime = proxy.current.clusters["a"]
            assert runtime.breaker.connections == 0 and runtime.balancer.hosts[0].active == 0


async def test_silence_ends_after_the_idle_timeout() -> None:
    async def quiet(stream: trio.SocketStream, upstream: Upstream) -> None:
        await stream.receive_some(1)

    async with serving(quiet) as upstream:
        model = TcpProxy("t", (WeightedCluster("a"),), idle_timeout_seconds=0.05)
        async with running(snapshot(listener(model), cluster("a", upstream.port))) as proxy:
            seen = records(proxy)
            async with client(proxy) as stream:
                with trio.fail_after(2):
                    assert await read_all(stream) == b""
            assert seen[0].flags == (Flag.STREAM_IDLE_TIMEOUT,)
