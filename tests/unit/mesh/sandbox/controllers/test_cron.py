"""Cron schedules."""

from datetime import UTC, datetime

import pytest

from mesh.sandbox.controllers.cron import BadSchedule, parse_schedule


@pytest.mark.parametrize(
    ("schedule", "after", "expected"),
    [
        ("* * * * *", "2026-01-01T00:00:30", "2026-01-01T00:01:00"),
        ("*/15 * * * *", "2026-01-01T00:15:00", "2026-01-01T00:30:00"),
        ("5/20 3 * * *", "2026-01-01T03:26:00", "2026-01-01T03:45:00"),
        ("0 0 29 2 *", "2026-01-01T00:00:00", "2028-02-29T00:00:00"),
        ("0 9 * * mon-fri", "2026-01-02T10:00:00", "2026-01-05T09:00:00"),
        ("0 0 1 * sun", "2026-01-02T00:00:00", "2026-01-04T00:00:00"),
        ("0 0 * * 7", "2026-01-01T00:00:00", "2026-01-04T00:00:00"),
        ("@monthly", "2026-12-31T23:59:59", "2027-01-01T00:00:00"),
    ],
)
def test_the_next_time(schedule: str, after: str, expected: str) -> None:
    moment = datetime.fromisoformat(after).replace(tzinfo=UTC)
    assert parse_schedule(schedule).after(moment) == datetime.fromisoformat(expected).replace(tzinfo=UTC)


def test_a_day_that_never_comes() -> None:
    assert parse_schedule("0 0 30 2 *").after(datetime(2026, 1, 1, tzinfo=UTC)) is None


@pytest.mark.parametrize(("text", "message"), [("* * * *", "expected 5 fields"), ("60 * * * *", "minute '60': outside 0-59"), ("* x * * *", "hour 'x'"), ("*/0 * * * *", "minute"), ("* * 5-1 * *", "day of month")])
def test_a_bad_field_is_named(text: str, message: str) -> None:
    with pytest.raises(BadSchedule, match=message):
        parse_schedule(text)
