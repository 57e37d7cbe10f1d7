"""Spans: what one hop of a sampled request looks like to a tracing backend.

Attribute names are Envoy's and Istio's, which Kiali and Jaeger users filter by, then our own (`triomesh.…`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from mesh.model.listener import Direction, Tracing
from mesh.proxy.observe.clock import WALL
from mesh.proxy.observe.istio import flags_text
from mesh.proxy.observe.peer import Peer
from mesh.proxy.observe.record import Record
from mesh.proxy.operators import Getter, parse, text_of

# Envoy's max_path_tag_length; a URL is the only attribute a client can make long.
_MAX_TEXT = 256


class SpanKind(IntEnum):
    """OTLP `Span.SpanKind`."""

    SERVER = 2
    CLIENT = 3


@dataclass(frozen=True, slots=True)
class Span:
    """One finished span. Times are nanoseconds since the epoch; ids are lower-case hex."""

    service: str
    name: str
    kind: SpanKind
    trace_id: bytes
    span_id: bytes
    parent_id: bytes
    start_ns: int
    end_ns: int
    is_error: bool
    attributes: tuple[tuple[str, str | int | bool], ...]
    trace_state: str = ""


class SpanFactory:
    """Makes the spans of one HTTP connection manager: CLIENT spans outbound, SERVER spans inbound."""

    __slots__ = ("_constant", "_kind", "_service", "_tags")

    def __init__(
        self, tracing: Tracing, direction: Direction, node_id: str, local: Peer, metadata: Mapping[str, Any]
    ) -> None:
        """Raises CompileError for a custom tag whose format cannot be evaluated."""
        self._kind = SpanKind.SERVER if direction is Direction.INBOUND else SpanKind.CLIENT
        self._service = tracing.service_name or f"{local.canonical_service}.{local.namespace}"
        self._constant: tuple[tuple[str, str], ...] = (
            ("component", "proxy"),
            ("node_id", node_id),
            ("istio.canonical_service", local.canonical_service),
            ("istio.canonical_revision", local.canonical_revision),
            ("istio.mesh_id", str(metadata.get("MESH_ID") or "cluster.local")),
            ("istio.namespace", local.namespace),
            ("istio.cluster_id", local.cluster),
        )
        self._tags: tuple[tuple[str, tuple[str | Getter, ...]], ...] = tuple(
            (name, parse(value, f"custom tag {name}")) for name, value in tracing.custom_tags
        )

    def make(self, record: Record) -> Span:
        """The span of a finished record; its trace context has to be there."""
        trace = record.trace
        assert trace is not None
        head, cluster, route = record.head, record.cluster, record.route
        status = record.status
        is_error = status >= 500 or status == 0 or record.grpc_status > 0
        attributes: list[tuple[str, str | int | bool]] = [
            ("guid:x-request-id", record.request_id.decode("latin-1")),
            ("http.url", _url(record)),
            ("http.method", head.method.decode("latin-1")),
            ("http.protocol", record.protocol),
            ("http.status_code", str(status)),
            ("user_agent", (head.get(b"user-agent") or b"-").decode("latin-1")[:_MAX_TEXT]),
            ("request_size", str(record.bytes_received)),
            ("response_size", str(record.bytes_sent)),
            ("response_flags", flags_text(record)),
            ("downstream_cluster", record.peer.workload if record.peer is not None else "-"),
            ("peer.address", record.connection.remote.rpartition(":")[0].strip("[]")),
            ("triomesh.attempts", record.attempts),
        ]
        if cluster is not None:
            attributes.append(("upstream_cluster", cluster.name))
            attributes.append(("upstream_cluster.name", cluster.name))
        if record.host is not None:
            attributes.append(("upstream_address", record.host.name))
        if route is not None and route.origin_text:
            attributes.append(("triomesh.origin", route.origin_text))
        if route is not None and route.name:
            attributes.append(("triomesh.route", route.name))
        if record.grpc_status >= 0:
            attributes.append(("grpc.status_code", str(record.grpc_status)))
        if is_error:
            attributes.append(("error", True))
        for name, parts in self._tags:
            text = "".join(part if isinstance(part, str) else text_of(part(record)) for part in parts)
            attributes.append((name, text[:_MAX_TEXT]))
        return Span(
            service=self._service,
            name=self._name(record),
            kind=self._kind,
            trace_id=trace.trace_id,
            span_id=trace.span_id,
            parent_id=trace.parent_id,
            start_ns=int(WALL.epoch(record.started_at) * 1e9),
            end_ns=int(WALL.epoch(record.finished_at) * 1e9),
            is_error=is_error,
            attributes=(*self._constant, *attributes),
            trace_state=(head.get(b"tracestate") or b"").decode("latin-1")[:512],
        )

    def _name(self, record: Record) -> str:
        """The route's operation (`host:port/*`), else the service's, else the method: never the client's path."""
        if record.route is not None and record.route.operation:
            return record.route.operation
        cluster = record.cluster
        if cluster is not None and cluster.service is not None:
            parts = cluster.name.split("|")
            port = parts[1] if len(parts) > 1 and parts[1].isdigit() else ""
            return f"{cluster.service.host}:{port}/*" if port else f"{cluster.service.host}/*"
        return record.head.method.decode("latin-1")


def _url(record: Record) -> str:
    head = record.head
    url = b"%b://%b%b" % (record.scheme, head.authority, head.target)
    return url.decode("latin-1")[:_MAX_TEXT]
