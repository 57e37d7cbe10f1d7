"""When to act on a stream of changes: (event, now) and the expected decisions."""

from __future__ import annotations

import pytest

from mesh.control.holdoff import Held, HoldOff, Limits

LIMITS = Limits(quiet=0.1, limit=1.0, urgent_quiet=0.01, urgent_limit=0.2)


def test_nothing_to_act_on() -> None:
    holdoff = HoldOff(LIMITS)
    assert holdoff.deadline is None
    assert holdoff.take(100.0) is None


def test_a_change_waits_for_quiet() -> None:
    holdoff = HoldOff(LIMITS)
    holdoff.note(1.0)
    assert holdoff.take(1.09) is None
    assert holdoff.take(1.1) == Held(1, pytest.approx(0.1))
    assert holdoff.deadline is None


def test_each_change_starts_the_quiet_time_anew() -> None:
    holdoff = HoldOff(LIMITS)
    holdoff.note(1.0)
    holdoff.note(1.05)
    assert holdoff.deadline == pytest.approx(1.15)


def test_endless_changes_are_acted_on_at_the_limit() -> None:
    holdoff = HoldOff(LIMITS)
    for step in range(20):
        holdoff.note(1.0 + step * 0.09)
    assert holdoff.deadline == pytest.approx(2.0)
    assert holdoff.take(2.0) == Held(20, pytest.approx(1.0))


def test_an_urgent_change_brings_the_deadline_forward() -> None:
    holdoff = HoldOff(LIMITS)
    holdoff.note(1.0)
    holdoff.note(1.02, is_urgent=True)
    assert holdoff.deadline == pytest.approx(1.03)


def test_ordinary_changes_do_not_delay_an_urgent_one() -> None:
    holdoff = HoldOff(LIMITS)
    holdoff.note(1.0, is_urgent=True)
    holdoff.note(1.005)
    assert holdoff.deadline == pytest.approx(1.01)


def test_endless_urgent_changes_have_their_own_limit() -> None:
    holdoff = HoldOff(LIMITS)
    for step in range(100):
        holdoff.note(1.0 + step * 0.009, is_urgent=True)
    assert holdoff.deadline == pytest.approx(1.2)


def test_a_new_period_starts_fresh() -> None:
    holdoff = HoldOff(LIMITS)
    holdoff.note(1.0, is_urgent=True)
    assert holdoff.take(1.01) is not None
    holdoff.note(2.0)
    assert holdoff.deadline == pytest.approx(2.1)
