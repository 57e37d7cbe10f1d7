from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from typing import Any

import grpc
import pytest

from mesh.sandbox.collector import SERVICE, Collector, arguments
from mesh.sandbox.otlp_messages import ExportTraceServiceRequest, ExportTraceServiceResponse


def request(*ids: bytes) -> Any:
    message = ExportTraceServiceRequest()
    scope = message.resource_spans.add().scope_spans.add()
    for span_id in ids:
        span = scope.spans.add()
        span.trace_id, span.span_id, span.name = b"\x01" * 16, span_id, "op"
    return message


def collector(otlp: str = "") -> Collector:
    return Collector("127.0.0.1", 0, 0, 0, max_traces=10, otlp=otlp)


async def export(port: int, message: Any) -> Any:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary(
            f"/{SERVICE}/Export",
            request_serializer=ExportTraceServiceRequest.SerializeToString,
            response_deserializer=ExportTraceServiceResponse.FromString,
        )
        return await call(message, timeout=20, wait_for_ready=True)


def get(port: int, path: str) -> Any:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=20) as answer:
        return json.load(answer)


def test_grpc_in_jaeger_out() -> None:
    async def story() -> None:
        found, stop = collector(), asyncio.Event()
        running = asyncio.create_task(found.run(stop))
        response = await export(found.grpc_port, request(b"\x02" * 8, b"bad"))
        assert response.partial_success.rejected_spans == 1
        services = await asyncio.to_thread(get, found.query_port, "/api/services")
        assert services["data"] == ["unknown_service"]
        trace = await asyncio.to_thread(get, found.otlp_http_port, f"/api/traces/{'01' * 16}")
        assert [span["spanID"] for span in trace["data"][0]["spans"]] == ["02" * 8]
        stop.set()
        await running

    asyncio.run(story())


def post_too_much(port: int) -> int:
    asked = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/traces", b"x" * ((8 << 20) + 1), {"content-type": "application/x-protobuf"}
    )
    try:
        with urllib.request.urlopen(asked, timeout=20) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as exc:
        with exc:
            return exc.code


def test_a_body_over_http_is_bounded() -> None:
    async def story() -> None:
        found, stop = collector(), asyncio.Event()
        running = asyncio.create_task(found.run(stop))
        assert await asyncio.to_thread(post_too_much, found.otlp_http_port) == 413
        stop.set()
        await running

    asyncio.run(story())


def test_spans_are_passed_on() -> None:
    async def story() -> None:
        behind, stop_behind = collector(), asyncio.Event()
        serving = asyncio.create_task(behind.run(stop_behind))
        front, stop = collector(f"127.0.0.1:{behind.grpc_port}"), asyncio.Event()
        running = asyncio.create_task(front.run(stop))
        await export(front.grpc_port, request(b"\x02" * 8))
        arrived = asyncio.Event()
        add = behind.store.add

        def watched(message: Any) -> int:
            arrived.set()
            return add(message)

        behind.store.add = watched  # type: ignore[method-assign]
        if not len(behind.store):
            await asyncio.wait_for(arrived.wait(), 20)
        assert behind.store.trace("01" * 16) is not None
        for event, task in ((stop, running), (stop_behind, serving)):
            event.set()
            await task

    asyncio.run(story())


def test_ports_have_their_usual_numbers() -> None:
    options = arguments([])
    assert (options.otlp_grpc_port, options.otlp_http_port, options.query_port, options.max_traces) == (4317, 4318, 16686, 10_000)


def test_nonsense_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        arguments(["--max-traces", "0"])
    assert "must be positive" in capsys.readouterr().err
