"""Timeouts, faults, mirrors, limits, redirects and edits, as a client of a real proxy meets them."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
import trio
import trio.testing

from mesh.model.cluster import CircuitBreaker, OutlierDetection
from mesh.model.failure import Flag
from mesh.model.match import PathKind, PathMatch, RouteMatch
from mesh.model.route import (
    DirectResponse,
    Fault,
    FaultAbort,
    FaultDelay,
    ForwardAction,
    HeaderMutation,
    Mirror,
    PrefixRewrite,
    RedirectAction,
    RetryPolicy,
    Route,
    WeightedCluster,
)
from mesh.model.snapshot import Snapshot
from mesh.proxy.observe.record import Record
from tests.support.proxy import (
    Upstream,
    client,
    cluster,
    forward,
    listener,
    manager,
    read_all,
    read_head,
    read_response,
    replying,
    routes,
    running,
    serving,
    snapshot,
)

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


async def silent(stream: trio.SocketStream, upstream: Upstream) -> None:
    """Reads and never answers."""
    while data := await stream.receive_some(65536):
        upstream.requests.append(data)


def only(*items: Route, port: int, **changes: object) -> Snapshot:
    return snapshot(listener(manager(routes(*items))), cluster("a", port, **changes))


async def test_the_route_timeout_is_a_504_and_the_connection_lives_on() -> None:
    async with serving(silent) as upstream:
        async with running(only(forward("a", timeout_seconds=0.05), port=upstream.port)) as proxy:
            async with client(proxy) as stream:
                for _ in range(2):
                    started = trio.current_time()
                    await stream.send_all(GET)
                    status, _, body, _ = await read_response(stream)
                    assert (status, body) == (504, b"upstream request timeout")
                    assert 0.04 < trio.current_time() - started < 2
            assert all(not pool.open for pool in proxy.current.clusters["a"].pools)


async def test_the_per_try_timeout_leads_to_another_try() -> None:
    async def slow_once(stream: trio.SocketStream, upstream: Upstream) -> None:
        await read_head(stream)
        if upstream.connections == 1:
            await stream.receive_some(1)
            return
        await stream.send_all(OK)

    policy = RetryPolicy(frozenset(("5xx",)), 2, per_try_timeout_seconds=0.05, backoff_base_seconds=0.001)
    async with serving(slow_once) as upstream:
        async with running(only(forward("a", retry=policy), port=upstream.port)) as proxy, client(proxy) as stream:
            await stream.send_all(GET)
            assert (await read_response(stream))[0] == 200
            assert upstream.connections == 2


async def test_an_exchange_that_stands_still_is_ended() -> None:
    async def stall(stream: trio.SocketStream, upstream: Upstream) -> None:
        await read_head(stream)
        await stream.send_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc")
        await stream.receive_some(1)

    async with serving(stall) as upstream:
        config = only(forward("a", idle_timeout_seconds=0.05), port=upstream.port)
        async with running(config) as proxy, client(proxy) as stream:
            await stream.send_all(GET)
            head, _ = await read_head(stream)
            assert head.startswith(b"HTTP/1.1 200")
            with trio.fail_after(2), pytest.raises(trio.BrokenResourceError):
                while await stream.receive_some(100):
                    pass


async def test_slow_heads_are_timed_out_and_idle_connections_closed() -> None:
    config = snapshot(
        listener(manager(routes(forward("a")), request_headers_timeout_seconds=0.05, idle_timeout_seconds=0.1)),
        cluster("a", 1),
    )
    async with running(config) as proxy:
        async with client(proxy) as stream:
            await stream.send_all(b"GET / HT")
            assert (await read_response(stream))[0] == 408
        async with client(proxy) as stream:
            with trio.fail_after(2):
                assert await read_all(stream) == b""


async def test_delays_do_not_hold_up_others_and_aborts_say_what_they_are() -> None:
    slow = Route(
        RouteMatch(PathMatch(PathKind.EXACT, "/slow")),
        ForwardAction((WeightedCluster("a"),)),
        fault=Fault(delay=FaultDelay(0.2)),
    )
    broken = Route(
        RouteMatch(PathMatch(PathKind.EXACT, "/broken")),
        ForwardAction((WeightedCluster("a"),)),
        fault=Fault(abort=FaultAbort(http_status=555)),
    )
    async with serving(replying(OK)) as upstream:
        async with running(only(slow, broken, forward("a"), port=upstream.port)) as proxy:
            async with client(proxy) as one, client(proxy) as other:
                started = trio.current_time()
                await one.send_all(GET.replace(b"/ ", b"/slow ", 1))
                await other.send_all(GET)
                assert (await read_response(other))[0] == 200 and trio.current_time() - started < 0.15
                assert (await read_response(one))[0] == 200 and trio.current_time() - started >= 0.2
                await one.send_all(GET.replace(b"/ ", b"/broken ", 1))
                assert (await read_response(one))[::2] == (555, b"fault filter abort")


async def test_mirrors_get_copies_and_delay_nobody() -> None:
    async with serving(replying(OK)) as upstream, serving(silent) as shadow:
        route = forward("a", mirrors=(Mirror("shadow"),))
        config = snapshot(listener(manager(routes(route))), cluster("a", upstream.port), cluster("shadow", shadow.port))
        async with running(config) as proxy, client(proxy) as stream:
            await stream.send_all(GET)
            assert (await read_response(stream))[0] == 200
            await stream.send_all(b"POST / HTTP/1.1\r\nHost: a:80\r\nContent-Length: 4\r\n\r\nbody")
            with trio.fail_after(5):
                while len(shadow.requests) < 2:
                    await trio.testing.wait_all_tasks_blocked(0.01)
            copies = sorted(shadow.requests)
            assert copies[0].startswith(b"GET / HTTP/1.1\r\nHost: a-shadow\r\n")
            assert copies[1].startswith(b"POST / HTTP/1.1\r\nHost: a-shadow:80\r\n") and copies[1].endswith(
                b"\r\n\r\nbody"
            )


async def test_redirects_direct_answers_and_misses_need_no_upstream() -> None:
    redirect = Route(RouteMatch(PathMatch(PathKind.EXACT, "/old")), RedirectAction(302, host="new.example"))
    direct = Route(RouteMatch(PathMatch(PathKind.EXACT, "/teapot")), DirectResponse(418, b"short and stout"))
    gone = Route(RouteMatch(PathMatch(PathKind.EXACT, "/gone")), ForwardAction((WeightedCluster("nobody"),)))
    async with running(only(redirect, direct, gone, port=1)) as proxy, client(proxy) as stream:
        await stream.send_all(b"GET /old?x=1 HTTP/1.1\r\nHost: a\r\n\r\n")
        status, head, _, _ = await read_response(stream)
        assert status == 302 and b"location: http://new.example/old?x=1\r\n" in head
        await stream.send_all(b"GET /teapot HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await read_response(stream))[::2] == (418, b"short and stout")
        await stream.send_all(b"GET /gone HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await read_response(stream))[0] == 503
        await stream.send_all(b"GET /miss HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await read_response(stream))[0] == 404


async def test_rewrites_and_edits_reach_both_sides() -> None:
    route = Route(
        RouteMatch(PathMatch(value="/v1")),
        ForwardAction((WeightedCluster("a"),), path_rewrite=PrefixRewrite("/v2"), host_rewrite="b.example"),
        request_headers=HeaderMutation(set=(("x-new", "1"),), remove=("x-old",)),
        response_headers=HeaderMutation(add=(("x-answer", "%PROTOCOL%"),)),
    )
    async with serving(replying(OK)) as upstream:
        async with running(only(route, port=upstream.port)) as proxy, client(proxy) as stream:
            await stream.send_all(b"GET /v1/x?q HTTP/1.1\r\nHost: a\r\nX-Old: 1\r\n\r\n")
            _, head, _, _ = await read_response(stream)
            assert b"x-answer: HTTP/1.1\r\n" in head
            sent = upstream.requests[0]
            assert sent.startswith(b"GET /v2/x?q HTTP/1.1\r\nHost: b.example\r\n")
            assert b"x-new: 1\r\n" in sent and b"x-old" not in sent.lower()


async def test_weights_hold() -> None:
    random.seed(7)
    route = Route(RouteMatch(), ForwardAction((WeightedCluster("a", 90), WeightedCluster("b", 10))))
    async with serving(replying(OK)) as first, serving(replying(OK)) as second:
        config = snapshot(listener(manager(routes(route))), cluster("a", first.port), cluster("b", second.port))
        async with running(config) as proxy, client(proxy) as stream:
            for _ in range(1000):
                await stream.send_all(GET)
                await read_response(stream)
            assert 70 <= len(second.requests) <= 130 and len(first.requests) + len(second.requests) == 1000


async def test_what_does_not_fit_the_limits_is_told_at_once() -> None:
    limits = CircuitBreaker(max_connections=1, max_pending_requests=1)
    async with serving(silent) as upstream:
        config = only(forward("a", timeout_seconds=0.3), port=upstream.port, circuit_breaker=limits)
        async with running(config) as proxy:
            async with client(proxy) as one, client(proxy) as two, client(proxy) as three:
                await one.send_all(GET)
                await trio.testing.wait_all_tasks_blocked(0.02)
                await two.send_all(GET)
                await trio.testing.wait_all_tasks_blocked(0.02)
                await three.send_all(GET)
                status, head, body, _ = await read_response(three)
                assert status == 503 and b"x-envoy-overloaded: true" in head and b"overflow" in body
                assert (await read_response(one))[0] == 504
                assert (await read_response(two))[0] == 504
            breaker = proxy.current.clusters["a"].breaker
            assert (breaker.requests, breaker.pending, breaker.connections) == (0, 0, 0)


async def test_a_waiting_request_gets_the_connection_that_comes_free() -> None:
    limits = CircuitBreaker(max_connections=1)
    async with serving(replying(OK)) as upstream:
        async with running(only(forward("a"), port=upstream.port, circuit_breaker=limits)) as proxy:

            async def ask() -> None:
                async with client(proxy) as stream:
                    for _ in range(5):
                        await stream.send_all(GET)
                        assert (await read_response(stream))[0] == 200

            with trio.fail_after(5):
                async with trio.open_nursery() as nursery:
                    for _ in range(8):
                        nursery.start_soon(ask)
            assert upstream.connections == 1


async def test_hosts_that_fail_are_put_aside() -> None:
    async with serving(replying(OK)) as good, serving(replying(OK.replace(b"200 OK", b"500 No"))) as bad:
        detection = OutlierDetection(consecutive_5xx=2, max_ejection_percent=50)
        config = snapshot(listener(manager(routes(forward("a")))), cluster("a", good.port, bad.port, outlier=detection))
        async with running(config) as proxy, client(proxy) as stream:
            for _ in range(100):
                await stream.send_all(GET)
                await read_response(stream)
            assert len(bad.requests) == 2
            assert len(good.requests) == 98


async def test_updates_move_requests_but_not_connections() -> None:
    async with serving(replying(OK)) as first, serving(replying(OK)) as second:
        before = only(forward("a"), port=first.port)
        async with running(before) as proxy, client(proxy) as stream:
            await stream.send_all(GET)
            await read_response(stream)
            assert proxy.apply(replace(before, clusters={"a": cluster("a", second.port)})) == {}
            await stream.send_all(GET)
            await read_response(stream)
            assert (len(first.requests), len(second.requests)) == (1, 1)
            assert proxy.apply(replace(before, listeners={})) == {}
            await stream.send_all(GET)
            assert (await read_response(stream))[0] == 200
            assert proxy.listeners.addresses("test") == []


async def test_a_port_that_is_taken_is_reported() -> None:
    async with serving(silent) as other:
        taken = listener(manager(routes(forward("a"))))
        taken = replace(taken, name="taken", address=replace(taken.address, port=other.port))
        good = only(forward("a"), port=1)
        async with running(good) as proxy:
            problems = proxy.apply(replace(good, listeners={**good.listeners, "taken": taken}))
            assert list(problems) == ["taken"] and str(other.port) in problems["taken"]
            assert proxy.listeners.addresses("test")


async def test_flags_tell_what_happened() -> None:
    async with running(only(forward("a"), port=1)) as proxy:
        seen: list[tuple[int, tuple[Flag, ...], str]] = []
        runtime = proxy.current.listeners["test"]
        terminal = runtime.terminal(runtime.model.chains[0])

        class Spy:
            def log(self, record: Record) -> None:
                seen.append((record.status, record.flags, record.details))

        terminal.observer.loggers = (Spy(),)  # type: ignore[assignment]
        async with client(proxy) as stream:
            await stream.send_all(GET)
            await read_response(stream)
        assert seen == [
            (503, (Flag.UPSTREAM_CONNECT_FAILURE,), "upstream_reset_before_response_started{remote_connection_failure}")
        ]


async def test_a_timeout_while_the_callbacks_have_the_request_frees_everything() -> None:
    """The second request goes out on a pooled connection, driven by callbacks alone."""

    async def once(stream: trio.SocketStream, upstream: Upstream) -> None:
        await read_head(stream)
        await stream.send_all(OK)
        await read_head(stream)
        await stream.receive_some(1)

    async with serving(once) as upstream:
        async with running(only(forward("a", timeout_seconds=0.05), port=upstream.port)) as proxy:
            async with client(proxy) as stream:
                for status in (200, 504, 200):
                    await stream.send_all(GET)
                    assert (await read_response(stream))[0] == status
            runtime = proxy.current.clusters["a"]
            assert runtime.breaker.requests == 0 and runtime.balancer.hosts[0].active == 0


async def test_a_client_that_leaves_while_the_callbacks_have_its_request() -> None:
    gone = trio.Event()

    async def once(stream: trio.SocketStream, upstream: Upstream) -> None:
        await read_head(stream)
        await stream.send_all(OK)
        await read_head(stream)
        upstream.requests.append(b"")
        assert await stream.receive_some(1) == b""
        gone.set()

    async with serving(once) as upstream:
        async with running(only(forward("a"), port=upstream.port)) as proxy:
            async with client(proxy) as stream:
                await stream.send_all(GET)
                await read_response(stream)
                await stream.send_all(GET)
                while not upstream.requests:
                    await trio.testing.wait_all_tasks_blocked()
            with trio.fail_after(2):
                await gone.wait()
                await proxy.drain.wait_idle()
            assert proxy.current.clusters["a"].breaker.requests == 0


async def test_every_answer_says_how_long_its_upstream_took_and_the_log_says_the_same() -> None:
    async def slow(stream: trio.SocketStream, upstream: Upstream) -> None:
        while (await read_head(stream))[0]:
            await trio.sleep(0.05)
            await stream.send_all(OK.replace(b"\r\n", b"\r\nX-Envoy-Upstream-Service-Time: 99999\r\n", 1))

    async with serving(slow) as upstream:
        async with running(only(forward("a"), port=upstream.port)) as proxy:
            seen: list[Record] = []

            class Logger:
                log = seen.append

            runtime = proxy.current.listeners["test"]
            runtime.terminal(runtime.model.chains[0]).observer.loggers = (Logger,)  # type: ignore[assignment]
            async with client(proxy) as stream:
                for _ in range(2):  # the second one by callbacks
                    await stream.send_all(GET)
                    head = (await read_response(stream))[1].lower()
                    (line,) = [each for each in head.split(b"\r\n") if each.startswith(b"x-envoy-upstream-service-time:")]
                    assert 50 <= int(line.partition(b":")[2]) < 5000
                    assert seen.pop().service_milliseconds() == int(line.partition(b":")[2])


async def test_a_host_that_fails_in_grpc_is_ejected() -> None:
    unavailable = b"HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ngrpc-status: 14\r\ncontent-length: 0\r\n\r\n"
    call = b"POST /s/m HTTP/1.1\r\nHost: a\r\nContent-Type: application/grpc\r\nContent-Length: 0\r\n\r\n"
    async with serving(replying(unavailable)) as upstream:
        outlier = OutlierDetection(consecutive_5xx=2, max_ejection_percent=100)
        config = snapshot(listener(manager(routes(forward("a")))), cluster("a", upstream.port, outlier=outlier))
        async with running(config) as proxy, client(proxy) as stream:
            host = proxy.current.clusters["a"].balancer.hosts[0]
            for is_ejected in (False, True):
                await stream.send_all(call)
                assert (await read_response(stream))[0] == 200
                assert host.ejected is is_ejected
