"""Bodies → objects: media types, JSON and YAML, duplicate keys, unknown fields. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from mesh.sandbox.apiserver import protobuf, status
from mesh.sandbox.apiserver.registry import Resource
from mesh.sandbox.apiserver.schema import structural
from mesh.sandbox.apiserver.schema.definitions import TYPE_META, Node, keeps_unknown, resolve

JSON_TYPE, YAML_TYPE = "application/json", "application/yaml"
MAX_DEPTH = 200
_ALIASED_SIZE = 1 << 20
"""Nodes and characters that aliases may add to a document."""


class FieldValidation(Enum):
    """What to do about unknown and duplicate fields (`fieldValidation` query parameter)."""

    IGNORE = "Ignore"
    WARN = "Warn"
    STRICT = "Strict"


@dataclass(slots=True)
class Body:
    """A decoded body. `duplicates` are the paths of keys given twice (the last one counts)."""

    value: Any
    duplicates: list[str] = field(default_factory=list)


def field_validation(text: str) -> FieldValidation:
    """The query parameter; absent means Warn. Source: API concepts, "Field validation"."""
    try:
        return FieldValidation(text or "Warn")
    except ValueError as exc:
        raise status.invalid("meta.k8s.io", "CreateOptions", "", [status.Cause("FieldValueNotSupported", "fieldValidation",
                             f'Unsupported value: "{text}": supported values: "Ignore", "Strict", "Warn"')]) from exc  # fmt: skip


def media_type(header: str) -> str:
    """`application/json; charset=utf-8` → `application/json`."""
    return header.partition(";")[0].strip().lower()


def decode(data: bytes, content_type: str, definition: str = "") -> Body:
    """A JSON or YAML object, or a protobuf one of a built-in `definition`. Raises: ApiError 400 (names the byte or line) or 415."""
    kind = media_type(content_type) or JSON_TYPE
    if kind == JSON_TYPE:
        return decode_json(data)
    if kind == YAML_TYPE:
        return decode_yaml(data)
    if kind == protobuf.MEDIA_TYPE and definition:
        try:
            return Body(protobuf.decode(data, definition))
        except protobuf.BadProtobuf as exc:
            raise status.bad_request(f"the object provided is unrecognized (must be of type {definition}): {exc}") from exc
    raise status.unsupported_media_type(f"{JSON_TYPE}, {YAML_TYPE}" + (f", {protobuf.MEDIA_TYPE}" if definition else ""))


def decode_json(data: bytes) -> Body:
    """Raises: ApiError 400."""
    twice: dict[int, list[str]] = {}

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(found)
        if len(made) != len(found):
            names = [name for name, _ in found]
            twice[id(made)] = sorted({name for name in names if names.count(name) > 1})
        return made

    try:
        text = data.decode("utf-8")
        value = json.loads(text, object_pairs_hook=pairs, parse_constant=_no_constant)
        text.encode("utf-8") if "\\u" not in text else json.dumps(value, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError) as exc:
        raise status.bad_request(f"the object provided is unrecognized (must be of type json): {exc or 'nested too deeply'}") from exc
    duplicates: list[str] = []
    _walk(value, "", twice, duplicates, 0)
    return Body(value, duplicates)


def _no_constant(text: str) -> Any:
    raise ValueError(f"invalid character in number: {text}")


def _walk(value: Any, path: str, twice: dict[int, list[str]], found: list[str], depth: int) -> None:
    if depth > MAX_DEPTH:
        raise status.bad_request(f"the object provided is nested more than {MAX_DEPTH} levels deep")
    if isinstance(value, dict):
        found += [structural.join(path, name) for name in twice.get(id(value), ())]
        for key, entry in value.items():
            if isinstance(entry, (dict, list)):
                _walk(entry, structural.join(path, key), twice, found, depth + 1)
    elif isinstance(value, list):
        for index, entry in enumerate(value):
            if isinstance(entry, (dict, list)):
                _walk(entry, f"{path}[{index}]", twice, found, depth + 1)


def decode_yaml(data: bytes) -> Body:
    """YAML, of which JSON is a part. Raises: ApiError 400 with the line."""
    if data.lstrip()[:1] == b"{":
        return decode_json(data)
    import yaml  # 40 ms that a server which only sees JSON need not spend

    try:
        _check_nesting(yaml.parse(data, getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
        value = yaml.load(data, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        _check_aliases(value, len(data) + _ALIASED_SIZE)
        # Through JSON: YAML's dates and non-string keys have no JSON form.
        return decode_json(json.dumps(value, default=str).encode())
    except (yaml.YAMLError, TypeError) as exc:
        raise status.bad_request(f"error decoding YAML: {exc}") from exc


def _check_nesting(events: Iterable[Any]) -> None:
    """Before anything recurses into the document. Raises: ApiError 400."""
    depth = 0
    for event in events:
        name = type(event).__name__
        depth += name.endswith("StartEvent") - name.endswith("EndEvent")
        if depth > MAX_DEPTH:
            raise status.bad_request(f"error decoding YAML: the document is nested more than {MAX_DEPTH} levels deep")


def _check_aliases(value: Any, limit: int) -> None:
    """What aliases share is one object here and many in JSON. Raises: ApiError 400 when that is a loop, or much more than was sent."""
    sizes: dict[int, int] = {}

    def size(item: Any) -> int:
        if not isinstance(item, (dict, list)):
            return len(item) if isinstance(item, (str, bytes)) else 1
        if id(item) not in sizes:
            sizes[id(item)] = limit + 1  # met again before it is known: it holds itself
            parts = [part for pair in item.items() for part in pair] if isinstance(item, dict) else item
            sizes[id(item)] = 1 + sum(map(size, parts))
        return sizes[id(item)]

    if size(value) > limit:
        raise status.bad_request("error decoding YAML: the document contains excessive aliasing")


def check_kind(value: Any, resource: Resource) -> dict[str, Any]:
    """The object, if it is one of `resource`. Raises: ApiError 400."""
    if not isinstance(value, dict):
        raise status.bad_request(f"the body must be a {resource.kind} object, not a JSON {structural.JSON_TYPES[type(value)]}")
    kind, api_version = value.get("kind", resource.kind), value.get("apiVersion", resource.api_version)
    if kind != resource.kind or api_version != resource.api_version:
        raise status.bad_request(
            f"the API version or kind in the data ({api_version}, {kind}) does not match the expected API version ({resource.api_version}, {resource.kind})"
        )
    value["kind"], value["apiVersion"] = kind, api_version
    if not isinstance(value.setdefault("metadata", {}), dict):
        raise status.bad_request(f"{resource.kind}: metadata must be an object")
    return value


def conform(obj: dict[str, Any], resource: Resource, level: FieldValidation, duplicates: list[str], warnings: list[str]) -> None:
    """Make `obj` fit the schema's fields: unknown ones go, with a warning or an error as `level` says.

    Raises: ApiError 400: strict decoding failed; a value of a built-in kind has the wrong JSON type.
    """
    unknown: list[str] = []
    node = full_schema(resource)
    structural.drop_nulls(obj["metadata"], TYPE_META["metadata"])
    if not resource.custom:
        structural.drop_nulls(obj, node)
    wrong = structural.type_error(obj["metadata"], TYPE_META["metadata"], "metadata") or (None if resource.custom else structural.type_error(obj, node, ""))
    if wrong:
        raise status.bad_request(f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}: json: {wrong}')
    structural.prune(obj, node, "", unknown)
    for name in ("labels", "annotations", "finalizers", "ownerReferences"):
        if name in obj["metadata"] and not obj["metadata"][name]:
            del obj["metadata"][name]  # as Go's omitempty: an empty map and an absent one are the same object
    problems = [f'duplicate field "{path}"' for path in duplicates] + [f'unknown field "{path}"' for path in unknown]
    if problems and level is FieldValidation.STRICT:
        where = f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}: '
        raise status.bad_request(f"{where}strict decoding error: {', '.join(problems)}")
    if level is FieldValidation.WARN:
        warnings += problems


def full_schema(resource: Resource) -> Node:
    """The schema with the fields that every object has."""
    node = resolve(resource.schema)
    if keeps_unknown(node) and "properties" not in node:
        return {**node, "properties": TYPE_META}
    return {**node, "properties": {**node.get("properties", {}), **TYPE_META}}
