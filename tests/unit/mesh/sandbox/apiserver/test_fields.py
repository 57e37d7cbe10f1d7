from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from mesh.sandbox.apiserver import fields

POD = {"$ref": "core.v1.Pod"}


def pod(containers: list[dict[str, Any]], **labels: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "uid": "u", "labels": labels}, "spec": {"containers": containers}}


def test_owned_fields_of_a_pod_as_fields_v1() -> None:
    made = fields.encode(fields.owned(pod([{"name": "a", "image": "1", "ports": [{"containerPort": 80}], "args": ["x", "y"]}], app="w"), POD))
    assert made == {
        "f:metadata": {"f:labels": {"f:app": {}}},
        "f:spec": {"f:containers": {'k:{"name":"a"}': {
            ".": {}, "f:name": {}, "f:image": {}, "f:args": {}, "f:ports": {'k:{"containerPort":80,"protocol":"TCP"}': {".": {}, "f:containerPort": {}}}}}},
    }  # fmt: skip
    assert fields.encode(fields.decode(made)) == made


def test_compare_tells_changed_from_removed() -> None:
    old = pod([{"name": "a", "image": "1"}, {"name": "b", "image": "1"}], x="1")
    new = pod([{"name": "a", "image": "2"}], x="1", y="2")
    changed, removed = fields.compare_objects(old, new, POD)
    assert fields.paths(changed) == [".metadata.labels.y", '.spec.containers[name="a"].image']
    assert fields.paths(removed) == ['.spec.containers[name="b"]', '.spec.containers[name="b"].image', '.spec.containers[name="b"].name']


def test_merge_lays_over_by_key() -> None:
    live = pod([{"name": "a", "image": "1", "tty": True}, {"name": "b"}], x="1")
    merged = fields.merge(live, pod([{"name": "a", "image": "2"}, {"name": "c"}], y="2"), POD)
    assert merged["spec"]["containers"] == [{"name": "a", "image": "2", "tty": True}, {"name": "b"}, {"name": "c"}]
    assert merged["metadata"]["labels"] == {"x": "1", "y": "2"}


def test_remove_spares_what_others_keep() -> None:
    live = pod([{"name": "a", "image": "1", "tty": True}, {"name": "b", "image": "1"}], x="1", y="2")
    gone = fields.owned(pod([{"name": "a", "image": "1"}, {"name": "b", "image": "1"}], x="1"), POD)
    kept = fields.owned(pod([{"name": "a", "tty": True}]), POD)
    after = fields.remove(live, gone, kept, POD)
    assert after["spec"]["containers"] == [{"name": "a", "tty": True}] and after["metadata"]["labels"] == {"y": "2"}


def test_atomic_values_have_one_owner() -> None:
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"selector": {"a": "b", "c": "d"}}}
    assert fields.encode(fields.owned(service, {"$ref": "core.v1.Service"})) == {"f:spec": {"f:selector": {}}}


def test_set_lists_are_owned_by_value() -> None:
    obj = {"metadata": {"finalizers": ["x"]}}
    assert fields.encode(fields.owned(obj, {"properties": {"metadata": {"$ref": "v1.ObjectMeta"}}})) == {"f:metadata": {"f:finalizers": {'v:"x"': {}}}}


TRIES = st.recursive(st.just({".": {}}), lambda below: st.dictionaries(st.sampled_from(["f:a", "f:b", "f:c"]), below, min_size=1), max_leaves=8)


@given(TRIES, TRIES)
def test_set_algebra(a: dict[str, Any], b: dict[str, Any]) -> None:
    whole = set(fields.paths(fields.union(a, b)))
    assert whole == set(fields.paths(a)) | set(fields.paths(b))
    assert set(fields.paths(fields.intersection(a, b))) == set(fields.paths(a)) & set(fields.paths(b))
    assert set(fields.paths(fields.difference(a, b))) == set(fields.paths(a)) - set(fields.paths(b))


VALUES = st.recursive(st.sampled_from([0, 1, "x", None]), lambda below: st.dictionaries(st.sampled_from("abc"), below, max_size=3) | st.lists(below, max_size=2), max_leaves=6)


@given(st.dictionaries(st.sampled_from("abc"), VALUES, max_size=3), st.dictionaries(st.sampled_from("abc"), VALUES, max_size=3))
def test_applying_an_object_makes_its_fields_true(live: dict[str, Any], applied: dict[str, Any]) -> None:
    merged = fields.merge(live, applied, {"x-kubernetes-preserve-unknown-fields": True})
    changed, _ = fields.compare(merged, fields.merge(merged, applied, {}), {})
    assert changed == {}
