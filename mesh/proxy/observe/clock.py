"""Wall-clock time of monotonic moments, and its cheap printing.

Records carry monotonic seconds. The offset to the wall clock is taken when the process starts and again by
whoever flushes a batch (log writer, span exporter), so that a stepped clock shows within a second of traffic.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mesh.proxy.observe.record import Record


class WallClock:
    """Maps seconds on the proxy's monotonic clock to seconds since the epoch."""

    __slots__ = ("_second", "_second_text", "_shift", "_ticks", "_wall", "offset")

    def __init__(self, ticks: Callable[[], float] = time.perf_counter, wall: Callable[[], float] = time.time) -> None:
        """Args: ticks: a clock that any thread may read and that runs like the records' one."""
        self._ticks = ticks
        self._wall = wall
        self._shift = 0.0
        self._second = -1
        self._second_text = ""
        self.offset = 0.0
        self.adjust()

    def adjust(self) -> None:
        """Take the offset anew. Concurrency: any thread."""
        self.offset = self._wall() - (self._ticks() + self._shift)

    def use(self, monotonic: Callable[[], float]) -> None:
        """Records are stamped by this clock from now on: trio's, which only its own thread may read.

        It is read once, here: both it and `ticks` count CLOCK_MONOTONIC's seconds, from different starts.
        """
        self._shift = monotonic() - self._ticks()
        self.adjust()

    def epoch(self, moment: float) -> float:
        return moment + self.offset

    def iso_milliseconds(self, moment: float) -> str:
        """`2026-11-21T19:35:04.123Z`, the format of `%START_TIME%`; the part to the second is cached."""
        milliseconds = int((moment + self.offset) * 1000.0)
        second, rest = divmod(milliseconds, 1000)
        if second != self._second:
            self._second = second
            self._second_text = time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(second))
        return f"{self._second_text}{rest:03d}Z"


WALL = WallClock()
"""The process's clock. A record's moment means nothing to another process, so one is enough."""


def start_time_getter(argument: str | None, field: str) -> Callable[[Record], str]:
    """`%START_TIME%` or `%START_TIME(strftime format)%`; Envoy's `%s`, `%3f`, `%6f`, `%9f` and `%f` are known too."""
    if argument is None or argument == "":
        return lambda record: WALL.iso_milliseconds(record.started_at)
    pattern = argument

    def formatted(record: Record) -> str:
        return _format(WALL.epoch(record.started_at), pattern)

    return formatted


def _format(epoch: float, pattern: str) -> str:
    nanoseconds = int(epoch * 1_000_000) * 1000
    fraction = f"{nanoseconds % 1_000_000_000:09d}"
    text = pattern
    for digits in "123456789":
        text = text.replace(f"%{digits}f", fraction[: int(digits)])
    text = text.replace("%f", fraction).replace("%s", str(nanoseconds // 1_000_000_000))
    return time.strftime(text, time.gmtime(epoch))
