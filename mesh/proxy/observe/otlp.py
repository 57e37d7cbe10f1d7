"""OTLP exporter: finished spans to a collector over gRPC, from a thread of its own.

The request's path only appends to a bounded queue. The thread sleeps while nothing is queued; then it sends batches of at
most 512, or what came together within a second. A collector that is down costs nothing but counted spans: batches are
repeated with a jittered, growing pause while the queue fills, and what does not fit is dropped.
"""

from __future__ import annotations

import logging
import random
import threading
from collections import deque
from collections.abc import Callable, Sequence

import grpc

from mesh.proxy.observe.clock import WALL
from mesh.proxy.observe.otlp_wire import decode_rejected, encode_request
from mesh.proxy.observe.span import Span

logger = logging.getLogger(__name__)

METHOD = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
MAX_QUEUED = 4096
BATCH = 512
GATHER_SECONDS = 1.0
_TIMEOUT_SECONDS = 10.0
_FIRST_PAUSE_SECONDS = 0.5
_MAX_PAUSE_SECONDS = 30.0

# OTLP specification, "Failures": the codes after which a batch may be sent again.
_RETRYABLE = frozenset(
    (
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    )
)


Send = Callable[..., bytes]


class OtlpExporter:
    """`export` is called on the trio thread; everything else runs on the exporter's.

    exported, dropped, failed_batches only grow; they feed the metrics.
    """

    def __init__(
        self,
        target: str,
        *,
        max_queued: int = MAX_QUEUED,
        batch: int = BATCH,
        gather_seconds: float = GATHER_SECONDS,
        resource: Sequence[tuple[str, str]] = (),
    ) -> None:
        """Args: target: gRPC's name of an OTLP receiver (`host:port`); "" = none yet. resource: attributes of every span's resource."""
        self._target = target
        self._max_queued = max_queued
        self._batch = batch
        self._gather_seconds = gather_seconds
        self._resource = tuple(resource)
        self._queue: deque[Span] = deque()
        self._condition = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closing = False
        self.exported = 0
        self.dropped = 0
        self.failed_batches = 0

    def export(self, span: Span) -> None:
        """Queue a span, or drop and count it. Never waits for the network."""
        queue = self._queue
        if len(queue) >= self._max_queued or self._closing or not self._target:
            self.dropped += 1
            return
        queue.append(span)
        # Only the first of a batch and the one that completes it have to wake the thread.
        if len(queue) == 1 or len(queue) == self._batch:
            with self._condition:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="otlp", daemon=True)
                    self._thread.start()
                self._condition.notify()

    def aim(self, target: str) -> None:
        """Send to another receiver from the next batch on; "" = to none: spans are dropped and counted until there is one."""
        if target != self._target:
            with self._condition:
                self._target = target
                self._condition.notify()

    def close(self, timeout_seconds: float = 2.0) -> None:
        """Send what is queued, once, and end the thread; what cannot be sent in time is dropped and counted."""
        with self._condition:
            self._closing = True
            self._condition.notify()
        if self._thread is not None:
            self._thread.join(timeout_seconds)

    def _run(self) -> None:
        options = [("grpc.enable_http_proxy", 0), ("grpc.max_reconnect_backoff_ms", int(_MAX_PAUSE_SECONDS * 1000))]
        while self._wait_for_batch():
            target = self._target
            if not target:
                self._drop(len(self._queue))
                continue
            with grpc.insecure_channel(target, options=options) as channel:
                self._send_to(target, channel.unary_unary(METHOD, request_serializer=None, response_deserializer=None))

    def _send_to(self, target: str, send: Send) -> None:
        # Until it is another one, or the exporter is closed.
        while self._wait_for_batch() and self._target == target:
            count = min(len(self._queue), self._batch)
            batch = [self._queue[index] for index in range(count)]
            try:
                if self._deliver(target, send, encode_request(batch, self._resource), count):
                    WALL.adjust()
            except Exception:
                # The thread's boundary: one batch that cannot be sent must not be the last one ever tried.
                logger.exception("spans: a batch of %s is lost", count)
                self._drop(count)

    def _wait_for_batch(self) -> bool:
        """False: nothing is left and the exporter is closed."""
        with self._condition:
            self._condition.wait_for(lambda: self._queue or self._closing)
            if not self._closing:
                self._condition.wait_for(
                    lambda: len(self._queue) >= self._batch or self._closing, timeout=self._gather_seconds
                )
            return bool(self._queue)

    def _deliver(self, target: str, send: Send, request: bytes, count: int) -> bool:
        # The batch stays at the head of the queue until it is delivered or given up, so that the bound holds for all.
        pause = _FIRST_PAUSE_SECONDS
        while True:
            try:
                response = send(request, timeout=_TIMEOUT_SECONDS)
            except grpc.RpcError as exc:
                self.failed_batches += 1
                if exc.code() not in _RETRYABLE or self._closing:
                    logger.warning("spans: %s lost: %s: %s", count, exc.code(), exc.details())
                    self._drop(count)
                    return False
                with self._condition:
                    self._condition.wait_for(
                        lambda: self._closing or self._target != target, timeout=pause * random.uniform(0.5, 1.0)
                    )
                if self._target != target:
                    return False  # another one is to have it
                pause = min(pause * 2.0, _MAX_PAUSE_SECONDS)
                continue
            rejected = decode_rejected(response)
            self._forget(count)
            self.dropped += rejected
            self.exported += count - rejected
            return True

    def _drop(self, count: int) -> None:
        self._forget(count)
        self.dropped += count

    def _forget(self, count: int) -> None:
        for _ in range(count):
            self._queue.popleft()
