"""Trace API: the collector's HTTP side as an ASGI application: Jaeger's query API, and OTLP/HTTP.

GET /api/services, /api/services/{name}/operations, /api/operations?service=, /api/traces?service=&operation=&limit=&
start=&end=&lookback=&minDuration=&maxDuration=&tags=, /api/traces/{id}, /healthz, /metrics; POST /v1/traces (protobuf).
Source: Jaeger's HTTP JSON API (what its own UI calls), OTLP specification "OTLP/HTTP".
"""

from __future__ import annotations

import gzip
import io
import json
import re
import time
import zlib
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any

from google.protobuf.message import DecodeError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from mesh.sandbox.otlp_messages import ExportTraceServiceRequest, ExportTraceServiceResponse
from mesh.sandbox.trace_store import TraceQuery, TraceStore

MAX_LIMIT = 1_500
_MAX_BODY_BYTES = 8 << 20
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(us|µs|ms|s|m|h|d)")
_MICROSECONDS = {
    "us": 1,
    "µs": 1,
    "ms": 1_000,
    "s": 1_000_000,
    "m": 60_000_000,
    "h": 3_600_000_000,
    "d": 86_400_000_000,
}

Deliver = Callable[[Any], Awaitable[int]]
"""Takes in the spans of an ExportTraceServiceRequest; returns how many were rejected."""


class BadQuery(ValueError):
    """A parameter that cannot be understood; the message names it."""


def application(store: TraceStore, deliver: Deliver) -> Starlette:
    """Args: deliver: for OTLP/HTTP, the same as gRPC uses."""

    async def services(request: Request) -> Response:
        return _page(store.services())

    async def operations(request: Request) -> Response:
        service = request.path_params.get("service") or request.query_params.get("service") or ""
        names = store.operations(service)
        # /api/operations answers objects, /api/services/{}/operations plain names, as in Jaeger.
        return _page(names if "service" in request.path_params else [{"name": n, "spanKind": ""} for n in names])

    async def traces(request: Request) -> Response:
        try:
            query = parse_query(dict(request.query_params), time.time())
        except BadQuery as exc:
            return _error(400, str(exc))
        return _page(store.search(query))

    async def trace(request: Request) -> Response:
        found = store.trace(request.path_params["trace_id"])
        return _page([found]) if found is not None else _error(404, "trace not found")

    async def otlp(request: Request) -> Response:
        return await _take(request, deliver)

    async def health(request: Request) -> Response:
        return Response("ok\n", media_type="text/plain")

    async def metrics(request: Request) -> Response:
        return Response(_metrics(store), media_type="text/plain; version=0.0.4")

    return Starlette(
        routes=[
            Route("/api/services", services),
            Route("/api/services/{service}/operations", operations),
            Route("/api/operations", operations),
            Route("/api/traces", traces),
            Route("/api/traces/{trace_id}", trace),
            Route("/v1/traces", otlp, methods=["POST"]),
            Route("/healthz", health),
            Route("/metrics", metrics),
        ]
    )


def parse_query(parameters: dict[str, str], now: float) -> TraceQuery:
    """Args: now: seconds since the epoch, for `lookback`. Raises: BadQuery."""
    end = _integer(parameters, "end", int(now * 1e6) + 60_000_000)
    start = _integer(parameters, "start", 0)
    if "start" not in parameters and parameters.get("lookback", "custom") != "custom":
        start = end - _duration(parameters["lookback"], "lookback")
    limit = _integer(parameters, "limit", 20)
    if not 1 <= limit <= MAX_LIMIT:
        raise BadQuery(f"limit: {limit} is not between 1 and {MAX_LIMIT}")
    return TraceQuery(
        service=parameters.get("service", ""),
        operation=parameters.get("operation", ""),
        start_us=start,
        end_us=end,
        min_duration_us=_duration(parameters["minDuration"], "minDuration") if parameters.get("minDuration") else 0,
        max_duration_us=_duration(parameters["maxDuration"], "maxDuration") if parameters.get("maxDuration") else 1 << 62,
        tags=_tags(parameters.get("tags", "")),
        limit=limit,
    )


def _integer(parameters: dict[str, str], name: str, default: int) -> int:
    value = parameters.get(name, "")
    if not value:
        return default
    if not value.isdigit() or len(value) > 18:
        raise BadQuery(f"{name}: {value!r} is not a number")
    return int(value)


def _duration(value: str, name: str) -> int:
    match = _DURATION.fullmatch(value)
    if match is None:
        raise BadQuery(f"{name}: {value!r} is not a duration such as 250ms or 1h")
    return int(float(match[1]) * _MICROSECONDS[match[2]])


def _tags(value: str) -> tuple[tuple[str, str], ...]:
    if not value:
        return ()
    try:
        tags = json.loads(value)
    except ValueError as exc:
        raise BadQuery(f"tags: not JSON: {exc}") from exc
    if not isinstance(tags, dict) or not all(isinstance(item, str) for item in tags.values()):
        raise BadQuery("tags: not a JSON object of strings")
    return tuple(tags.items())


async def _take(request: Request, deliver: Deliver) -> Response:
    content_type = request.headers.get("content-type", "").partition(";")[0].strip()
    if content_type != "application/x-protobuf":
        return Response("only application/x-protobuf is taken\n", 415, media_type="text/plain")
    body = b""
    async with aclosing(request.stream()) as stream:
        async for part in stream:
            body += part
            if len(body) > _MAX_BODY_BYTES:
                return Response(f"more than {_MAX_BODY_BYTES} bytes\n", 413, media_type="text/plain")
    try:
        if request.headers.get("content-encoding") == "gzip":
            body = _gunzip(body)
        message = ExportTraceServiceRequest.FromString(body)
    except (OSError, EOFError, zlib.error, DecodeError) as exc:
        return Response(f"not an ExportTraceServiceRequest: {exc}\n", 400, media_type="text/plain")
    response = ExportTraceServiceResponse()
    response.partial_success.rejected_spans = await deliver(message)
    return Response(response.SerializeToString(), media_type="application/x-protobuf")


def _gunzip(body: bytes) -> bytes:
    with gzip.GzipFile(fileobj=io.BytesIO(body)) as file:
        data = file.read(_MAX_BODY_BYTES + 1)
    if len(data) > _MAX_BODY_BYTES:
        raise OSError(f"more than {_MAX_BODY_BYTES} bytes when unpacked")
    return data


def _page(data: list[Any]) -> JSONResponse:
    return JSONResponse({"data": data, "total": len(data), "limit": 0, "offset": 0, "errors": None})


def _error(status: int, message: str) -> JSONResponse:
    errors = [{"code": status, "msg": message}]
    return JSONResponse({"data": None, "total": 0, "limit": 0, "offset": 0, "errors": errors}, status)


def _metrics(store: TraceStore) -> str:
    rows = (
        ("triomesh_collector_spans_received_total", "counter", "Spans received.", store.spans_received),
        ("triomesh_collector_spans_rejected_total", "counter", "Spans not kept.", store.spans_rejected),
        ("triomesh_collector_traces_evicted_total", "counter", "Traces that made room for newer ones.", store.traces_evicted),
        ("triomesh_collector_traces", "gauge", "Traces kept.", len(store)),
        ("triomesh_collector_bytes", "gauge", "Memory they take, roughly.", store.bytes),
    )
    return "".join(f"# HELP {name} {text}\n# TYPE {name} {kind}\n{name} {value}\n" for name, kind, text, value in rows)
