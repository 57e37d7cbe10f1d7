from __future__ import annotations

from typing import Any

import pytest

from mesh.sandbox.apiserver.jsonpatch import PatchError, apply_json_patch, apply_merge_patch

# Cases after RFC 6902 appendix A.
CASES: list[tuple[Any, list[dict[str, Any]], Any]] = [
    ({"foo": "bar"}, [{"op": "add", "path": "/baz", "value": "qux"}], {"foo": "bar", "baz": "qux"}),
    ({"foo": ["bar", "baz"]}, [{"op": "add", "path": "/foo/1", "value": "qux"}], {"foo": ["bar", "qux", "baz"]}),
    ({"foo": [1]}, [{"op": "add", "path": "/foo/-", "value": 2}], {"foo": [1, 2]}),
    ({"foo": [1, 2]}, [{"op": "remove", "path": "/foo/0"}], {"foo": [2]}),
    ({"a": 1}, [{"op": "replace", "path": "/a", "value": {"b": None}}], {"a": {"b": None}}),
    ({"foo": {"bar": "baz"}, "qux": {}}, [{"op": "move", "from": "/foo/bar", "path": "/qux/thud"}], {"foo": {}, "qux": {"thud": "baz"}}),
    ({"a": {"b": 1}}, [{"op": "copy", "from": "/a", "path": "/c"}, {"op": "replace", "path": "/c/b", "value": 2}], {"a": {"b": 1}, "c": {"b": 2}}),
    ({"a/b": 1, "m~n": 2}, [{"op": "test", "path": "/a~1b", "value": 1}, {"op": "remove", "path": "/m~0n"}], {"a/b": 1}),
    ({"a": 1}, [{"op": "replace", "path": "", "value": []}], []),
    ({"a": [{"x": 1.0}]}, [{"op": "test", "path": "/a", "value": [{"x": 1}]}], {"a": [{"x": 1.0}]}),
]
BAD: list[tuple[Any, list[Any], str]] = [
    ({"a": 1}, [{"op": "test", "path": "/a", "value": "1"}], "testing value failed"),
    ({"a": True}, [{"op": "test", "path": "/a", "value": 1}], "testing value failed"),
    ({}, [{"op": "replace", "path": "/a", "value": 1}], "does not exist"),
    ({}, [{"op": "add", "path": "/a/b", "value": 1}], "does not exist"),
    ({"a": [1]}, [{"op": "add", "path": "/a/3", "value": 1}], "out of bounds"),
    ({"a": [1]}, [{"op": "remove", "path": "/a/01"}], "not an index"),
    ({"a": 1}, [{"op": "add", "path": "b", "value": 1}], "does not start with /"),
    ({"a": 1}, [{"op": "frob", "path": "/a"}], "unknown operation"),
    ({"a": {}}, [{"op": "move", "from": "/a", "path": "/a/b"}], "into itself"),
    ({"a": 1}, [{"path": "/a"}], "malformed"),
    ({"a": 1}, [7], "malformed"),
]


@pytest.mark.parametrize(("document", "patch", "result"), CASES)
def test_operations(document: Any, patch: list[Any], result: Any) -> None:
    before = repr(document)
    assert apply_json_patch(document, patch) == result
    assert repr(document) == before


@pytest.mark.parametrize(("document", "patch", "why"), BAD)
def test_failures_name_the_operation(document: Any, patch: list[Any], why: str) -> None:
    with pytest.raises(PatchError, match=f"operation 0.*{why}"):
        apply_json_patch(document, patch)


def test_patch_must_be_a_list() -> None:
    with pytest.raises(PatchError):
        apply_json_patch({}, {"op": "add"})


# RFC 7396 appendix A.
@pytest.mark.parametrize(
    ("document", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}), ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}), ({"a": "b"}, {"a": None}, {}), ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}), ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}), ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({"a": "foo"}, "bar", "bar"), ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}), ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ],
)  # fmt: skip
def test_merge_patch(document: Any, patch: Any, result: Any) -> None:
    assert apply_merge_patch(document, patch) == result
