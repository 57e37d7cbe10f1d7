"""Sizes of ReplicaSets, step by step."""

from typing import Any

import pytest

from mesh.sandbox.controllers import rollout

Json = dict[str, Any]


def deployment(replicas: int = 3, surge: int | str = 1, unavailable: int | str = 0) -> Json:
    return {"spec": {"replicas": replicas, "strategy": {"rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}}}


def rs(name: str, replicas: int, available: int | None = None, desired: int = 3) -> Json:
    annotations = {rollout.DESIRED: str(desired)}
    return {"metadata": {"name": name, "annotations": annotations}, "spec": {"replicas": replicas}, "status": {"availableReplicas": replicas if available is None else available}}


@pytest.mark.parametrize(
    ("surge", "unavailable", "expected"), [("25%", "25%", (1, 0)), (0, 0, (0, 1)), ("100%", 0, (3, 0)), (2, "50%", (2, 1)), (0, 9, (0, 3))]
)
def test_percentages_round_up_and_down(surge: int | str, unavailable: int | str, expected: tuple[int, int]) -> None:
    assert rollout.limits(deployment(3, surge, unavailable)) == expected


@pytest.mark.parametrize(
    ("old", "surge", "expected"), [([], 1, 3), ([rs("a", 3)], 1, 1), ([rs("a", 3)], 0, 0), ([rs("a", 5)], 1, 0), ([rs("a", 1), rs("b", 1)], 0, 1)]
)
def test_a_new_set_begins_with_the_room_there_is(old: list[Json], surge: int, expected: int) -> None:
    assert rollout.first_size(deployment(3, surge, 1), old) == expected


@pytest.mark.parametrize(
    ("new", "old", "surge", "unavailable", "expected"),
    [
        (rs("n", 1, 0), [rs("a", 3)], 1, 0, {}),  # wait until the new one is available
        (rs("n", 1, 1), [rs("a", 3)], 1, 0, {"a": 2}),
        (rs("n", 1, 1), [rs("a", 2)], 1, 0, {"n": 2}),
        (rs("n", 1, 1), [rs("a", 3)], 0, 1, {"a": 1}),
        (rs("n", 0), [rs("a", 3)], 0, 1, {"a": 2}),
        (rs("n", 3, 3), [], 1, 0, {}),
        (rs("n", 5, 5), [], 1, 0, {"n": 3}),
        (rs("n", 1, 0), [rs("a", 2, 0), rs("b", 1)], 1, 1, {"a": 1}),  # what never got ready goes first
        (rs("n", 3, 3), [rs("a", 1), rs("b", 1)], 2, 0, {"a": 0, "b": 0}),
    ],
)
def test_a_rolling_step(new: Json, old: list[Json], surge: int, unavailable: int, expected: dict[str, int]) -> None:
    found = rollout.rolling(deployment(3, surge, unavailable), new, old)
    assert {name: size for name, size in found.items() if size != next(s for s in [new, *old] if s["metadata"]["name"] == name)["spec"]["replicas"]} == expected


def test_recreate_empties_what_is_not_empty() -> None:
    assert rollout.recreating([rs("a", 2), rs("b", 0)]) == {"a": 0}


@pytest.mark.parametrize(
    ("replicas", "new", "old", "expected"),
    [
        (5, rs("n", 3), [rs("a", 0)], {"n": 5}),
        (5, rs("n", 0), [rs("a", 3)], {"a": 5}),
        (3, rs("n", 1), [rs("a", 3)], {}),  # nobody asked for another size
        (6, rs("n", 1), [rs("a", 3)], {"n": 2, "a": 5}),
        (0, rs("n", 1), [rs("a", 3)], {"n": 0, "a": 0}),
        (2, None, [rs("a", 0)], {}),
    ],
)
def test_a_paused_deployment_grows_and_shrinks_in_proportion(replicas: int, new: Json | None, old: list[Json], expected: dict[str, int]) -> None:
    assert rollout.proportional(deployment(replicas), new, old) == expected
