"""What the garbage collector decides."""

from typing import Any

import pytest

from mesh.sandbox.controllers.garbage import Owner, as_dependent, as_owner, state_of
from mesh.sandbox.controllers.plan import Delete, Patch
from mesh.sandbox.kubeclient import CONFIGMAPS, PODS


def ref(uid: str, block: bool = True) -> dict[str, Any]:
    return {"uid": uid, "name": uid, "kind": "K", "apiVersion": "v1", "blockOwnerDeletion": block}


def pod(*refs: dict[str, Any], **meta: Any) -> dict[str, Any]:
    return {"metadata": {"name": "p", "uid": "p", "ownerReferences": list(refs), **meta}}


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ({"a": Owner.ALIVE}, []),
        ({"a": Owner.GONE}, [Delete(PODS, pod(ref("a")), "Background")]),
        ({"a": Owner.WAITING}, [Delete(PODS, pod(ref("a")), "Foreground")]),
        ({"a": Owner.WAITING, "b": Owner.ALIVE}, []),
        ({"a": Owner.GONE, "b": Owner.ALIVE}, [Patch(PODS, pod(ref("a"), ref("b")), {"metadata": {"uid": "p", "ownerReferences": [ref("b")]}})]),
        ({}, []),
    ],
)
def test_dependents(states: dict[str, Owner], expected: list[object]) -> None:
    assert as_dependent(PODS, pod(*(ref(uid) for uid in states)), states).actions == expected


def test_foreground_waits_for_those_that_block() -> None:
    owner = {"metadata": {"name": "o", "uid": "o", "deletionTimestamp": "x", "finalizers": ["foregroundDeletion", "mine"]}}
    child, loose, going = pod(ref("o")), pod(ref("o", False)), pod(ref("o"), deletionTimestamp="x")
    assert as_owner(CONFIGMAPS, owner, [(PODS, child), (PODS, loose)]).actions == [Delete(PODS, child, "Foreground")]
    assert as_owner(CONFIGMAPS, owner, [(PODS, going)]).actions == []
    assert as_owner(CONFIGMAPS, owner, [(PODS, loose)]).actions == [Patch(CONFIGMAPS, owner, {"metadata": {"uid": "o", "finalizers": ["mine"]}})]


def test_orphans_forget_their_owner() -> None:
    owner = {"metadata": {"name": "o", "uid": "o", "deletionTimestamp": "x", "finalizers": ["orphan"]}}
    child = pod(ref("o"))
    assert as_owner(CONFIGMAPS, owner, [(PODS, child)]).actions == [
        Patch(PODS, child, {"metadata": {"uid": "p", "ownerReferences": None}}),
        Patch(CONFIGMAPS, owner, {"metadata": {"uid": "o", "finalizers": None}}),
    ]


def test_another_object_of_the_same_name_is_not_the_owner() -> None:
    assert state_of({"metadata": {"uid": "new"}}, "old") is Owner.GONE
    assert state_of(None, "old") is Owner.GONE
    assert state_of({"metadata": {"uid": "old"}}, "old") is Owner.ALIVE
