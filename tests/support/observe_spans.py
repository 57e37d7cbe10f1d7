"""A real OTLP/gRPC receiver in threads, and an app that calls on with some of the headers it got."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
import trio

from mesh.proxy.local_http import Answer, Handler, Request, fetch
from mesh.proxy.observe.otlp import METHOD
from mesh.sandbox.otlp_messages import ExportTraceServiceRequest, ExportTraceServiceResponse
from mesh.sandbox.trace_store import TraceStore


@contextmanager
def span_receiver() -> Iterator[tuple[TraceStore, int]]:
    """(what was received, port on 127.0.0.1). One worker: the store is for one thread at a time."""
    store = TraceStore()

    def export(data: bytes, context: grpc.ServicerContext) -> bytes:
        store.add(ExportTraceServiceRequest.FromString(data))
        return bytes(ExportTraceServiceResponse().SerializeToString())

    server = grpc.server(ThreadPoolExecutor(1))
    service, name = METHOD.strip("/").split("/")
    handler = grpc.unary_unary_rpc_method_handler(export, None, None)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {name: handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield store, port
    finally:
        server.stop(None).wait()


def calling_on(port: Callable[[], int], host: str, target: str, forwards: Iterable[bytes]) -> Handler:
    """An application that makes one call through its proxy's outbound port, forwarding headers by name."""
    names = tuple(forwards)

    async def handle(request: Request) -> Answer:
        found = [(name, value) for name in names if (value := request.head.get(name)) is not None]
        lines = b"".join(b"%b: %b\r\n" % item for item in found)
        async with await trio.open_tcp_stream("127.0.0.1", port()) as stream:
            answer = await fetch(stream, host, target, lines)
        return Answer(answer.status, answer.body)

    return handle


def chain(trace: dict[str, Any]) -> list[tuple[str, str]]:
    """(service, span kind) from the root down, following parents; fails when the spans are not one chain."""
    spans = {span["references"][0]["spanID"] if span["references"] else "": span for span in trace["spans"]}
    assert len(spans) == len(trace["spans"])
    found, parent = [], ""
    while parent in spans:
        span = spans[parent]
        kind = next(tag["value"] for tag in span["tags"] if tag["key"] == "span.kind")
        found.append((trace["processes"][span["processID"]]["serviceName"], kind))
        parent = span["spanID"]
    assert len(found) == len(trace["spans"])
    return found
