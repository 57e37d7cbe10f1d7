"""Collector: `python -m mesh.sandbox.collector`, a small OTLP receiver with Jaeger's query API.

Takes OTLP/gRPC (4317) and OTLP/HTTP (4318), keeps the newest traces in memory, answers queries (16686), and, with
`--otlp`, passes everything on to a real collector. One asyncio loop: grpc.aio, and Hypercorn for HTTP.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import socket
import sys
from collections.abc import Sequence
from typing import Any

import grpc
from hypercorn.asyncio import serve
from hypercorn.config import Config

from mesh.http_faults import log_in_one_line
from mesh.sandbox.otlp_messages import ExportTraceServiceRequest, ExportTraceServiceResponse
from mesh.sandbox.trace_api import application
from mesh.sandbox.trace_store import MAX_TRACES, TraceStore

logger = logging.getLogger(__name__)

SERVICE = "opentelemetry.proto.collector.trace.v1.TraceService"
_MAX_QUEUED = 1_000
_FORWARD_SECONDS = 10.0


class Forwarder:
    """Passes requests on to another OTLP/gRPC receiver, in the background; drops and counts what it cannot keep up with."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._queue: asyncio.Queue[Any] = asyncio.Queue(_MAX_QUEUED)
        self.dropped = 0

    def offer(self, request: Any) -> None:
        try:
            self._queue.put_nowait(request)
        except asyncio.QueueFull:
            self.dropped += 1

    async def run(self) -> None:
        async with grpc.aio.insecure_channel(self._target) as channel:
            call = channel.unary_unary(
                f"/{SERVICE}/Export",
                request_serializer=ExportTraceServiceRequest.SerializeToString,
                response_deserializer=ExportTraceServiceResponse.FromString,
            )
            while True:
                request = await self._queue.get()
                try:
                    await call(request, timeout=_FORWARD_SECONDS, wait_for_ready=True)
                except grpc.aio.AioRpcError as exc:
                    self.dropped += 1
                    logger.warning("forwarding to %s: %s: %s", self._target, exc.code(), exc.details())


class Collector:
    """The running collector. Ports are known after `start` (0 asks for a free one)."""

    def __init__(self, host: str, grpc_port: int, otlp_http_port: int, query_port: int, max_traces: int, otlp: str) -> None:
        self.store = TraceStore(max_traces)
        self._forwarder = Forwarder(otlp) if otlp else None
        self._server = grpc.aio.server()
        handler = grpc.unary_unary_rpc_method_handler(
            self._export,
            request_deserializer=ExportTraceServiceRequest.FromString,
            response_serializer=ExportTraceServiceResponse.SerializeToString,
        )
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"Export": handler}),))
        self.grpc_port = self._server.add_insecure_port(f"[{host}]:{grpc_port}" if ":" in host else f"{host}:{grpc_port}")
        self._http = Config()
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        sockets = [socket.create_server((host, port), family=family) for port in (query_port, otlp_http_port)]
        self.query_port, self.otlp_http_port = (item.getsockname()[1] for item in sockets)
        self._http.bind = [f"fd://{item.detach()}" for item in sockets]  # Hypercorn owns and closes them
        self._http.accesslog = None
        self._http.errorlog = logging.getLogger("hypercorn.error")

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set."""
        await self._server.start()
        app = application(self.store, self._deliver)
        tasks = [asyncio.create_task(serve(app, self._http, shutdown_trigger=stop.wait))]  # type: ignore[arg-type]
        if self._forwarder is not None:
            tasks.append(asyncio.create_task(self._forwarder.run()))
        try:
            await tasks[0]
        finally:
            for task in tasks[1:]:
                task.cancel()
            await asyncio.gather(*tasks[1:], return_exceptions=True)
            await self._server.stop(grace=1.0)

    async def _deliver(self, request: Any) -> int:
        rejected = self.store.add(request)
        if self._forwarder is not None:
            self._forwarder.offer(request)
        return rejected

    async def _export(self, request: Any, context: object) -> Any:
        response = ExportTraceServiceResponse()
        rejected = await self._deliver(request)
        if rejected:
            response.partial_success.rejected_spans = rejected
            response.partial_success.error_message = "ids must have 16 and 8 bytes; a trace has a limited number of spans"
        return response


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m mesh.sandbox.collector", description=__doc__)
    parser.add_argument("--host", default="0.0.0.0", help="address to listen on (default %(default)s)")
    parser.add_argument("--otlp-grpc-port", type=int, default=4317, metavar="PORT")
    parser.add_argument("--otlp-http-port", type=int, default=4318, metavar="PORT")
    parser.add_argument("--query-port", type=int, default=16686, metavar="PORT")
    parser.add_argument("--max-traces", type=int, default=MAX_TRACES, metavar="N", help="traces kept (default %(default)s)")
    parser.add_argument("--otlp", default="", metavar="HOST:PORT", help="pass spans on to this OTLP/gRPC receiver")
    options = parser.parse_args(argv)
    if options.max_traces < 1:
        parser.error("--max-traces must be positive")
    return options


async def run(options: argparse.Namespace) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    log_in_one_line(loop)
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    collector = Collector(
        options.host,
        options.otlp_grpc_port,
        options.otlp_http_port,
        options.query_port,
        options.max_traces,
        options.otlp,
    )
    logger.info(
        "OTLP/gRPC on port %s, OTLP/HTTP on %s, queries on %s",
        collector.grpc_port,
        collector.otlp_http_port,
        collector.query_port,
    )
    await collector.run(stop)


def main(argv: Sequence[str]) -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    asyncio.run(run(arguments(argv)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
