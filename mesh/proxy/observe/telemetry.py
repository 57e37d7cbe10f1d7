"""Telemetry: everything observers share, made once per process, and the observers of each listener.

Owns the registry, the exporter and the log writers. `http` and `tcp` are called whenever a listener is (re)built; the
observers of the old configuration go on until their connections end.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any
from weakref import WeakSet

import trio

from mesh.model.listener import AccessLog, Direction, HttpManager, TcpProxy, Tracing
from mesh.proxy.observe.access_log import AccessLogger
from mesh.proxy.observe.digits import Digits
from mesh.proxy.observe.http import HttpObserver
from mesh.proxy.observe.istio import RequestLabels, message_group, request_group, route_group, tcp_group
from mesh.proxy.observe.log_writer import LogWriter
from mesh.proxy.observe.metrics import MAX_SERIES, Family, Kind, Metric, Registry, Sample, escape
from mesh.proxy.observe.otlp import OtlpExporter
from mesh.proxy.observe.peer import VERSION, PeerCache, encode_headers, peer_of_metadata
from mesh.proxy.observe.span import Span, SpanFactory
from mesh.proxy.observe.tcp import TcpObserver
from mesh.proxy.observe.trace import Sampler

# Of a kilobyte each: less than a millisecond.
_LINES_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class TelemetrySettings:
    """What of ProxyConfig concerns observation.

    otlp: `host:port` where spans of listeners go whose xDS resource says nothing of tracing; "" = nowhere (contexts are still
    made and passed on). To those listeners default_tracing and default_access_log apply, too. max_series: sets of labels per
    group of metrics.
    """

    otlp: str = ""
    default_tracing: Tracing | None = None
    default_access_log: AccessLog | None = None
    max_series: int = MAX_SERIES


class Telemetry:
    """Concurrency: trio thread only, but for `close`, which may block for some seconds.

    Attributes: registry: for metrics of other parts. protocols: count a detection with `detected`.
    """

    def __init__(self, node_id: str, metadata: Mapping[str, Any], settings: TelemetrySettings, version: str) -> None:
        """Args: metadata: the node's, in Istio's keys (TRIOMESH_METADATA)."""
        self._node_id = node_id
        self._metadata = metadata
        self._settings = settings
        self.local = peer_of_metadata(metadata)
        self.registry = Registry()
        self._requests = self.registry.add(request_group(settings.max_series))
        self._messages = self.registry.add(message_group(settings.max_series))
        self._routes = self.registry.add(route_group(settings.max_series))
        self._tcp = self.registry.add(tcp_group(settings.max_series))
        self._detected = self.registry.group(
            Metric("triomesh_protocol_detected_total", "Connections by the protocol found on them.", Kind.COUNTER),
            ("direction", "verdict"),
        )
        self._peers = PeerCache()
        self._digits = Digits(random.getrandbits)
        self._peer_lines = encode_headers(node_id, {VERSION: version, **metadata})
        self._writers: dict[str, LogWriter] = {}
        # Weak: an observer lives as long as its listener or one of its connections.
        self._tcp_observers: WeakSet[TcpObserver] = WeakSet()
        self._resource = (("service.namespace", self.local.namespace), ("service.instance.id", node_id))
        self.exporter = OtlpExporter(settings.otlp, resource=self._resource) if settings.otlp else None
        self._by_cluster: dict[str, OtlpExporter] = {}
        build = Metric("triomesh_build_info", "Version of the proxy.", Kind.GAUGE)
        self.registry.group(build, ("version",)).series((version,), 0.0).values[0] = 1
        self.registry.add_collector(self._own_families)

    def http(self, manager: HttpManager, direction: Direction) -> HttpObserver:
        """The observer of an HTTP connection manager. Raises CompileError for a format that cannot be evaluated.

        direction: INBOUND counts as the destination's report, everything else (gateways too) as the source's.
        """
        tracing = manager.tracing or self._settings.default_tracing
        exporter = self._exporter(manager.tracing)
        sampler = spans = None
        if tracing is not None:
            sampler = Sampler(
                tracing.random_sampling_percent / 100.0,
                random.random,
                self._digits,
                tracing.client_sampling_percent / 100.0,
                tracing.overall_sampling_percent / 100.0,
                manager.use_remote_address,
            )
            spans = SpanFactory(tracing, direction, self._node_id, self.local, self._metadata)
        return HttpObserver(
            manager,
            direction,
            requests=self._requests,
            messages=self._messages,
            routes=self._routes,
            labels=RequestLabels(self.local, is_inbound=direction is Direction.INBOUND),
            peers=self._peers,
            peer_lines=self._peer_lines,
            sampler=sampler,
            spans=spans if exporter is not None else None,
            export=exporter.export if exporter is not None else _no_export,
            loggers=self._loggers(manager.access_logs),
            digits=self._digits,
        )

    def aim(self, target_of: Callable[[str], str]) -> None:
        """Clusters have changed. Args: target_of: a cluster's name -> where spans for it go, "" = nowhere."""
        for name, exporter in self._by_cluster.items():
            exporter.aim(target_of(name))

    def _exporter(self, told: Tracing | None) -> OtlpExporter | None:
        # told: by the listener's resource. It says where spans go, or by naming no cluster that they go nowhere (Envoy, too).
        if told is None:
            return self.exporter
        name = told.otlp_cluster
        if not name:
            return None
        found = self._by_cluster.get(name)
        if found is None:
            found = self._by_cluster[name] = OtlpExporter("", resource=self._resource)
        return found

    def tcp(self, proxy: TcpProxy, direction: Direction) -> TcpObserver:
        """The observer of an opaque listener. Raises CompileError as `http` does."""
        labels = RequestLabels(self.local, is_inbound=direction is Direction.INBOUND)
        observer = TcpObserver(self._tcp, labels, self._loggers(proxy.access_logs))
        self._tcp_observers.add(observer)
        return observer

    def connection_loggers(
        self, logs: tuple[AccessLog, ...]
    ) -> tuple[tuple[AccessLogger, ...], tuple[AccessLogger, ...]]:
        """Of a listener's own access logs: (for every connection, for connections that no chain could serve).

        The default log tells only of the latter (as Istio's): the others are in their chain's log.
        """
        return (self._loggers(logs), ()) if logs else ((), self._loggers(()))

    def detected(self, direction: Direction, verdict: str, now: float) -> None:
        """Count one protocol detection. verdict: one of a few words (`http1`, `http2`, `tls`, `opaque`, `server_first`)."""
        self._detected.series((direction.value, verdict), now).values[0] += 1

    def expose(self, now: float, *, openmetrics: bool = False) -> bytes:
        """All metrics as text; byte counters of open TCP connections are brought up to date first."""
        return b"".join(self._exposed(now, openmetrics))

    async def scrape(self, now: float, *, openmetrics: bool = False) -> bytes:
        """The same for a proxy at work: megabytes of text take tens of milliseconds, in which requests are served, too."""
        parts: list[bytes] = []
        for part in self._exposed(now, openmetrics):
            parts.append(part)
            await trio.lowlevel.checkpoint()
        return b"".join(parts)

    def _exposed(self, now: float, openmetrics: bool) -> Iterator[bytes]:
        for observer in list(self._tcp_observers):
            observer.collect(now)
        lines = self.registry.lines(now, openmetrics=openmetrics)
        separator = ""
        while part := list(islice(lines, _LINES_AT_ONCE)):
            yield (separator + "\n".join(part)).encode()
            separator = "\n"

    def close(self) -> None:
        """Write and send what is pending. Blocks for at most a few seconds: call it from a worker thread."""
        for exporter in self._exporters():
            exporter.close()
        for writer in self._writers.values():
            writer.close()

    def _loggers(self, logs: tuple[AccessLog, ...]) -> tuple[AccessLogger, ...]:
        default = self._settings.default_access_log
        if not logs and default is not None:
            logs = (default,)
        return tuple(AccessLogger(log, self._writer(log.path)) for log in logs)

    def _writer(self, path: str) -> LogWriter:
        if path not in self._writers:
            self._writers[path] = LogWriter(path)
        return self._writers[path]

    def _exporters(self) -> list[OtlpExporter]:
        return [*([self.exporter] if self.exporter is not None else ()), *self._by_cluster.values()]

    def _own_families(self, now: float) -> list[Family]:
        lines = [(path, writer) for path, writer in self._writers.items()]
        families = [
            Family(
                Metric("triomesh_access_log_dropped_total", "Log lines lost to a full buffer or disk.", Kind.COUNTER),
                [Sample("", f'path="{escape(path)}"', writer.dropped) for path, writer in lines],
            ),
            Family(
                Metric("triomesh_peer_metadata_malformed_total", "Peer headers that could not be read.", Kind.COUNTER),
                [Sample("", "", self._peers.malformed)],
            ),
        ]
        exporters = self._exporters()
        if exporters:
            for name, text, value in (
                ("exported", "Spans the collector took.", sum(each.exported for each in exporters)),
                ("dropped", "Spans lost to a full queue or a refusing collector.", sum(each.dropped for each in exporters)),
                ("failed_batches", "Attempts to send spans that failed.", sum(each.failed_batches for each in exporters)),
            ):
                metric = Metric(f"triomesh_spans_{name}_total", text, Kind.COUNTER)
                families.append(Family(metric, [Sample("", "", value)]))
        return families


def _no_export(span: Span) -> None:
    """Without a collector nothing asks for spans; HttpObserver makes none then."""
