# cython: language_level=3
"""HTTP observer: what is decided about ids and context when a request starts, and what is kept when it is over.

One per HTTP connection manager. `begin` and `end` are the only calls on the hot path: a look-up of pre-resolved
series, three histogram additions, and, for sampled or logged requests, one tuple or line handed to another thread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import cython

from mesh.model.listener import Direction, HttpManager
from mesh.proxy.head import is_grpc
from mesh.proxy.observe.access_log import AccessLogger
from mesh.proxy.observe.istio import RequestLabels, route_labels
from mesh.proxy.observe.metrics import Group
from mesh.proxy.observe.peer import HEADERS as PEER_HEADERS
from mesh.proxy.observe.peer import METADATA, PeerCache
from mesh.proxy.observe.request_id import HEADER as REQUEST_ID
from mesh.proxy.observe.span import Span, SpanFactory
from mesh.proxy.observe.trace import TRACE_HEADERS

if not cython.compiled:  # when compiled, http.pxd cimports these names
    from mesh.proxy.balance.host import Host
    from mesh.proxy.observe.digits import Digits
    from mesh.proxy.observe.record import Record
    from mesh.proxy.observe.request_id import make_request_id
    from mesh.proxy.observe.series import Histogram, Series
    from mesh.proxy.observe.trace import Sampler, TraceContext

if TYPE_CHECKING:
    from mesh.proxy.compiled_route import CompiledRoute

_REQUEST_ID_AND_PEER = (REQUEST_ID, *PEER_HEADERS)


class HttpObserver:
    """Created by `Telemetry.http`. Belongs to the trio thread.

    Order of calls for one exchange: `begin`, then per attempt `removals` and `lines` (they depend on the host chosen), and
    `end` exactly once, whatever happened. loggers: get every finished record.
    """

    _is_inbound: bool
    _generates_id: bool
    _owns_id: bool
    _requests: Group
    _messages: Group
    _routes: Group
    _labels: RequestLabels
    _peers: PeerCache
    _peer_lines: bytes
    _sampler: Sampler | None
    _spans: SpanFactory | None
    _export: Callable[[Span], None]
    loggers: tuple[AccessLogger, ...]
    _digits: Digits
    _series: dict[tuple[object, ...], Series]
    _route_series: dict[tuple[object, ...], Series]

    def __init__(
        self,
        manager: HttpManager,
        direction: Direction,
        *,
        requests: Group,
        messages: Group,
        routes: Group,
        labels: RequestLabels,
        peers: PeerCache,
        peer_lines: bytes,
        sampler: Sampler | None,
        spans: SpanFactory | None,
        export: Callable[[Span], None],
        loggers: tuple[AccessLogger, ...],
        digits: Digits,
    ) -> None:
        self._is_inbound = direction is Direction.INBOUND
        self._generates_id = manager.generate_request_id
        self._owns_id = manager.use_remote_address and not manager.preserve_request_id
        self._requests = requests
        self._messages = messages
        self._routes = routes
        self._labels = labels
        self._peers = peers
        self._peer_lines = peer_lines
        self._sampler = sampler
        self._spans = spans
        self._export = export
        self.loggers = loggers
        self._digits = digits
        self._series = {}
        self._route_series = {}

    def begin(self, record: Record) -> None:
        """Fill in the request id, the trace context, the peer and whether it is gRPC."""
        head = record.head
        found = head.get(REQUEST_ID)
        if found and not self._owns_id:
            record.request_id = found
        elif self._generates_id:
            record.request_id = make_request_id(self._digits)
        elif found:
            record.request_id = found
        if self._sampler is not None:
            record.trace = self._sampler.begin(head)
        if self._is_inbound:
            record.peer = self._peers.peer(head.get(METADATA))
        record.is_grpc = is_grpc(head)

    def removals(self, record: Record) -> tuple[bytes, ...]:
        """Names that `lines` replaces, or that must not travel further."""
        trace: TraceContext | None = record.trace
        if trace is not None and trace.lines:
            return _REMOVED_WITH_TRACE
        return _REQUEST_ID_AND_PEER

    def lines(self, record: Record) -> bytes:
        """Header lines for this attempt's request: request id, trace context, and peer metadata to meshed hosts only."""
        text: bytes = b"x-request-id: " + record.request_id + b"\r\n" if record.request_id else b""
        trace: TraceContext | None = record.trace
        if trace is not None:
            text += trace.lines
        if not self._is_inbound and record.host is not None and record.host.endpoint.is_meshed:
            text += self._peer_lines
        return text

    def end(self, record: Record, now: cython.double) -> None:
        """Count, trace and log. Sets `finished_at`. now: seconds on the records' clock."""
        record.finished_at = now
        host: Host | None = record.host
        if record.is_grpc and record.grpc_status < 0:
            record.grpc_status = grpc_status(record)
        series: Series = self._lookup(record, host, now)
        series.touched_at = now
        series.values[0] += 1
        duration: Histogram = series.histograms[0]
        received: Histogram = series.histograms[1]
        sent: Histogram = series.histograms[2]
        milliseconds: cython.double = (now - record.started_at) * 1000.0
        duration.observe(milliseconds)
        received.observe(record.bytes_received)
        sent.observe(record.bytes_sent)
        if record.is_grpc:
            messages: Series | None = series.companion
            if messages is None or not messages.is_live:
                messages = self._messages.series(self._labels.of(record, record.cluster, host), now)
                if not series.is_overflow:
                    series.companion = messages
            messages.touched_at = now
            messages.values[0] += record.request_messages
            messages.values[1] += record.response_messages
        route = record.route
        if route is not None and not self._is_inbound:
            by_route: Series = self._lookup_route(record, route, now)
            by_route.touched_at = now
            by_route.values[0] += 1
            duration = by_route.histograms[0]
            duration.observe(milliseconds)
        if host is not None:
            host.requests_total += 1
            if 0 < record.status < 500:
                host.requests_success += 1
            else:
                host.requests_error += 1
        trace: TraceContext | None = record.trace
        if trace is not None and trace.is_sampled and self._spans is not None:
            self._export(self._spans.make(record))
        for logger in self.loggers:
            logger.log(record)

    def _lookup(self, record: Record, host: Host | None, now: cython.double) -> Series:
        cluster = record.cluster
        key: tuple[object, ...]
        # The key has to be cheap to hash: identities and small values, no dataclass. `flags` is nearly always ().
        if self._is_inbound:
            key = (
                cluster.name if cluster is not None else "",
                record.peer,
                record.status,
                record.flags,
                record.grpc_status,
                record.connection.is_mutual_tls,
                record.connection.peer_principal,
            )
            cache = self._series
        elif host is not None:
            key = (record.status, record.flags, record.grpc_status, record.upstream_security)
            cache = host.series
        else:
            key = (cluster.name if cluster is not None else "", record.status, record.flags, record.grpc_status)
            cache = self._series
        series: Series | None = cache.get(key)
        if series is None or not series.is_live:
            series = self._requests.series(self._labels.of(record, cluster, host), now)
            _remember(cache, key, series)
        return series

    def _lookup_route(self, record: Record, route: CompiledRoute, now: cython.double) -> Series:
        key = (record.share or route, record.status, record.grpc_status)
        series: Series | None = self._route_series.get(key)
        if series is None or not series.is_live:
            series = self._routes.series(route_labels(record, route), now)
            _remember(self._route_series, key, series)
        return series


_REMOVED_WITH_TRACE = (*_REQUEST_ID_AND_PEER, *TRACE_HEADERS)
_MAX_CACHED_SERIES = 4096


def _remember(cache: dict[tuple[object, ...], Series], key: tuple[object, ...], series: Series) -> None:
    if series.is_overflow:
        return
    if len(cache) >= _MAX_CACHED_SERIES:
        cache.clear()
    cache[key] = series


def grpc_status(record: Record) -> int:
    """The status of a gRPC call from its trailers or, trailers-only, its head; -1 when there is none."""
    for part in (record.trailers, record.response):
        if part is not None:
            value = part.get(b"grpc-status")
            if value is not None:
                return int(value) if value.isdigit() and len(value) <= 2 and int(value) <= 16 else 2
    return -1
