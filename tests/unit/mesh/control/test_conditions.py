"""Conditions."""

from __future__ import annotations

from typing import Any

from mesh.control.conditions import Condition, merged


def old(kind: str, status: str, since: str = "then") -> dict[str, Any]:
    return {"type": kind, "status": status, "lastTransitionTime": since}


def test_the_transition_time_moves_only_with_the_status() -> None:
    accepted = Condition("Accepted", True, "Accepted", "new words")
    (same,) = merged([accepted], 2, [old("Accepted", "True")], "now")
    (changed,) = merged([accepted], 2, [old("Accepted", "False")], "now")
    assert (same["lastTransitionTime"], same["observedGeneration"], same["message"]) == ("then", 2, "new words")
    assert changed["lastTransitionTime"] == "now"


def test_others_conditions_stay() -> None:
    foreign = old("example.com/Ready", "True")
    assert merged([Condition("Accepted", None, "Pending")], 1, [foreign], "now")[1] == foreign


def test_partially_invalid_goes_when_it_no_longer_holds() -> None:
    found = merged([Condition("Accepted", True, "Accepted")], 1, [old("PartiallyInvalid", "True")], "now")
    assert [condition["type"] for condition in found] == ["Accepted"]


def test_long_messages_are_cut() -> None:
    (found,) = merged([Condition("Accepted", False, "Invalid", "x" * 40_000)], 1, [], "now")
    assert len(found["message"]) == 4096
