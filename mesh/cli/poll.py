"""Poll: ask again and again what announces nothing by itself (a gateway, a proxy's admin port, the trace collector)."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_FIRST_SECONDS = 0.05
_LONGEST_SECONDS = 0.5


def poll(
    ask: Callable[[], T],
    holds: Callable[[T], bool],
    seconds: float,
    now: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
) -> T:
    """The first answer that holds, or the last one when `seconds` are over: at least one, even when 0 are left.

    The pauses double, from 50 ms to half a second: quick where it is a matter of milliseconds, no load where it is not.
    """
    deadline, wait = now() + seconds, _FIRST_SECONDS
    while True:
        answer = ask()
        left = deadline - now()
        if holds(answer) or left <= 0:
            return answer
        pause(min(wait, left))
        wait = min(2 * wait, _LONGEST_SECONDS)
