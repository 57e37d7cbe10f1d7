from typing import Any

import pytest

from mesh.sandbox.otlp_messages import ExportTraceServiceRequest
from mesh.sandbox.trace_store import TraceQuery, TraceStore

T1, T2 = "1" * 32, "2" * 32


def spans(*items: dict[str, Any], service: str = "reviews") -> Any:
    """One request. Items: trace, id, parent, name, start (ms), ms, kind, error, tags."""
    request = ExportTraceServiceRequest()
    group = request.resource_spans.add()
    for key, value in (("service.name", service), ("pod", "p-1")):
        attribute = group.resource.attributes.add()
        attribute.key, attribute.value.string_value = key, value
    scope = group.scope_spans.add()
    for item in items:
        span = scope.spans.add()
        span.trace_id, span.span_id = bytes.fromhex(item.get("trace", T1)), bytes.fromhex(item.get("id", "a" * 16))
        span.parent_span_id = bytes.fromhex(item.get("parent", ""))
        span.name, span.kind = item.get("name", "op"), item.get("kind", 3)
        span.start_time_unix_nano = item.get("start", 0) * 1_000_000
        span.end_time_unix_nano = span.start_time_unix_nano + item.get("ms", 1) * 1_000_000
        if item.get("error"):
            span.status.code, span.status.message = 2, "broken"
        for key, value in item.get("tags", {}).items():
            attribute = span.attributes.add()
            attribute.key = key
            setattr(attribute.value, {str: "string_value", bool: "bool_value", int: "int_value", float: "double_value"}[type(value)], value)
    return request


def ids(found: list[dict[str, Any]]) -> list[str]:
    return [trace["traceID"] for trace in found]


def test_a_trace_in_jaegers_shape() -> None:
    store = TraceStore()
    store.add(spans({"id": "b" * 16, "parent": "a" * 16, "start": 2, "ms": 3, "kind": 2, "tags": {"n": 7}}, service="reviews"))
    store.add(spans({"id": "a" * 16, "start": 1, "ms": 5, "error": True}, service="productpage"))
    trace = store.trace(T1)
    assert trace is not None and trace["traceID"] == T1
    assert [process["serviceName"] for process in trace["processes"].values()] == ["productpage", "reviews"]
    first, second = trace["spans"]
    assert (first["operationName"], first["startTime"], first["duration"], first["references"]) == ("op", 1_000, 5_000, [])
    assert {tag["key"]: tag["value"] for tag in first["tags"]} == {"span.kind": "client", "error": True, "otel.status_description": "broken"}
    assert second["references"] == [{"refType": "CHILD_OF", "traceID": T1, "spanID": "a" * 16}]
    assert second["tags"] == [{"key": "n", "type": "int64", "value": 7}, {"key": "span.kind", "type": "string", "value": "server"}]
    assert trace["processes"][second["processID"]] == {"serviceName": "reviews", "tags": [{"key": "pod", "type": "string", "value": "p-1"}]}


def test_a_short_id_is_padded() -> None:
    store = TraceStore()
    store.add(spans({"trace": "0" * 16 + "f" * 16}))
    assert store.trace("F" * 16) is not None
    assert store.trace("e" * 16) is None


def test_services_and_operations() -> None:
    store = TraceStore()
    store.add(spans({"name": "b"}, {"id": "c" * 16, "name": "a"}, service="x"))
    store.add(spans({"id": "d" * 16, "name": "c"}, service="w"))
    assert (store.services(), store.operations("x"), store.operations("none")) == (["w", "x"], ["a", "b"], [])


def test_the_oldest_trace_goes_first() -> None:
    store = TraceStore(max_traces=2)
    for trace in (T1, T2, T1, "3" * 32):
        store.add(spans({"trace": trace, "id": trace[:16]}))
    assert (len(store), store.traces_evicted, store.trace(T2)) == (2, 1, None)
    assert store.trace(T1) is not None


def test_a_trace_has_a_limited_number_of_spans() -> None:
    store = TraceStore(max_spans=3)
    rejected = store.add(spans(*({"id": f"{number:016x}"} for number in range(1, 6))))
    found = store.trace(T1)
    assert found is not None
    assert (rejected, store.spans_rejected, len(found["spans"])) == (2, 2, 3)


def test_memory_is_bounded_too() -> None:
    store = TraceStore(max_bytes=20_000)
    for number in range(1, 101):
        store.add(spans({"trace": f"{number:032x}", "tags": {"text": "x" * 600}}))
    assert store.bytes <= 20_000
    assert 10 <= len(store) <= 20 and store.traces_evicted == 100 - len(store)
    assert store.trace(f"{100:x}") is not None


def test_a_replaced_span_is_counted_once() -> None:
    store = TraceStore()
    store.add(spans({}))
    before = store.bytes
    store.add(spans({}))
    assert store.bytes == before > 0


@pytest.mark.parametrize("trace_id", ["", "xyz", "1" * 33])
def test_what_is_no_id_is_not_found(trace_id: str) -> None:
    assert TraceStore().trace(trace_id) is None


def test_events_become_logs() -> None:
    request = spans({})
    event = request.resource_spans[0].scope_spans[0].spans[0].events.add()
    event.name, event.time_unix_nano = "retry", 5_000_000
    store = TraceStore()
    store.add(request)
    found = store.trace(T1)
    assert found is not None
    assert found["spans"][0]["logs"] == [{"timestamp": 5_000, "fields": [{"key": "event", "type": "string", "value": "retry"}]}]


def test_a_repeated_batch_changes_nothing() -> None:
    store = TraceStore()
    for _ in range(2):
        assert store.add(spans({"id": "a" * 16}, {"id": "b" * 16})) == 0
    found = store.trace(T1)
    assert found is not None and len(found["spans"]) == 2


@pytest.mark.parametrize("item", [{"trace": "ab"}, {"id": "ab"}, {"trace": "0" * 32}, {"id": "0" * 16}])
def test_spans_without_proper_ids_are_rejected(item: dict[str, str]) -> None:
    store = TraceStore()
    assert store.add(spans(item, {"trace": T2})) == 1
    assert (len(store), store.spans_received) == (1, 2)


def test_the_newest_traces_are_found_first_and_limited() -> None:
    store = TraceStore()
    for number, trace in enumerate(("1", "2", "3")):
        store.add(spans({"trace": trace * 32, "start": 10 - number}))
    assert ids(store.search(TraceQuery())) == [T1, T2, "3" * 32]
    assert ids(store.search(TraceQuery(limit=1))) == [T1]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        (TraceQuery(service="reviews"), True),
        (TraceQuery(service="other"), False),
        (TraceQuery(operation="op"), True),
        (TraceQuery(operation="x"), False),
        (TraceQuery(start_us=5_000, end_us=5_000), True),
        (TraceQuery(start_us=5_001), False),
        (TraceQuery(end_us=4_999), False),
        (TraceQuery(min_duration_us=2_000), True),
        (TraceQuery(min_duration_us=2_001), False),
        (TraceQuery(max_duration_us=1_999), False),
        (TraceQuery(tags=(("http.status_code", "503"), ("n", "7"), ("error", "true"))), True),
        (TraceQuery(tags=(("n", "8"),)), False),
    ],
)
def test_searches(query: TraceQuery, found: bool) -> None:
    store = TraceStore()
    store.add(spans({"start": 5, "ms": 2, "error": True, "tags": {"http.status_code": "503", "n": 7, "f": 0.5}}))
    assert bool(store.search(query)) is found
