"""Cron schedules. Pure.

    minute hour day-of-month month day-of-week, each `*`, numbers, names, a-b ranges, lists and /steps; or @hourly and the like
Source: crontab(5), and robfig/cron (which Kubernetes uses) for the macros: when both day fields are restricted, either is enough.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

_MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_DAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
_FIELDS = (("minute", 0, 59), ("hour", 0, 23), ("day of month", 1, 31), ("month", 1, 12), ("day of week", 0, 7))
_HORIZON_DAYS = 366 * 8
"""29 February comes at the latest after eight years."""


class BadSchedule(ValueError):
    """Not a schedule; the message names the field."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """Allowed values per field."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    any_day: bool
    any_weekday: bool

    def after(self, moment: datetime) -> datetime | None:
        """The first time later than `moment`, in its time zone; None when there is none."""
        day = moment.replace(second=0, microsecond=0)
        start = day + timedelta(minutes=1)
        for offset in range(_HORIZON_DAYS):
            date = (start + timedelta(days=offset)).replace(hour=0, minute=0) if offset else start
            if not self._matches_day(date):
                continue
            for hour in sorted(self.hours):
                for minute in sorted(self.minutes):
                    found = date.replace(hour=hour, minute=minute)
                    if found >= start:
                        return found
        return None

    def _matches_day(self, date: datetime) -> bool:
        if date.month not in self.months:
            return False
        by_day, by_weekday = date.day in self.days, date.isoweekday() % 7 in self.weekdays
        return (by_day and by_weekday) if self.any_day or self.any_weekday else (by_day or by_weekday)


def parse_schedule(text: str) -> Schedule:
    """Parse five fields or a macro.

    Raises: BadSchedule.
    """
    fields = _MACROS.get(text.strip(), text).split()
    if len(fields) != 5:
        raise BadSchedule(f"schedule {text!r}: expected 5 fields, found {len(fields)}")
    values = [_field(part, *bounds) for part, bounds in zip(fields, _FIELDS, strict=True)]
    weekdays = frozenset(day % 7 for day in values[4])
    wild = [part in ("*", "?") for part in fields]
    return Schedule(values[0], values[1], values[2], values[3], weekdays, wild[2], wild[4])


def _field(text: str, name: str, low: int, high: int) -> frozenset[int]:
    found: set[int] = set()
    for part in text.split(","):
        body, _, step = part.partition("/")
        first, dash, last = body.partition("-")
        try:
            stride = int(step) if step else 1
            begin = low if body in ("*", "?") else _number(first, name)
            if body in ("*", "?") or (step and not dash):
                end = high
            else:
                end = _number(last, name) if dash else begin
        except ValueError as exc:
            raise BadSchedule(f"{name} {part!r}: {exc}") from exc
        if stride < 1 or not low <= begin <= end <= high:
            raise BadSchedule(f"{name} {part!r}: outside {low}-{high}")
        found.update(range(begin, end + 1, stride))
    return frozenset(found)


def _number(text: str, name: str) -> int:
    names = {"month": ["", *_MONTHS], "day of week": _DAYS}.get(name, [])
    return names.index(text.lower()) if text.lower() in names and text else int(text)
