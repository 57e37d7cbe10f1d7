import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from mesh.proxy.observe.otlp import METHOD, OtlpExporter
from mesh.proxy.observe.span import Span, SpanKind
from mesh.sandbox.otlp_messages import ExportTraceServiceRequest, ExportTraceServiceResponse

SPAN = Span("a", "op", SpanKind.CLIENT, b"a" * 32, b"b" * 16, b"", 1, 2, False, ())


class Receiver:
    """A real OTLP/gRPC server; `answer` may refuse."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.refusals: list[grpc.StatusCode] = []
        self.rejects = 0
        self._received = threading.Condition()
        self._server = grpc.server(ThreadPoolExecutor(2))
        handler = grpc.unary_unary_rpc_method_handler(self._export, None, None)
        service, name = METHOD.strip("/").split("/")
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {name: handler}),))
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    def _export(self, data: bytes, context: grpc.ServicerContext) -> bytes:
        request = ExportTraceServiceRequest.FromString(data)
        count = sum(len(scope.spans) for group in request.resource_spans for scope in group.scope_spans)
        with self._received:
            refusal = self.refusals.pop(0) if self.refusals else None
            if refusal is None:
                self.batches.append(count)
            self._received.notify_all()
        if refusal is not None:
            context.abort(refusal, "refused")
        response = ExportTraceServiceResponse()
        response.partial_success.rejected_spans = self.rejects
        return bytes(response.SerializeToString())

    def wait_for(self, condition: Callable[[], bool]) -> None:
        with self._received:
            assert self._received.wait_for(condition, timeout=20.0)

    def close(self) -> None:
        self._server.stop(None).wait()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    found = Receiver()
    yield found
    found.close()


def exporter(receiver: Receiver, **fields: object) -> OtlpExporter:
    return OtlpExporter(f"127.0.0.1:{receiver.port}", **{"gather_seconds": 0.05, **fields})  # type: ignore[arg-type]


def test_spans_that_come_together_travel_together(receiver: Receiver) -> None:
    found = exporter(receiver, gather_seconds=5.0)
    for _ in range(7):
        found.export(SPAN)
    found.close()
    assert (receiver.batches, found.exported, found.dropped) == ([7], 7, 0)


def test_a_full_batch_does_not_wait(receiver: Receiver) -> None:
    found = exporter(receiver, batch=3, gather_seconds=600.0)
    for _ in range(3):
        found.export(SPAN)
    receiver.wait_for(lambda: receiver.batches == [3])
    found.close()


def test_a_single_span_goes_out_by_itself(receiver: Receiver) -> None:
    found = exporter(receiver)
    found.export(SPAN)
    receiver.wait_for(lambda: receiver.batches == [1])
    found.close()


def test_a_refused_batch_is_repeated(receiver: Receiver) -> None:
    receiver.refusals = [grpc.StatusCode.UNAVAILABLE]
    found = exporter(receiver)
    found.export(SPAN)
    receiver.wait_for(lambda: receiver.batches == [1])
    found.close()
    assert (found.exported, found.dropped, found.failed_batches) == (1, 0, 1)


def test_a_batch_that_is_wrong_is_not_repeated(receiver: Receiver) -> None:
    receiver.refusals = [grpc.StatusCode.INVALID_ARGUMENT]
    found = exporter(receiver)
    found.export(SPAN)
    receiver.wait_for(lambda: not receiver.refusals)
    found.close()
    assert (receiver.batches, found.exported, found.dropped) == ([], 0, 1)


def test_rejected_spans_are_counted_as_dropped(receiver: Receiver) -> None:
    receiver.rejects = 2
    found = exporter(receiver, gather_seconds=5.0)
    for _ in range(5):
        found.export(SPAN)
    found.close()
    assert (found.exported, found.dropped) == (3, 2)


def test_the_queue_is_bounded_while_the_collector_is_down() -> None:
    found = OtlpExporter("127.0.0.1:1", max_queued=10, gather_seconds=0.0)
    for _ in range(25):
        found.export(SPAN)
    assert found.dropped == 15
    found.close(timeout_seconds=10.0)
    assert (found.exported, found.dropped) == (0, 25)


def test_without_spans_there_is_no_thread() -> None:
    before = threading.active_count()
    found = OtlpExporter("127.0.0.1:1")
    assert threading.active_count() == before
    found.close()


def test_spans_follow_the_receiver(receiver: Receiver) -> None:
    other = Receiver()
    found = OtlpExporter("", gather_seconds=0.05)
    found.export(SPAN)
    assert found.dropped == 1
    for where in (receiver, other, receiver):
        found.aim(f"127.0.0.1:{where.port}")
        before = len(where.batches)
        found.export(SPAN)
        where.wait_for(lambda where=where, before=before: len(where.batches) > before)  # type: ignore[misc]
    found.close()
    other.close()
    assert (receiver.batches, other.batches, found.exported, found.dropped) == ([1, 1], [1], 3, 1)


def test_what_a_dead_receiver_did_not_take_goes_to_the_next(receiver: Receiver) -> None:
    gone = Receiver()
    gone.close()
    found = OtlpExporter(f"127.0.0.1:{gone.port}", gather_seconds=0.0)
    found.export(SPAN)
    while not found.failed_batches:
        threading.Event().wait(0.005)
    found.aim(f"127.0.0.1:{receiver.port}")
    receiver.wait_for(lambda: receiver.batches == [1])
    found.close()
    assert (found.exported, found.dropped) == (1, 0)
