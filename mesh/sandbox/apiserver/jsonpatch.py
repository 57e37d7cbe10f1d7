"""JSON Patch (RFC 6902) and JSON Merge Patch (RFC 7396). Pure; the document given is not changed."""

from __future__ import annotations

import copy
from typing import Any

MAX_OPERATIONS = 10_000  # kube-apiserver's limit


class PatchError(ValueError):
    """The patch does not fit the document, or is no patch; the text names the operation."""


def apply_json_patch(document: Any, operations: Any) -> Any:
    """Raises: PatchError."""
    if not isinstance(operations, list):
        raise PatchError("a JSON patch is a list of operations")
    if len(operations) > MAX_OPERATIONS:
        raise PatchError(f"the allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {len(operations)}")
    document = copy.deepcopy(document)
    for index, operation in enumerate(operations):
        try:
            document = _apply(document, operation)
        except (KeyError, TypeError, AttributeError) as exc:
            raise PatchError(f"operation {index}: malformed: {exc}") from exc
        except PatchError as exc:
            raise PatchError(f"operation {index} ({operation.get('op')} {operation.get('path')}): {exc}") from exc
    return document


def _apply(document: Any, operation: dict[str, Any]) -> Any:
    path = operation["path"]
    match operation["op"]:
        case "add":
            return _add(document, path, copy.deepcopy(operation["value"]))
        case "remove":
            return _remove(document, path)[0]
        case "replace":
            value = copy.deepcopy(operation["value"])
            if path == "":
                return value
            _get(document, path)
            return _add(_remove(document, path)[0], path, value)
        case "move":
            if path.startswith(operation["from"] + "/"):
                raise PatchError("cannot move a value into itself")
            document, value = _remove(document, operation["from"])
            return _add(document, path, value)
        case "copy":
            return _add(document, path, copy.deepcopy(_get(document, operation["from"])))
        case "test":
            if not _equal(_get(document, path), operation["value"]):
                raise PatchError("testing value failed")
            return document
    raise PatchError(f"unknown operation {operation['op']!r}")


def _equal(a: Any, b: Any) -> bool:
    # RFC 6902 4.6: numbers are equal by value, but True is not 1.
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_equal(a[k], b[k]) for k in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(_equal(x, y) for x, y in zip(a, b))
    return bool(a == b)


def _tokens(pointer: str) -> list[str]:
    if pointer == "":
        return []
    if not pointer.startswith("/"):
        raise PatchError(f"path {pointer!r} does not start with /")
    return [token.replace("~1", "/").replace("~0", "~") for token in pointer[1:].split("/")]  # RFC 6901 4


def _index(token: str, length: int, insert: bool) -> int:
    if insert and token == "-":
        return length
    if not token.isascii() or not token.isdigit() or (len(token) > 1 and token[0] == "0"):
        raise PatchError(f"{token!r} is not an index of a list")
    if int(token) > length - (not insert):
        raise PatchError(f"index {token} is out of bounds (length {length})")
    return int(token)


def _step(value: Any, token: str) -> Any:
    if isinstance(value, dict):
        if token not in value:
            raise PatchError(f"{token!r} does not exist")
        return value[token]
    if isinstance(value, list):
        return value[_index(token, len(value), False)]
    raise PatchError(f"{token!r} is below a value that is neither object nor list")


def _get(document: Any, pointer: str) -> Any:
    for token in _tokens(pointer):
        document = _step(document, token)
    return document


def _add(document: Any, pointer: str, value: Any) -> Any:
    tokens = _tokens(pointer)
    if not tokens:
        return value
    parent = document
    for token in tokens[:-1]:
        parent = _step(parent, token)
    if isinstance(parent, dict):
        parent[tokens[-1]] = value
    elif isinstance(parent, list):
        parent.insert(_index(tokens[-1], len(parent), True), value)
    else:
        raise PatchError(f"{tokens[-1]!r} is below a value that is neither object nor list")
    return document


def _remove(document: Any, pointer: str) -> tuple[Any, Any]:
    tokens = _tokens(pointer)
    if not tokens:
        return None, document
    parent = document
    for token in tokens[:-1]:
        parent = _step(parent, token)
    _step(parent, tokens[-1])
    if isinstance(parent, dict):
        return document, parent.pop(tokens[-1])
    return document, parent.pop(int(tokens[-1]))


def apply_merge_patch(document: Any, patch: Any) -> Any:
    """RFC 7396 2."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result = dict(document) if isinstance(document, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = apply_merge_patch(result.get(key), value)
    return result
