"""Structural schema at work: prune what it does not know, fill in defaults, say what is wrong.

All sync, all on plain JSON values. `prune` and `fill` change the value in place; `check` only reads. The sentences follow those of
real servers (go-openapi for custom kinds) because people search for them.
"""

from __future__ import annotations

import copy
import json
import math
from collections import Counter
from datetime import datetime
from typing import Any

import re2

from mesh.sandbox.apiserver.schema.definitions import TYPE_META, Node, child, items, keeps_unknown, list_keys, resolve
from mesh.sandbox.apiserver.status import Cause

JSON_TYPES: dict[type, str] = {dict: "object", list: "array", str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null"}
INT_RANGES = {"int32": (-(2**31), 2**31 - 1), "int64": (-(2**63), 2**63 - 1)}
ANY = (-math.inf, math.inf)


def prune(value: Any, node: Node, path: str, unknown: list[str]) -> None:
    """Drop the fields that `node` does not know; their paths are appended to `unknown`."""
    node = resolve(node)
    if isinstance(value, dict):
        keep = keeps_unknown(node)
        for key in list(value):
            below = child(node, key)
            if below is not None:
                prune(value[key], below, join(path, key), unknown)
            elif not keep:
                unknown.append(join(path, key))
                del value[key]
    elif isinstance(value, list) and "items" in node:
        element = items(node)
        for index, item in enumerate(value):
            prune(item, element, f"{path}[{index}]", unknown)


def fill(value: Any, node: Node) -> None:
    """Set the defaults of `node` in `value`. A null where a default exists and null is not allowed counts as absent."""
    node = resolve(node)
    if isinstance(value, dict):
        for key, below in node.get("properties", {}).items():
            below = resolve(below)
            if "default" in below and (key not in value or (value[key] is None and not below.get("nullable"))):
                value[key] = copy.deepcopy(below["default"])
        for key, entry in value.items():
            below = child(node, key)
            if below is not None:
                fill(entry, below)
    elif isinstance(value, list) and "items" in node:
        element = items(node)
        for entry in value:
            fill(entry, element)


def drop_nulls(value: Any, node: Node) -> None:
    """Remove null fields of built-in kinds: their servers decode null as absent."""
    node = resolve(node)
    if isinstance(value, dict):
        for key in list(value):
            below = child(node, key)
            if value[key] is None and below is not None:
                del value[key]
            elif below is not None:
                drop_nulls(value[key], below)
    elif isinstance(value, list) and "items" in node:
        element = items(node)
        for entry in value:
            drop_nulls(entry, element)


def type_error(value: Any, node: Node, path: str) -> str | None:
    """The first value whose JSON type cannot be that of the built-in kind's field, as a sentence; None when all fit."""
    node = resolve(node)
    if value is None:
        return None
    if not has_type(value, node):
        return f"cannot unmarshal {_found(value)} into field {path} of type {node.get('format') or node.get('type') or 'int-or-string'}"
    # Of built-in kinds alone: custom ones may say 1.0 for 1, and a real server knows no such formats of theirs.
    if isinstance(value, float) and node.get("type") == "integer":
        return f"cannot unmarshal number {value} into field {path} of type {node.get('format', 'int')}"
    if isinstance(value, int) and not isinstance(value, bool) and not (limits := INT_RANGES.get(node.get("format", ""), ANY))[0] <= value <= limits[1]:
        return f"cannot unmarshal number {value} into field {path} of type {node['format']}"
    if isinstance(value, dict):
        for key, entry in value.items():
            below = child(node, key)
            if below is not None:
                wrong = type_error(entry, below, join(path, key))
                if wrong:
                    return wrong
    elif isinstance(value, list) and "items" in node:
        element = items(node)
        for index, entry in enumerate(value):
            wrong = type_error(entry, element, f"{path}[{index}]")
            if wrong:
                return wrong
    return None


def has_type(value: Any, node: Node) -> bool:
    """Whether the JSON type of `value` is the one that `node` asks for."""
    if node.get("x-kubernetes-int-or-string"):
        return (isinstance(value, (int, str)) and not isinstance(value, bool)) or (isinstance(value, float) and node.get("format") == "quantity")
    wanted = node.get("type")
    if not wanted:
        return True
    if wanted == "integer":
        return (isinstance(value, int) and not isinstance(value, bool)) or (isinstance(value, float) and value.is_integer())
    if wanted == "number":
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return bool(JSON_TYPES[type(value)] == wanted)


def check(value: Any, node: Node, path: str) -> list[Cause]:
    """Everything in `value` that `node` forbids."""
    node = resolve(node)
    if value is None and node.get("nullable"):
        return []
    if not has_type(value, node):
        wanted = node.get("type") or "integer,string"
        found = JSON_TYPES[type(value)]
        return [Cause("FieldValueTypeInvalid", path, f'Invalid value: "{found}": {path} in body must be of type {wanted}: "{found}"')]
    causes: list[Cause] = []
    if "enum" in node and value not in node["enum"]:
        supported = ", ".join(json.dumps(option) for option in node["enum"])
        causes.append(Cause("FieldValueNotSupported", path, f"Unsupported value: {json.dumps(value)}: supported values: {supported}"))
    if isinstance(value, str):
        causes += _check_string(value, node, path)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        causes += _check_number(value, node, path)
    elif isinstance(value, dict):
        causes += _check_object(value, node, path)
    elif isinstance(value, list):
        causes += _check_list(value, node, path)
    return causes + _check_junctors(value, node, path)


def _check_string(value: str, node: Node, path: str) -> list[Cause]:
    """The first thing wrong, as real servers report strings."""
    if len(value) > node.get("maxLength", math.inf):
        return [Cause("FieldValueTooLong", path, f"Too long: may not be more than {node['maxLength']} bytes")]
    if len(value) < node.get("minLength", 0):
        return [_invalid(path, value, f"{path} in body should be at least {node['minLength']} chars long")]
    pattern = node.get("pattern")
    if pattern and not re2.search(pattern, value):
        return [_invalid(path, value, f"{path} in body should match '{pattern}'")]
    form = node.get("format")
    if form in ("date-time", "date") and not _is_time(value, form):
        return [_invalid(path, value, f'{path} in body must be of type {form}: "{value}"')]
    return []


def _is_time(value: str, form: str) -> bool:
    try:
        parsed = datetime.fromisoformat(value)
    except ValueError:
        return False
    return len(value) == 10 if form == "date" else parsed.tzinfo is not None


def _check_number(value: float, node: Node, path: str) -> list[Cause]:
    causes = []
    if "maximum" in node and (value >= node["maximum"] if node.get("exclusiveMaximum") else value > node["maximum"]):
        causes.append(_invalid(path, value, f"{path} in body should be less than {'' if node.get('exclusiveMaximum') else 'or equal to '}{node['maximum']}"))
    if "minimum" in node and (value <= node["minimum"] if node.get("exclusiveMinimum") else value < node["minimum"]):
        causes.append(_invalid(path, value, f"{path} in body should be greater than {'' if node.get('exclusiveMinimum') else 'or equal to '}{node['minimum']}"))
    if "multipleOf" in node and value % node["multipleOf"]:
        causes.append(_invalid(path, value, f"{path} in body should be a multiple of {node['multipleOf']}"))
    return causes


def _check_object(value: dict[str, Any], node: Node, path: str) -> list[Cause]:
    causes = []
    for name in node.get("required", ()):
        if name not in value:
            causes.append(Cause("FieldValueRequired", join(path, name), "Required value"))
    if len(value) > node.get("maxProperties", math.inf):
        causes.append(Cause("FieldValueTooMany", path, f"Too many: {len(value)}: must have at most {node['maxProperties']} items"))
    if len(value) < node.get("minProperties", 0):
        causes.append(_invalid(path, len(value), f"{path} in body should have at least {node['minProperties']} properties"))
    for key, entry in sorted(value.items()):
        below = child(node, key)
        if below is not None:
            causes += check(entry, below, join(path, key))
    if node.get("x-kubernetes-embedded-resource"):
        for name in ("apiVersion", "kind"):
            if not value.get(name):
                causes.append(Cause("FieldValueRequired", join(path, name), "Required value: must not be empty"))
        if "metadata" in value:
            causes += check(value["metadata"], TYPE_META["metadata"], join(path, "metadata"))
    return causes


def _check_list(value: list[Any], node: Node, path: str) -> list[Cause]:
    causes = []
    if len(value) > node.get("maxItems", math.inf):
        causes.append(Cause("FieldValueTooMany", path, f"Too many: {len(value)}: must have at most {node['maxItems']} items"))
    if len(value) < node.get("minItems", 0):
        causes.append(_invalid(path, len(value), f"{path} in body should have at least {node['minItems']} items"))
    element = items(node)
    for index, entry in enumerate(value):
        causes += check(entry, element, f"{path}[{index}]")
    keys = list_keys(node)
    seen: Counter[str] = Counter()
    if keys is not None or node.get("x-kubernetes-list-type") == "set":
        for index, entry in enumerate(value):
            identity: Any = entry
            if keys is not None and isinstance(entry, dict):
                identity = {key: entry.get(key, child(element, key) and (child(element, key) or {}).get("default")) for key in keys}
            shown = json.dumps(identity, sort_keys=True)
            seen[shown] += 1
            if seen[shown] == 2:  # said once of each
                causes.append(Cause("FieldValueDuplicate", f"{path}[{index}]", f"Duplicate value: {shown}"))
    return causes


def _check_junctors(value: Any, node: Node, path: str) -> list[Cause]:
    causes: list[Cause] = []
    for option in node.get("allOf", ()):
        causes += check(value, option, path)
    if node.get("anyOf") and not any(not check(value, option, path) for option in node["anyOf"]):
        causes.append(_invalid(path, value, f"{path} in body must validate at least one schema (anyOf)"))
    if node.get("oneOf"):
        fitting = sum(not check(value, option, path) for option in node["oneOf"])
        if fitting != 1:
            found = "Found none valid" if not fitting else f"Found {fitting} valid alternatives"
            causes.append(_invalid(path, value, f"{path} in body must validate one and only one schema (oneOf). {found}"))
    if node.get("not") and not check(value, node["not"], path):
        causes.append(_invalid(path, value, f"{path} in body must not validate the schema (not)"))
    return causes


def join(path: str, key: str) -> str:
    """`spec` + `ports` → `spec.ports`; a key with dots is bracketed as servers print it."""
    if "." in key or "/" in key:
        return f"{path}[{key}]"
    return f"{path}.{key}" if path else key


def _invalid(path: str, value: Any, message: str) -> Cause:
    shown = JSON_TYPES[type(value)] if isinstance(value, (dict, list)) else value
    return Cause("FieldValueInvalid", path, f"Invalid value: {json.dumps(shown)}: {message}")


def _found(value: Any) -> str:
    return {"object": "object", "array": "array", "boolean": "bool", "integer": "number"}.get(JSON_TYPES[type(value)], JSON_TYPES[type(value)])
