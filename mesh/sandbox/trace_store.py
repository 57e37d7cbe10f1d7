"""Trace store: spans kept in memory by trace, the newest N traces, in the shape Jaeger's query API answers.

Bounded twice: traces (the least recently extended goes first) and spans per trace.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mesh.sandbox.otlp_messages import STATUS_ERROR

MAX_TRACES = 10_000
MAX_SPANS_PER_TRACE = 2_000

_KINDS = {1: "internal", 2: "server", 3: "client", 4: "producer", 5: "consumer"}


class BadSpan(ValueError):
    """A span that cannot be kept: its trace or span id has the wrong length (OTLP, `Span`)."""


@dataclass(frozen=True, slots=True)
class StoredSpan:
    """Ids in hex; times in microseconds since the epoch, as Jaeger has them."""

    trace_id: str
    span_id: str
    parent_id: str
    service: str
    name: str
    start_us: int
    duration_us: int
    tags: tuple[Mapping[str, Any], ...]
    logs: tuple[Mapping[str, Any], ...]
    process_tags: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True)
class TraceQuery:
    """Jaeger's search. Times in microseconds since the epoch; durations in microseconds; tags all have to be there."""

    service: str = ""
    operation: str = ""
    start_us: int = 0
    end_us: int = 1 << 62
    min_duration_us: int = 0
    max_duration_us: int = 1 << 62
    tags: tuple[tuple[str, str], ...] = ()
    limit: int = 20


class TraceStore:
    """Concurrency: one thread (the collector's event loop)."""

    def __init__(self, max_traces: int = MAX_TRACES, max_spans: int = MAX_SPANS_PER_TRACE) -> None:
        self._max_traces = max_traces
        self._max_spans = max_spans
        self._traces: OrderedDict[str, dict[str, StoredSpan]] = OrderedDict()
        self.spans_received = 0
        self.spans_rejected = 0
        self.traces_evicted = 0

    def __len__(self) -> int:
        return len(self._traces)

    def add(self, request: Any) -> int:
        """Keep the spans of an ExportTraceServiceRequest. Returns: how many could not be kept."""
        rejected = 0
        for group in request.resource_spans:
            service = "unknown_service"
            resource = []
            for attribute in group.resource.attributes:
                if attribute.key == "service.name":
                    service = attribute.value.string_value or service
                else:
                    resource.append(_tag(attribute))
            for scope in group.scope_spans:
                for span in scope.spans:
                    self.spans_received += 1
                    try:
                        rejected += not self._keep(_stored(span, service, tuple(resource)))
                    except BadSpan:
                        rejected += 1
        self.spans_rejected += rejected
        return rejected

    def _keep(self, span: StoredSpan) -> bool:
        spans = self._traces.get(span.trace_id)
        if spans is None:
            spans = self._traces[span.trace_id] = {}
            while len(self._traces) > self._max_traces:
                self._traces.popitem(last=False)
                self.traces_evicted += 1
        elif len(spans) >= self._max_spans and span.span_id not in spans:
            return False
        # An exporter that repeats a batch sends the same spans again: they replace themselves.
        spans[span.span_id] = span
        self._traces.move_to_end(span.trace_id)
        return True

    def services(self) -> list[str]:
        return sorted({span.service for spans in self._traces.values() for span in spans.values()})

    def operations(self, service: str) -> list[str]:
        return sorted({s.name for spans in self._traces.values() for s in spans.values() if s.service == service})

    def trace(self, trace_id: str) -> dict[str, Any] | None:
        """One trace in Jaeger's shape; None when it is not kept. A short (64-bit) id is padded."""
        spans = self._traces.get(trace_id.lower().rjust(32, "0"))
        return _jaeger(spans.values()) if spans else None

    def search(self, query: TraceQuery) -> list[dict[str, Any]]:
        """The newest traces, by the start of their first span, that have a span like the query's."""
        found: list[tuple[int, Iterable[StoredSpan]]] = []
        for spans in self._traces.values():
            if any(_matches(span, query) for span in spans.values()):
                found.append((min(span.start_us for span in spans.values()), spans.values()))
        found.sort(key=lambda item: -item[0])
        return [_jaeger(spans) for _, spans in found[: query.limit]]


