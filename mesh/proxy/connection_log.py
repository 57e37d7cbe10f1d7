"""Connection log: the line of one connection in its listener's own access log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mesh.model.failure import Flag
from mesh.proxy.observe.record import Connection, TcpRecord

if TYPE_CHECKING:
    from mesh.proxy.observe.access_log import AccessLogger


class ConnectionLog:
    """Nobody's line until it is opened. Where nobody listens, it stays that way."""

    __slots__ = ("_loggers", "_record")

    def __init__(self) -> None:
        self._loggers: tuple[AccessLogger, ...] = ()
        self._record: TcpRecord | None = None

    def open(self, loggers: tuple[AccessLogger, ...], connection: Connection, now: float) -> None:
        """The first to listen keep it: a listener's own log, or else the one for what no chain can serve."""
        if loggers and self._record is None:
            self._loggers = loggers
            self._record = TcpRecord(connection, now)

    def refused(self, why: str, *flags: Flag) -> None:
        """No chain can serve the connection."""
        if self._record is not None:
            self._record.flags = flags
            self._record.details = why

    def end(self, now: float) -> None:
        """Write it."""
        if self._record is not None:
            self._record.finished_at = now
            for logger in self._loggers:
                logger.log(self._record)
