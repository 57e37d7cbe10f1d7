# cython: language_level=3
"""Deadlines: absolute times at which something is cancelled, nearly free to set and to lift.

Setting one per request must not touch a heap or a timer. So an entry in the heap is only a promise to look: while
it is queued, arming again just moves `at`, lifting sets it to infinity, and the sweeper, when it gets there,
either fires, queues the entry again at the moved time, or drops it. A connection thus costs one heap operation per
timeout period however many requests it serves, and a process with nothing pending never wakes up.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable

import cython
import trio

_COMPACT_ABOVE = 256


class Deadline:
    """One moment that can be moved. `close` when its owner is gone, so that the heap does not keep it."""

    _owner: Deadlines
    _entry: _Entry | None
    _queued_at: float
    at: float
    on_expiry: Callable[[], None]

    def __init__(self, owner: Deadlines, on_expiry: Callable[[], None]) -> None:
        self._owner = owner
        self.on_expiry = on_expiry
        self.at = math.inf
        self._queued_at = math.inf
        self._entry = None

    def arm(self, at: cython.double) -> None:
        """Fire at the absolute time `at` (trio seconds) instead of whatever was set before."""
        self.at = at
        if at < self._queued_at:
            self._queue(at)

    def lift(self) -> None:
        """Do not fire until armed again."""
        self.at = math.inf

    def close(self) -> None:
        """Never fire again, and forget the owner: together they would be a cycle for the garbage collector."""
        self.at = math.inf
        self.on_expiry = _nothing
        if self._entry is not None:
            self._owner.drop(self._entry)
            self._entry = None

    def _queue(self, at: cython.double) -> None:
        if self._entry is not None:
            self._owner.drop(self._entry)
        self._queued_at = at
        self._entry = self._owner.queue(at, self)

    def look(self, now: float) -> None:
        """Called by the sweeper when the queued time has come."""
        self._entry = None
        self._queued_at = math.inf
        if self.at <= now:
            self.at = math.inf
            self.on_expiry()
        elif self.at < math.inf:
            self._queue(self.at)


def _nothing() -> None:
    """What a closed deadline does."""


class _Entry:
    at: float
    order: int
    deadline: Deadline | None

    def __init__(self, at: cython.double, order: cython.long, deadline: Deadline) -> None:
        self.at = at
        self.order = order
        self.deadline = deadline

    def __lt__(self, other: _Entry) -> bool:
        return self.at < other.at or (self.at == other.at and self.order < other.order)


class Deadlines:
    """All deadlines of a process. `sweep` is pure in `now`; `run` is the one task that calls it.

    now: seconds on the clock that deadlines are meant on; asked several times per request, so without detours.
    """

    now: Callable[[], float]
    _heap: list[_Entry]
    _order: int
    _dropped: int
    _sleeping_until: float
    _earlier: trio.Event

    def __init__(self) -> None:
        self.now = trio.current_time
        self._heap = []
        self._order = 0
        self._dropped = 0
        self._sleeping_until = math.inf
        self._earlier = trio.Event()

    def new(self, on_expiry: Callable[[], None]) -> Deadline:
        """A deadline that is not set yet. `on_expiry` is called from the sweeper and must not block."""
        return Deadline(self, on_expiry)

    def queue(self, at: float, deadline: Deadline) -> _Entry:
        self._order += 1
        entry = _Entry(at, self._order, deadline)
        heapq.heappush(self._heap, entry)
        if at < self._sleeping_until:
            self._earlier.set()
        return entry

    def drop(self, entry: _Entry) -> None:
        entry.deadline = None
        self._dropped += 1
        if self._dropped > _COMPACT_ABOVE and self._dropped * 2 > len(self._heap):
            self._heap = [entry for entry in self._heap if entry.deadline is not None]
            heapq.heapify(self._heap)
            self._dropped = 0

    def sweep(self, now: float) -> float:
        """Fire what is due. Returns: when to look again, infinity when nothing is queued."""
        while self._heap:
            entry: _Entry = self._heap[0]
            if entry.deadline is not None and entry.at > now:
                return entry.at
            heapq.heappop(self._heap)
            if entry.deadline is None:
                self._dropped -= 1
            else:
                entry.deadline.look(now)
        return math.inf

    async def run(self) -> None:
        """Sweep when the earliest entry is due, until cancelled."""
        self.now = trio.lowlevel.current_clock().current_time
        while True:
            self._earlier = trio.Event()
            self._sleeping_until = -math.inf  # entries queued while sweeping are seen by the sweep itself
            self._sleeping_until = self.sweep(trio.current_time())
            with trio.CancelScope(deadline=self._sleeping_until):
                await self._earlier.wait()

    def __len__(self) -> int:
        return len(self._heap) - self._dropped
