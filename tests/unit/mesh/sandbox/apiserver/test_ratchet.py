"""What an update leaves alone need not fit a stricter schema."""

from typing import Any

import pytest

from mesh.sandbox.apiserver.ratchet import is_same, new_ones
from mesh.sandbox.apiserver.status import Cause

KEYED = {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"], "items": {"type": "object"}}
NODE = {"type": "object", "properties": {"spec": {"type": "object", "properties": {"a": {}, "m": {}, "keyed": KEYED, "plain": {"type": "array", "items": {}}}}}}


def object_(**spec: Any) -> dict[str, Any]:
    return {"spec": spec}


@pytest.mark.parametrize(
    ("field", "new", "old", "kept"),
    [
        ("spec.a", object_(a=1), object_(a=1), False), ("spec.a", object_(a=1), object_(a=2), True), ("spec.a", object_(a=1), object_(), True), ("spec.a", object_(a=1), object_(a=True), True),
        ("spec.m.x", object_(m={"x": 1, "y": 1}), object_(m={"x": 1, "y": 2}), False), ("spec.m[a.b/c]", object_(m={"a.b/c": 1}), object_(m={"a.b/c": 1, "y": 2}), False),
        ("spec.keyed[0].v", object_(keyed=[{"k": 2, "v": 1}]), object_(keyed=[{"k": 1}, {"k": 2, "v": 1}]), False), ("spec.keyed[0].v", object_(keyed=[{"k": 2, "v": 1}]), object_(keyed=[{"k": 1, "v": 1}]), True),
        ("spec.plain[0]", object_(plain=[1, 2]), object_(plain=[1]), True), ("spec.plain[0]", object_(plain=[1], a=1), object_(plain=[1], a=2), False),
    ],
)  # fmt: skip
def test_causes_about_what_did_not_change_are_left_out(field: str, new: Any, old: Any, kept: bool) -> None:
    cause = Cause("FieldValueInvalid", field, "x")
    assert new_ones([cause], new, old, NODE) == [cause] * kept


def test_a_missing_field_is_said_of_what_lacks_it() -> None:
    cause = Cause("FieldValueRequired", "spec.m.x", "Required value")
    assert new_ones([cause], object_(m={"y": 1}), object_(m={"y": 2}), NODE) == [cause]
    assert new_ones([cause], object_(m={"y": 1}, a=1), object_(m={"y": 1}), NODE) == []


def test_everything_is_new_at_birth() -> None:
    assert len(new_ones([Cause("FieldValueInvalid", "spec", "x")], object_(), None, NODE)) == 1


@pytest.mark.parametrize(("new", "old", "same"), [(1, True, False), (1, 1.0, True), ([1], [1, 2], False), ({"a": [0]}, {"a": [False]}, False), ({"a": None}, {}, False), ("x", "x", True)])
def test_sameness(new: Any, old: Any, same: bool) -> None:
    assert is_same(new, old) is same
