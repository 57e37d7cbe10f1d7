"""Trace store: spans kept in memory by trace, the newest N traces, in the shape Jaeger's query API answers.

Spans are kept as the bytes they came in and are taken apart when somebody asks: as Python objects ten thousand traces
would be a gigabyte. Bounded three times: traces and bytes (the least recently extended trace goes first), spans per trace.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from mesh.sandbox.otlp_messages import STATUS_ERROR, Resource, Span

MAX_TRACES = 10_000
MAX_SPANS_PER_TRACE = 2_000
MAX_BYTES = 128 << 20
# What a span costs in memory beside its own bytes: its tuple, numbers and dictionary entry, roughly.
_SPAN_OVERHEAD = 400

_TRACE_ID = re.compile("[0-9a-fA-F]{1,32}")
_KINDS = {1: "internal", 2: "server", 3: "client", 4: "producer", 5: "consumer"}


class StoredSpan(NamedTuple):
    """What searches look at, and the rest as bytes. Times in microseconds since the epoch, as Jaeger has them.

    raw: the OTLP span; resource: the OTLP resource of its service, shared by its spans.
    """

    service: str
    name: str
    start_us: int
    duration_us: int
    raw: bytes
    resource: bytes


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

    def __init__(
        self, max_traces: int = MAX_TRACES, max_spans: int = MAX_SPANS_PER_TRACE, max_bytes: int = MAX_BYTES
    ) -> None:
        self._max_traces = max_traces
        self._max_spans = max_spans
        self._max_bytes = max_bytes
        self._traces: OrderedDict[bytes, dict[bytes, StoredSpan]] = OrderedDict()
        self._resources: dict[bytes, bytes] = {}
        self.bytes = 0
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
            for attribute in group.resource.attributes:
                if attribute.key == "service.name":
                    service = attribute.value.string_value or service
            resource = self._shared(group.resource.SerializeToString(deterministic=True))
            for scope in group.scope_spans:
                for span in scope.spans:
                    self.spans_received += 1
                    rejected += not self._keep(span, service, resource)
        self.spans_rejected += rejected
        return rejected

    def _shared(self, resource: bytes) -> bytes:
        # A few per proxy; should somebody send ever new ones, sharing starts again.
        if len(self._resources) > 10_000:
            self._resources.clear()
        return self._resources.setdefault(resource, resource)

    def _keep(self, span: Any, service: str, resource: bytes) -> bool:
        trace_id, span_id = bytes(span.trace_id), bytes(span.span_id)
        # OTLP, `Span`: ids have 16 and 8 bytes, and all zero is invalid.
        if len(trace_id) != 16 or len(span_id) != 8 or not any(trace_id) or not any(span_id):
            return False
        spans = self._traces.setdefault(trace_id, {})
        known = spans.get(span_id)
        if known is None and len(spans) >= self._max_spans:
            return False
        # An exporter that repeats a batch sends the same spans again: they replace themselves.
        start = span.start_time_unix_nano // 1000
        duration = max(0, span.end_time_unix_nano // 1000 - start)
        kept = spans[span_id] = StoredSpan(service, span.name, start, duration, span.SerializeToString(), resource)
        self.bytes += _cost(kept) - (_cost(known) if known is not None else 0)
        self._traces.move_to_end(trace_id)
        while len(self._traces) > self._max_traces or (self.bytes > self._max_bytes and len(self._traces) > 1):
            _, evicted = self._traces.popitem(last=False)
            self.bytes -= sum(_cost(item) for item in evicted.values())
            self.traces_evicted += 1
        return True

    def services(self) -> list[str]:
        return sorted({span.service for spans in self._traces.values() for span in spans.values()})

    def operations(self, service: str) -> list[str]:
        return sorted({s.name for spans in self._traces.values() for s in spans.values() if s.service == service})

    def trace(self, trace_id: str) -> dict[str, Any] | None:
        """One trace in Jaeger's shape; None when it is not kept. A short (64-bit) id is padded."""
        if not _TRACE_ID.fullmatch(trace_id):
            return None
        spans = self._traces.get(bytes.fromhex(trace_id.rjust(32, "0")))
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
        and (not query.tags or _has_tags(span, query.tags))
    )


def _has_tags(span: StoredSpan, wanted: tuple[tuple[str, str], ...]) -> bool:
    tags = _tags(Span.FromString(span.raw))
    return all(any(tag["key"] == key and _tag_text(tag) == value for tag in tags) for key, value in wanted)


def _tag_text(tag: Mapping[str, Any]) -> str:
    value = tag["value"]
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


def _cost(span: StoredSpan) -> int:
    return len(span.raw) + _SPAN_OVERHEAD


def _tags(span: Any) -> list[dict[str, Any]]:
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
    return tags


def _logs(span: Any) -> list[dict[str, Any]]:
    logs = []
    for event in span.events:
        fields = [{"key": "event", "type": "string", "value": event.name}, *(_tag(a) for a in event.attributes)]
        logs.append({"timestamp": event.time_unix_nano // 1000, "fields": fields})
    return logs


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
    processes: dict[bytes, str] = {}
    described: dict[str, Any] = {}
    rows = []
    for kept in ordered:
        if kept.resource not in processes:
            name = processes[kept.resource] = f"p{len(processes) + 1}"
            attributes = Resource.FromString(kept.resource).attributes
            tags = [_tag(attribute) for attribute in attributes if attribute.key != "service.name"]
            described[name] = {"serviceName": kept.service, "tags": tags}
        span = Span.FromString(kept.raw)
        trace_id, references = span.trace_id.hex(), []
        if span.parent_span_id:
            references.append({"refType": "CHILD_OF", "traceID": trace_id, "spanID": span.parent_span_id.hex()})
        rows.append(
            {
                "traceID": trace_id,
                "spanID": span.span_id.hex(),
                "operationName": kept.name,
                "references": references,
                "startTime": kept.start_us,
                "duration": kept.duration_us,
                "tags": _tags(span),
                "logs": _logs(span),
                "processID": processes[kept.resource],
                "warnings": None,
            }
        )
    return {"traceID": rows[0]["traceID"], "spans": rows, "processes": described, "warnings": None}
