import pytest

from injector.jsonpatch import BadPatch, apply, diff


def test_named_list_items_are_changed_in_place() -> None:
    old = {"c": [{"name": "a", "x": 1}, {"name": "b"}]}
    new = {"c": [{"name": "a", "x": 2}, {"name": "b"}, {"name": "p"}]}
    assert diff(old, new) == [{"op": "add", "path": "/c/2", "value": {"name": "p"}}, {"op": "replace", "path": "/c/0/x", "value": 2}]


def test_keys_are_escaped() -> None:
    assert diff({}, {"a/b~c": 1}) == [{"op": "add", "path": "/a~1b~0c", "value": 1}]
    assert apply({"a/b~c": 1}, [{"op": "remove", "path": "/a~1b~0c"}]) == {}


def test_true_is_not_one() -> None:
    assert diff({"a": 1}, {"a": True}) == [{"op": "replace", "path": "/a", "value": True}]
    assert diff({"a": 1}, {"a": 1.0}) == []


def test_whole_document_and_end_of_list() -> None:
    assert apply(1, [{"op": "replace", "path": "", "value": [1]}, {"op": "add", "path": "/-", "value": 2}]) == [1, 2]


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "remove", "path": "/x"},
        {"op": "replace", "path": "/l/2", "value": 0},
        {"op": "add", "path": "/l/3", "value": 0},
        {"op": "add", "path": "/l/x", "value": 0},
        {"op": "test", "path": "/a", "value": 2},
        {"op": "copy", "path": "/a", "from": "/l"},
        {"op": "remove", "path": ""},
        {"op": "add", "path": "/a/b", "value": 0},
    ],
)
def test_operation_that_does_not_fit_is_named(operation: dict[str, object]) -> None:
    with pytest.raises(BadPatch, match=r"operation 1 \("):
        apply({"a": 1, "l": [1, 2]}, [{"op": "test", "path": "/a", "value": 1}, operation])
