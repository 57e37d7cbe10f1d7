from __future__ import annotations

from datetime import UTC, datetime

import pytest

from mesh.sandbox.apiserver.humanize import age, duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (-1, "0s"), (-9, "<invalid>"), (119, "119s"), (120, "2m"), (135, "2m15s"), (600, "10m"), (3 * 3600, "3h"), (3 * 3600 + 300, "3h5m"), (9 * 3600, "9h"),
     (47 * 3600, "47h"), (50 * 3600, "2d2h"), (9 * 86400, "9d"), (800 * 86400, "2y70d"), (9 * 365 * 86400, "9y")],
)  # fmt: skip
def test_duration(seconds: int, text: str) -> None:
    assert duration(seconds) == text


def test_age() -> None:
    now = datetime(2030, 1, 1, 0, 1, tzinfo=UTC)
    assert [age(t, now) for t in ("2030-01-01T00:00:00Z", None, "yesterday")] == ["60s", "<unknown>", "<invalid>"]
