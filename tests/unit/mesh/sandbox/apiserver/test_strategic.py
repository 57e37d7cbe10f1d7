from __future__ import annotations

from typing import Any

import pytest

from mesh.sandbox.apiserver.jsonpatch import PatchError
from mesh.sandbox.apiserver.strategic import apply_strategic

POD = {"$ref": "core.v1.Pod"}


def pod(**spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "p", "finalizers": ["a", "b"]}, "spec": {"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "2"}], **spec}}


def patched(**spec: Any) -> dict[str, Any]:
    return dict(apply_strategic(pod(), {"spec": spec}, POD)["spec"])


def test_keyed_list_is_merged_by_key() -> None:
    assert patched(containers=[{"name": "b", "image": "3"}, {"name": "c"}])["containers"] == [{"name": "a", "image": "1"}, {"name": "b", "image": "3"}, {"name": "c"}]


def test_new_elements_come_before_the_next_one_that_is_not_named() -> None:
    assert [c["name"] for c in patched(containers=[{"name": "new"}])["containers"]] == ["new", "a", "b"]
    assert [c["name"] for c in patched(containers=[{"name": "a"}, {"name": "new"}])["containers"]] == ["a", "new", "b"]
    assert [c["name"] for c in patched(containers=[{"name": "b"}])["containers"]] == ["a", "b"]


def test_directives() -> None:
    assert patched(containers=[{"name": "a", "$patch": "delete"}])["containers"] == [{"name": "b", "image": "2"}]
    assert patched(containers=[{"$patch": "replace"}, {"name": "z"}])["containers"] == [{"name": "z"}]
    assert apply_strategic({"metadata": {"labels": {"a": "1"}}}, {"metadata": {"labels": {"$patch": "replace", "b": "2"}}}, POD) == {"metadata": {"labels": {"b": "2"}}}
    assert apply_strategic({"metadata": {"labels": {"a": "1"}}}, {"metadata": {"labels": {"$patch": "delete"}}}, POD) == {"metadata": {}}
    with pytest.raises(PatchError, match=r"unknown \$patch directive"):
        apply_strategic({}, {"$patch": "frob"}, POD)


def test_retain_keys_drops_the_other_members_of_a_union() -> None:
    before = pod(volumes=[{"name": "v", "emptyDir": {}}])
    after = apply_strategic(before, {"spec": {"volumes": [{"name": "v", "$retainKeys": ["name", "configMap"], "configMap": {"name": "c"}}]}}, POD)
    assert after["spec"]["volumes"] == [{"name": "v", "configMap": {"name": "c"}}]


def test_primitive_lists_are_sets() -> None:
    after = apply_strategic(pod(), {"metadata": {"finalizers": ["b", "c"], "$deleteFromPrimitiveList/finalizers": ["a"]}}, POD)
    assert sorted(after["metadata"]["finalizers"]) == ["b", "c"]


def test_order_directive_places_the_named_and_keeps_the_others() -> None:
    before = pod()
    before["spec"]["containers"].append({"name": "injected"})
    after = apply_strategic(before, {"spec": {"$setElementOrder/containers": [{"name": "new"}, {"name": "b"}, {"name": "a"}], "containers": [{"name": "new"}]}}, POD)
    assert [c["name"] for c in after["spec"]["containers"]] == ["injected", "new", "b", "a"] or [c["name"] for c in after["spec"]["containers"]] == ["new", "b", "a", "injected"]


def test_other_lists_are_replaced_and_null_removes() -> None:
    before = pod(nodeSelector={"a": "b"}, tolerations=[{"key": "x"}])
    after = apply_strategic(before, {"spec": {"tolerations": [{"key": "y"}], "nodeSelector": None}}, POD)
    assert after["spec"]["tolerations"] == [{"key": "y"}] and "nodeSelector" not in after["spec"]


def test_element_without_its_key_is_refused() -> None:
    with pytest.raises(PatchError, match="does not contain declared merge key: name"):
        patched(containers=[{"image": "3"}])
    with pytest.raises(PatchError, match="must be an object"):
        patched(containers=["x"])


def test_document_is_not_changed() -> None:
    before = pod()
    apply_strategic(before, {"spec": {"containers": [{"name": "a", "image": "9"}]}}, POD)
    assert before == pod()
