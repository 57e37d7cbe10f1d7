"""Durations and ages as kubectl prints them. Pure."""

from __future__ import annotations

from datetime import datetime

MINUTE, HOUR, DAY = 60, 3600, 86400


def age(stamp: str | None, now: datetime) -> str:
    """Time since an RFC 3339 timestamp; `<unknown>` without one."""
    if not stamp:
        return "<unknown>"
    try:
        return duration(int((now - datetime.fromisoformat(stamp)).total_seconds()))
    except (ValueError, TypeError):
        return "<invalid>"


def duration(seconds: int) -> str:
    """Two units where the second one still matters: `95s`, `3m20s`, `15m`, `5h10m`, `2d3h`, `3y40d`.

    Source: k8s.io/apimachinery duration.HumanDuration (its limits, not its code).
    """
    if seconds < -1:
        return "<invalid>"
    if seconds < 0:
        return "0s"
    if seconds < 2 * MINUTE:
        return f"{seconds}s"
    if seconds < 10 * MINUTE:
        return _two(seconds, MINUTE, "m", 1, "s")
    if seconds < 3 * HOUR:
        return f"{seconds // MINUTE}m"
    if seconds < 8 * HOUR:
        return _two(seconds, HOUR, "h", MINUTE, "m")
    if seconds < 2 * DAY:
        return f"{seconds // HOUR}h"
    if seconds < 8 * DAY:
        return _two(seconds, DAY, "d", HOUR, "h")
    if seconds < 2 * 365 * DAY:
        return f"{seconds // DAY}d"
    if seconds < 8 * 365 * DAY:
        return _two(seconds, 365 * DAY, "y", DAY, "d")
    return f"{seconds // (365 * DAY)}y"


def _two(seconds: int, big: int, big_name: str, small: int, small_name: str) -> str:
    rest = seconds % big // small
    return f"{seconds // big}{big_name}" + (f"{rest}{small_name}" if rest else "")
