import json
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import trio

from mesh.model.listener import AccessLog, Direction, FilterChain, HttpManager, TcpProxy, Tracing
from mesh.model.route import WeightedCluster
from mesh.proxy.local_http import Answer, Handler, Request, fetch, serve
from mesh.proxy.match import CompileError
from mesh.proxy.observe.access_log import default_log
from mesh.proxy.observe.metrics import Kind, Metric
from mesh.proxy.observe.record import Connection, TcpRecord
from mesh.proxy.observe.telemetry import Telemetry, TelemetrySettings
from mesh.proxy.pipeline import Proxy
from mesh.sandbox.trace_store import TraceQuery
from tests.support import proxy as proxies
from tests.support.observe import REVIEWS, REVIEWS_V1, head, host, record
from tests.support.observe_spans import calling_on, chain, span_receiver

METADATA = {"WORKLOAD_NAME": "me", "NAMESPACE": "ns", "LABELS": {"app": "me", "version": "v1"}}
GOLDEN = Path(__file__).parents[4] / "golden" / "metrics.txt"


def telemetry(**settings: object) -> Telemetry:
    return Telemetry("sidecar~1~me.ns~ns", METADATA, TelemetrySettings(**settings), "0.1.0")  # type: ignore[arg-type]


def busy(**settings: object) -> Telemetry:
    """One of everything."""
    found = telemetry(default_tracing=Tracing(100.0), **settings)
    for direction in (Direction.OUTBOUND, Direction.INBOUND):
        observer, item = found.http(HttpManager("h"), direction), record(head("POST", "/", "h"))
        observer.begin(item)
        item.cluster, item.host, item.status, item.bytes_received, item.bytes_sent = REVIEWS, host(workload=REVIEWS_V1), 200, 3, 400
        observer.end(item, 100.0042)
    tcp, item = found.tcp(TcpProxy("t", (WeightedCluster("c"),)), Direction.OUTBOUND), TcpRecord(Connection(), 1.0)
    tcp.begin(item, 1.0)
    tcp.end(item, 2.0)
    found.detected(Direction.OUTBOUND, "server_first", 1.0)
    return found


def test_the_exposition_is_as_the_golden_file_says() -> None:
    assert busy().expose(100.0).decode() == GOLDEN.read_text()


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_complains_of_istios_unit_alone() -> None:
    done = subprocess.run(["promtool", "check", "metrics"], input=busy().expose(100.0), capture_output=True, check=False)
    complaints = (done.stdout + done.stderr).decode().split("\n")
    assert [line for line in complaints if line and not line.startswith("istio_request_duration_milliseconds use base unit")] == []


def test_a_living_tcp_connection_is_read_at_exposition() -> None:
    found = telemetry()
    observer, item = found.tcp(TcpProxy("t", (WeightedCluster("c"),)), Direction.OUTBOUND), TcpRecord(Connection(), 1.0)
    observer.begin(item, 1.0)
    item.bytes_sent = 77
    assert b"} 77\n" in found.expose(2.0)


def test_observers_of_dead_listeners_are_forgotten() -> None:
    found = telemetry()
    for _ in range(10):
        found.tcp(TcpProxy("t", (WeightedCluster("c"),)), Direction.OUTBOUND)
    assert len(found._tcp_observers) == 0


def test_lines_go_to_the_file_of_the_listener_or_the_default(tmp_path: Path) -> None:
    found = telemetry(default_access_log=default_log(str(tmp_path / "default"), "JSON"))
    own = AccessLog(str(tmp_path / "own"), text="%RESPONSE_CODE%\n")
    for manager in (HttpManager("h"), HttpManager("h", access_logs=(own,))):
        observer, item = found.http(manager, Direction.OUTBOUND), record()
        observer.begin(item)
        item.status = 204
        observer.end(item, 101.0)
    found.close()
    assert (tmp_path / "own").read_text() == "204\n"
    assert json.loads((tmp_path / "default").read_text())["response_code"] == 204
    assert f'triomesh_access_log_dropped_total{{path="{tmp_path}/own"}} 0' in found.expose(102.0).decode()


def test_without_tracing_no_context_is_made() -> None:
    observer, item = telemetry().http(HttpManager("h"), Direction.OUTBOUND), record()
    observer.begin(item)
    assert item.trace is None


def test_the_default_tracing_applies_to_listeners_without_one() -> None:
    observer, item = telemetry(default_tracing=Tracing(100.0)).http(HttpManager("h"), Direction.OUTBOUND), record()
    observer.begin(item)
    assert item.trace is not None and item.trace.is_sampled


def test_the_overall_percentage_caps_the_random_one() -> None:
    manager = HttpManager("h", tracing=Tracing(100.0, overall_sampling_percent=0.0))
    observer, item = telemetry().http(manager, Direction.OUTBOUND), record()
    observer.begin(item)
    assert item.trace is not None and not item.trace.is_sampled


def test_sampled_requests_are_exported() -> None:
    found = busy(otlp="127.0.0.1:1")
    assert found.exporter is not None
    assert "triomesh_spans_exported_total 0" in found.expose(1.0).decode()
    found.close()
    assert found.exporter.dropped == 2


