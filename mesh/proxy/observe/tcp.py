"""TCP observer: connections and bytes of what is not HTTP, and its access log."""

from __future__ import annotations

from mesh.proxy.observe.access_log import AccessLogger
from mesh.proxy.observe.istio import RequestLabels
from mesh.proxy.observe.metrics import Group
from mesh.proxy.observe.record import TcpRecord

_OPENED, _CLOSED, _SENT, _RECEIVED = range(4)


class TcpObserver:
    """Created by `Telemetry.tcp`. `begin` once the upstream is known, `end` exactly once afterwards.

    Bytes of a living connection are added whenever the metrics are read (`collect`) and when it ends.
    """

    def __init__(self, group: Group, labels: RequestLabels, loggers: tuple[AccessLogger, ...]) -> None:
        self._group = group
        self._labels = labels
        self._loggers = loggers
        self._open: dict[TcpRecord, tuple[str, ...]] = {}

    def begin(self, record: TcpRecord, now: float) -> None:
        """cluster and host of the record are set."""
        labels = self._labels.of_tcp(record, record.cluster, record.host)
        self._open[record] = labels
        self._group.series(labels, now).values[_OPENED] += 1

    def end(self, record: TcpRecord, now: float) -> None:
        """The connection is over, or could not be made (then without `begin`). Sets `finished_at`."""
        record.finished_at = now
        if record in self._open:
            self._add_bytes(record, now)
            del self._open[record]
            # With the flags it ended with.
            labels = self._labels.of_tcp(record, record.cluster, record.host)
            self._group.series(labels, now).values[_CLOSED] += 1
        for logger in self._loggers:
            logger.log(record)

    def collect(self, now: float) -> None:
        """Bring the byte counters up to date with the connections that still live."""
        for record in self._open:
            self._add_bytes(record, now)

    def _add_bytes(self, record: TcpRecord, now: float) -> None:
        series = self._group.series(self._open[record], now)
        series.values[_SENT] += record.bytes_sent - record.reported_sent
        series.values[_RECEIVED] += record.bytes_received - record.reported_received
        record.reported_sent, record.reported_received = record.bytes_sent, record.bytes_received