def _matches(span: StoredSpan, query: TraceQuery) -> bool:
    return (
        query.service in ("", span.service)
        and query.operation in ("", span.name)
        and query.start_us <= span.start_us <= query.end_us
        and query.min_duration_us <= span.duration_us <= query.max_duration_us
        and all(any(tag["key"] == key and _tag_text(tag) == value for tag in span.tags) for key, value in query.tags)
    )


def _tag_text(tag: Mapping[str, Any]) -> str:
    value = tag["value"]
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


def _stored(span: Any, service: str, resource: tuple[Mapping[str, Any], ...]) -> StoredSpan:
    if len(span.trace_id) != 16 or len(span.span_id) != 8 or not any(span.trace_id) or not any(span.span_id):
        raise BadSpan("ids must have 16 and 8 bytes that are not all zero")
    tags = [_tag(attribute) for attribute in span.attributes]
    if kind := _KINDS.get(span.kind):
        tags.append({"key": "span.kind", "type": "string", "value": kind})
    if span.status.code == STATUS_ERROR:
        if not any(tag["key"] == "error" for tag in tags):
            tags.append({"key": "error", "type": "bool", "value": True})
        if span.status.message:
            tags.append({"key": "otel.status_description", "type": "string", "value": span.status.message})
    if span.trace_state:
        tags.append({"key": "w3c.tracestate", "type": "string", "value": span.trace_state})
    logs = []
    for event in span.events:
        fields = [{"key": "event", "type": "string", "value": event.name}, *(_tag(a) for a in event.attributes)]
        logs.append({"timestamp": event.time_unix_nano // 1000, "fields": fields})
    start = span.start_time_unix_nano // 1000
    return StoredSpan(
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        service=service,
        name=span.name,
        start_us=start,
        duration_us=max(0, span.end_time_unix_nano // 1000 - start),
        tags=tuple(tags),
        logs=tuple(logs),
        process_tags=resource,
    )


def _tag(attribute: Any) -> dict[str, Any]:
    kind, value = _value(attribute.value)
    return {"key": attribute.key, "type": kind, "value": value}


def _value(value: Any) -> tuple[str, Any]:
    match value.WhichOneof("value"):
        case "string_value":
            return "string", value.string_value
        case "bool_value":
            return "bool", value.bool_value
        case "int_value":
            return "int64", value.int_value
        case "double_value":
            return "float64", value.double_value
        case "bytes_value":
            return "binary", value.bytes_value.hex()
        case "array_value":
            return "string", str([_value(item)[1] for item in value.array_value.values])
        case "kvlist_value":
            return "string", str({item.key: _value(item.value)[1] for item in value.kvlist_value.values})
        case _:
            return "string", ""


def _jaeger(spans: Iterable[StoredSpan]) -> dict[str, Any]:
    ordered = sorted(spans, key=lambda span: (span.start_us, -span.duration_us))
    processes: dict[tuple[str, str], str] = {}
    described: dict[str, Any] = {}
    rows = []
    for span in ordered:
        key = (span.service, repr(span.process_tags))
        if key not in processes:
            processes[key] = f"p{len(processes) + 1}"
            described[processes[key]] = {"serviceName": span.service, "tags": list(span.process_tags)}
        references = []
        if span.parent_id:
            references.append({"refType": "CHILD_OF", "traceID": span.trace_id, "spanID": span.parent_id})
        rows.append(
            {
                "traceID": span.trace_id,
                "spanID": span.span_id,
                "operationName": span.name,
                "references": references,
                "startTime": span.start_us,
                "duration": span.duration_us,
                "tags": list(span.tags),
                "logs": list(span.logs),
                "processID": processes[key],
                "warnings": None,
            }
        )
    return {"traceID": ordered[0].trace_id, "spans": rows, "processes": described, "warnings": None}
