"""What plans are made of."""

from typing import Any

import pytest

from mesh.sandbox.controllers.plan import Plan, condition, matches, pod_from_template, short_hash, status_patch
from mesh.sandbox.kubeclient import PODS


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        (None, False),
        ({}, False),
        ({"matchLabels": {"a": "1"}}, True),
        ({"matchLabels": {"a": "2"}}, False),
        ({"matchExpressions": [{"key": "a", "operator": "In", "values": ["1"]}]}, True),
        ({"matchExpressions": [{"key": "b", "operator": "Exists"}]}, False),
        ({"matchExpressions": [{"key": "b", "operator": "DoesNotExist"}]}, True),
        ({"matchExpressions": [{"key": "b", "operator": "NotIn", "values": ["1"]}]}, True),
    ],
)
def test_selectors(selector: dict[str, Any] | None, expected: bool) -> None:
    assert matches(selector, {"a": "1"}) is expected


def test_a_hash_depends_on_content_alone() -> None:
    assert short_hash({"a": 1, "b": 2}) == short_hash({"b": 2, "a": 1}) != short_hash({"a": 1})
    assert not set(short_hash("x")) & set("aeiou01")


def test_a_status_is_patched_only_where_it_differs() -> None:
    obj = {"metadata": {"name": "p"}, "status": {"a": 1, "b": 2}}
    assert status_patch(PODS, obj, {"a": 1, "c": None}) == []
    (patch,) = status_patch(PODS, obj, {"a": 1, "b": None})
    assert getattr(patch, "body", None) == {"status": {"b": None}}


def test_a_conditions_times_move_with_it() -> None:
    first = condition([], "Ready", True, "r", "m", "t1")
    assert condition([first], "Ready", True, "r", "m", "t2") == first
    assert condition([first], "Ready", True, "other", "m", "t2") == {**first, "reason": "other", "lastUpdateTime": "t2"}
    assert condition([first], "Ready", False, "r", "m", "t2")["lastTransitionTime"] == "t2"


def test_the_shortest_wait_counts() -> None:
    plan = Plan()
    for seconds in (5.0, 2.0, 9.0):
        plan.again(seconds)
    assert plan.again_seconds == 2.0


def test_a_pod_is_a_copy_of_its_template() -> None:
    owner = {"apiVersion": "v1", "kind": "K", "metadata": {"name": "o", "namespace": "ns", "uid": "u"}}
    template = {"metadata": {"labels": {"a": "1"}, "annotations": {"x": "y"}}, "spec": {"containers": []}}
    pod = pod_from_template(owner, template, {"b": "2"}, prefix="o-")
    pod["spec"]["containers"].append(1)
    assert template["spec"]["containers"] == []
    assert pod["metadata"]["labels"] == {"a": "1", "b": "2"} and pod["metadata"]["annotations"] == {"x": "y"}
