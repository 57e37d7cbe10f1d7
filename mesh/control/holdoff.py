"""HoldOff: when to act on a stream of changes. Sans-I/O: it is told the time and says the next deadline.

Idle -> Holding   first change: due after `quiet`
Holding           each change starts `quiet` anew, but never beyond `limit` after the first
Holding, urgent   an urgent change (endpoints, deletions: traffic is failing now) brings the deadline forward
Holding -> Idle   `take` once due

Istio: PILOT_DEBOUNCE_AFTER 100 ms, PILOT_DEBOUNCE_MAX 10 s.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds."""

    quiet: float = 0.1
    limit: float = 10.0
    urgent_quiet: float = 0.01
    urgent_limit: float = 0.2


@dataclass(frozen=True, slots=True)
class Held:
    """What a taken period came to. waited: seconds since its first change."""

    changes: int
    waited: float


class HoldOff:
    """Times are seconds on one monotonic clock of the caller's."""

    __slots__ = ("_changes", "_first", "_last", "_limits", "_urgent_first", "_urgent_last")

    def __init__(self, limits: Limits = Limits()) -> None:
        self._limits = limits
        self._changes = 0
        self._first = self._last = 0.0
        self._urgent_first: float | None = None
        self._urgent_last = 0.0

    def note(self, now: float, is_urgent: bool = False) -> None:
        """A change happened."""
        if not self._changes:
            self._first = now
        self._changes += 1
        self._last = now
        if is_urgent:
            if self._urgent_first is None:
                self._urgent_first = now
            self._urgent_last = now

    @property
    def deadline(self) -> float | None:
        """When to act; None while there is nothing to act on. Never later than what it was, but for new changes."""
        if not self._changes:
            return None
        limits = self._limits
        due = min(self._last + limits.quiet, self._first + limits.limit)
        if self._urgent_first is not None:
            due = min(due, self._urgent_last + limits.urgent_quiet, self._urgent_first + limits.urgent_limit)
        return due

    def take(self, now: float) -> Held | None:
        """The period's changes if they are due, and a fresh start; else None."""
        due = self.deadline
        if due is None or now < due:
            return None
        held = Held(self._changes, now - self._first)
        self._changes = 0
        self._urgent_first = None
        return held
