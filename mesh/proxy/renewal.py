"""Renewal: when to ask for the next certificate. Pure; times are seconds since the epoch, for certificates know no other.

States: *without* (ask at once, then with growing pauses) -> *asking* (never twice at a time) -> *holding* (until half
of the certificate's life, give or take a tenth, so that a mesh does not ask as one) -> *asking* -> ...
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

_FIRST_PAUSE: Final = 0.2
_MAX_PAUSE_WITHOUT: Final = 15.0
_MAX_PAUSE_HOLDING: Final = 300.0
_SHARE_OF_LIFE: Final = 0.5
_SPREAD: Final = 0.1
# Of what is left of the certificate in hand, between two attempts: the closer its end, the more often.
_SHARE_OF_REST: Final = 0.125


class Renewal:
    """One workload's. is_asking: a request is under way."""

    __slots__ = ("_next_at", "_not_after", "_pause", "_random", "is_asking")

    def __init__(self, random: Callable[[], float]) -> None:
        """Args: random: in [0, 1)."""
        self._random = random
        self._next_at = -math.inf
        self._not_after = -math.inf
        self._pause = _FIRST_PAUSE
        self.is_asking = False

    def wait_seconds(self, now: float) -> float:
        """Until the next request is due: 0.0 = now, infinite while one is under way."""
        return math.inf if self.is_asking else max(0.0, self._next_at - now)

    def begin(self) -> None:
        """A request goes out; `hold` or `failed` ends it."""
        if self.is_asking:
            raise RuntimeError("a request is under way already")
        self.is_asking = True

    def hold(self, not_before: float, not_after: float) -> None:
        """A good certificate is in hand: from the CA, or from an earlier run of this process."""
        share = _SHARE_OF_LIFE + _SPREAD * (2.0 * self._random() - 1.0)
        self._next_at = not_before + share * (not_after - not_before)
        self._not_after = not_after
        self._pause = _FIRST_PAUSE
        self.is_asking = False

    def failed(self, now: float) -> float:
        """No certificate came, or no good one. Returns: seconds until the next attempt."""
        left = self._not_after - now
        pause = self._pause * (0.5 + self._random())
        limit = max(_FIRST_PAUSE, left * _SHARE_OF_REST) if left > 0.0 else _MAX_PAUSE_WITHOUT
        self._pause = min(self._pause * 2.0, _MAX_PAUSE_HOLDING if left > 0.0 else _MAX_PAUSE_WITHOUT)
        self._next_at = now + min(pause, limit)
        self.is_asking = False
        return self._next_at - now

    def hurry(self, now: float) -> None:
        """What is in hand is of no use any more: the next request is due now."""
        self._next_at = min(self._next_at, now)
