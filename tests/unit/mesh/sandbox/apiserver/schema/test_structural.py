from __future__ import annotations

from typing import Any

import pytest

from mesh.sandbox.apiserver.schema.structural import check, drop_nulls, fill, join, prune, type_error

STRING, INT = {"type": "string"}, {"type": "integer"}


def objects(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


def causes(value: Any, node: dict[str, Any]) -> list[tuple[str, str]]:
    return [(c.reason.removeprefix("FieldValue"), c.field) for c in check(value, node, "v")]


def test_prune_drops_only_what_has_no_schema() -> None:
    node = objects(a=STRING, m={"type": "object", "additionalProperties": objects(x=INT)}, l={"type": "array", "items": objects(y=INT)}, f={"x-kubernetes-preserve-unknown-fields": True, **objects(k=objects(z=INT))})
    value = {"a": "1", "b": 2, "m": {"any": {"x": 1, "q": 2}}, "l": [{"y": 1, "w": 1}], "f": {"free": {"deep": 1}, "k": {"z": 1, "o": 1}}}
    unknown: list[str] = []
    prune(value, node, "", unknown)
    assert value == {"a": "1", "m": {"any": {"x": 1}}, "l": [{"y": 1}], "f": {"free": {"deep": 1}, "k": {"z": 1}}}
    assert unknown == ["b", "m.any.q", "l[0].w", "f.k.o"]


def test_fill_sets_defaults_where_the_parent_is() -> None:
    node = objects(a={**STRING, "default": "x"}, o=objects(b={**INT, "default": 1}), l={"type": "array", "items": objects(c={**INT, "default": 2})}, n={**STRING, "nullable": True, "default": "y"})
    value: dict[str, Any] = {"a": None, "l": [{}], "n": None}
    fill(value, node)
    assert value == {"a": "x", "l": [{"c": 2}], "n": None}
    first, second = {"o": {}}, {"o": {}}
    fill(first, node)
    fill(second, node)
    assert first["o"] == {"b": 1} and first["o"] is not second["o"]


def test_drop_nulls_keeps_those_of_unknown_places() -> None:
    value = {"metadata": {"labels": None}, "spec": {"nodeName": None, "containers": [{"args": None}]}}
    drop_nulls(value, {"$ref": "core.v1.Pod"})
    assert value == {"metadata": {}, "spec": {"containers": [{}]}}


@pytest.mark.parametrize(
    ("value", "node", "expected"),
    [
        (1, STRING, [("TypeInvalid", "v")]), (None, STRING, [("TypeInvalid", "v")]), (None, {**STRING, "nullable": True}, []), (True, INT, [("TypeInvalid", "v")]), (2.0, INT, []), (2.5, INT, [("TypeInvalid", "v")]),
        ("x", {"x-kubernetes-int-or-string": True}, []), (True, {"x-kubernetes-int-or-string": True}, [("TypeInvalid", "v")]),
        ("c", {**STRING, "enum": ["a", "b"]}, [("NotSupported", "v")]), ("abc", {**STRING, "maxLength": 2}, [("TooLong", "v")]), ("", {**STRING, "minLength": 1}, [("Invalid", "v")]),
        ("A", {**STRING, "pattern": "^[a-z]+$"}, [("Invalid", "v")]), ("yesterday", {**STRING, "format": "date-time"}, [("Invalid", "v")]), ("2030-01-01T00:00:00Z", {**STRING, "format": "date-time"}, []),
        (5, {**INT, "maximum": 5, "exclusiveMaximum": True}, [("Invalid", "v")]), (5, {**INT, "maximum": 5}, []), (0, {**INT, "minimum": 1}, [("Invalid", "v")]), (2**31, {**INT, "format": "int32"}, []),
        ({}, {**objects(a=STRING), "required": ["a"]}, [("Required", "v.a")]), ([1, 1], {"type": "array", "x-kubernetes-list-type": "set", "items": INT}, [("Duplicate", "v[1]")]),
        ([1, 2, 3], {"type": "array", "maxItems": 2, "items": INT}, [("TooMany", "v")]), ([], {"type": "array", "minItems": 1, "items": INT}, [("Invalid", "v")]), ({"a": 1, "b": 1}, {"type": "object", "maxProperties": 1}, [("TooMany", "v")]),
        ("x", {"anyOf": [INT, {**STRING, "maxLength": 0}]}, [("Invalid", "v")]), ("x", {"oneOf": [STRING, {"minLength": 1}]}, [("Invalid", "v")]), ("x", {"not": STRING}, [("Invalid", "v")]), ("x", {"allOf": [INT]}, [("TypeInvalid", "v")]),
        (6, {**INT, "multipleOf": 4}, [("Invalid", "v")]), ({"kind": "K"}, {"type": "object", "x-kubernetes-embedded-resource": True}, [("Required", "v.apiVersion")]),
    ],
)  # fmt: skip
def test_check(value: Any, node: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    assert causes(value, node) == expected


def test_keyed_lists_compare_their_keys_with_defaults() -> None:
    ports = {"$ref": "core.v1.ServiceSpec"}
    assert [c.field for c in check({"ports": [{"port": 53}, {"port": 53, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}]}, ports, "spec")] == ["spec.ports[1]"]


def test_type_error_names_the_first_wrong_field() -> None:
    assert type_error({"replicas": "1"}, {"$ref": "apps.v1.DeploymentSpec"}, "spec") == "cannot unmarshal string into field spec.replicas of type int32"
    assert type_error({"replicas": 2**31}, {"$ref": "apps.v1.DeploymentSpec"}, "spec") == "cannot unmarshal number 2147483648 into field spec.replicas of type int32"
    assert type_error({"replicas": 2**31 - 1}, {"$ref": "apps.v1.DeploymentSpec"}, "spec") is None
    assert type_error({"template": {"spec": {"containers": {}}}}, {"$ref": "apps.v1.DeploymentSpec"}, "spec") == "cannot unmarshal object into field spec.template.spec.containers of type array"
    assert type_error({"replicas": 1, "selector": None}, {"$ref": "apps.v1.DeploymentSpec"}, "spec") is None


def test_join() -> None:
    assert (join("", "a"), join("a", "b"), join("a", "x.y/z")) == ("a", "a.b", "a[x.y/z]")