def test_a_listener_whose_tracing_names_no_cluster_sends_nothing() -> None:
    found = telemetry(otlp="127.0.0.1:1", default_tracing=Tracing(100.0))
    observer, item = found.http(HttpManager("h", tracing=Tracing(100.0)), Direction.OUTBOUND), record()
    observer.begin(item)
    observer.end(item, 101.0)
    assert item.trace is not None and item.trace.is_sampled
    found.close()
    assert found.exporter is not None and found.exporter.dropped == 0


def test_a_bad_format_is_refused_when_the_listener_is_made() -> None:
    with pytest.raises(CompileError, match="unknown command operator"):
        telemetry().http(HttpManager("h", access_logs=(AccessLog("-", text="%X%"),)), Direction.OUTBOUND)


W3C = (b"traceparent", b"tracestate")
B3 = (b"x-b3-traceid", b"x-b3-spanid", b"x-b3-parentspanid", b"x-b3-sampled", b"x-b3-flags")


@asynccontextmanager
async def app(handler: Handler) -> AsyncIterator[int]:
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(serve, await trio.open_tcp_listeners(0, host="127.0.0.1"), handler))
        yield listeners[0].socket.getsockname()[1]
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def proxy(name: str, direction: Direction, to: int, otlp: int, share: float) -> AsyncIterator[Proxy]:
    metadata = {"WORKLOAD_NAME": name, "NAMESPACE": "default", "LABELS": {"app": name}}
    settings = TelemetrySettings(otlp=f"127.0.0.1:{otlp}", default_tracing=Tracing(share))
    found = Proxy(Telemetry(f"sidecar~1~{name}~default", metadata, settings, "t"))
    manager = proxies.manager(proxies.routes(proxies.forward("c")))
    async with trio.open_nursery() as nursery:
        await nursery.start(found.run)
        assert found.apply(proxies.snapshot(proxies.listener(manager, direction), proxies.cluster("c", to))) == {}
        yield found
        nursery.cancel_scope.cancel()
    await trio.to_thread.run_sync(found.telemetry.close)


@pytest.mark.parametrize("forwards", [W3C, B3, W3C + B3], ids=["w3c", "b3", "both"])
async def test_every_hop_of_a_request_joins_one_trace(forwards: tuple[bytes, ...]) -> None:
    """gateway -> productpage's sidecar -> app -> productpage's sidecar -> reviews' sidecar -> app. Only the gateway draws."""

    async def leaf(request: Request) -> Answer:
        return Answer(200, b"stars")

    with span_receiver() as (store, otlp):
        outbound: list[Proxy] = []
        page = calling_on(lambda: proxies.port_of(outbound[0]), "reviews:9080", "/reviews/0", (b"x-request-id", *forwards))
        async with (
            app(leaf) as reviews,
            proxy("reviews", Direction.INBOUND, reviews, otlp, 0.0) as last,
            proxy("productpage", Direction.OUTBOUND, proxies.port_of(last), otlp, 0.0) as calling,
            app(page) as productpage,
            proxy("productpage", Direction.INBOUND, productpage, otlp, 0.0) as called,
            proxy("gateway", Direction.OUTBOUND, proxies.port_of(called), otlp, 100.0) as gateway,
        ):
            outbound.append(calling)
            async with proxies.client(gateway) as stream:
                assert (await fetch(stream, "bookinfo", "/productpage")).body == b"stars"
    traces = store.search(TraceQuery())
    assert [chain(trace) for trace in traces] == [
        [
            ("gateway.default", "client"),
            ("productpage.default", "server"),
            ("productpage.default", "client"),
            ("reviews.default", "server"),
        ]
    ]
    ids = {tag["value"] for span in traces[0]["spans"] for tag in span["tags"] if tag["key"] == "guid:x-request-id"}
    assert len(ids) == 1


async def test_requests_are_served_during_a_scrape() -> None:
    found = busy()
    groups = found.registry.group(Metric("app_many", "Many.", Kind.GAUGE), ("number",))
    for number in range(1000):
        groups.series((str(number),), 0.0)
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(others)
        text = await found.scrape(100.0)
        nursery.cancel_scope.cancel()
    assert turns >= 5
    assert text == found.expose(100.0)


async def test_spans_go_to_the_cluster_that_the_listener_names_wherever_it_moves() -> None:
    async def leaf(request: Request) -> Answer:
        return Answer(200, b"stars")

    with span_receiver() as (before, first), span_receiver() as (after, second):
        async with app(leaf) as server, proxy("page", Direction.OUTBOUND, server, first, 100.0) as found:
            manager = proxies.manager(proxies.routes(proxies.forward("c")), tracing=Tracing(100.0, otlp_cluster="otel"))
            listening = replace(found.current.listeners["test"].model, chains=(FilterChain(manager),))
            for port in (1, second):
                config = proxies.snapshot(listening, proxies.cluster("c", server), proxies.cluster("otel", port))
                assert found.apply(config) == {}
            async with proxies.client(found) as stream:
                assert (await fetch(stream, "reviews", "/")).body == b"stars"
    assert len(before.search(TraceQuery())) == 0
    assert [chain(trace) for trace in after.search(TraceQuery())] == [[("page.default", "client")]]
