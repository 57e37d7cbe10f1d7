"""What is known of one object."""

from __future__ import annotations

from typing import Any

from mesh.control.conditions import Condition
from mesh.control.facts import Facts
from mesh.control.kube.objects import Meta
from tests.support.world import Cluster
from tests.support.world_status import NOW

META = Meta("VirtualService", "default", "reviews", generation=3)


def facts(old: dict[str, Any]) -> Facts:
    return Facts(Cluster().graph(), {}, {META.ref: "no such filter"}, lambda ref: old if ref == META.ref else {}, NOW)


def test_what_is_known_of_one_object() -> None:
    known = facts({"a": 1})
    assert (known.status(META), known.found(META), known.refusal(META)) == ({"a": 1}, [], "no such filter")


def test_the_time_of_a_condition_that_did_not_change_stays() -> None:
    before = {"type": "Accepted", "status": "True", "reason": "Accepted", "message": "", "lastTransitionTime": "2025-01-01T00:00:00Z"}
    old = {"conditions": [before, {"type": "Theirs", "status": "True"}]}
    made = facts(old).conditions([Condition("Accepted", True, "Accepted"), Condition("Programmed", True, "Programmed")], META, old)
    assert [(item["type"], item.get("lastTransitionTime")) for item in made] == [
        ("Accepted", "2025-01-01T00:00:00Z"),
        ("Programmed", NOW),
        ("Theirs", None),
    ]
    assert made[0]["observedGeneration"] == 3
