"""JSONPatch (RFC 6902): the difference of two documents, and its application."""

import copy
from typing import Any

Operation = dict[str, Any]


class BadPatch(ValueError):
    """An operation that does not fit the document; the message names the operation's index and path."""


def diff(old: Any, new: Any, path: str = "") -> list[Operation]:
    """Operations that turn `old` into `new`; [] when they are equal."""
    if _same(old, new):
        return []
    if isinstance(old, dict) and isinstance(new, dict):
        return _diff_mapping(old, new, path)
    if isinstance(old, list) and isinstance(new, list):
        return _diff_list(old, new, path)
    return [{"op": "replace", "path": path, "value": new}]


def apply(document: Any, operations: list[Operation]) -> Any:
    """A patched copy. Supports add, remove, replace and test, the operations that `diff` and its tests need.

    Raises: BadPatch: an operation that does not fit. Source: RFC 6902 section 4, RFC 6901 section 4.
    """
    result = copy.deepcopy(document)
    for index, operation in enumerate(operations):
        where = f"operation {index} ({operation.get('op')} {operation.get('path')!r})"
        tokens = [_unescape(token) for token in operation["path"].split("/")[1:]]
        if not tokens and operation["op"] in ("add", "replace"):
            result = copy.deepcopy(operation["value"])
            continue
        if not tokens:
            raise BadPatch(f"{where}: only add and replace may name the whole document")
        parent = result
        for token in tokens[:-1]:
            parent = parent[_key(parent, token, where)]
        _apply_one(parent, tokens[-1], operation, where)
    return result


def _apply_one(parent: Any, token: str, operation: Operation, where: str) -> None:
    match operation["op"]:
        case "add" if isinstance(parent, list):
            at = len(parent) if token == "-" else _index(token, len(parent), where)
            parent.insert(at, copy.deepcopy(operation["value"]))
        case "add" if isinstance(parent, dict):
            parent[token] = copy.deepcopy(operation["value"])
        case "replace":
            parent[_key(parent, token, where)] = copy.deepcopy(operation["value"])
        case "remove":
            del parent[_key(parent, token, where)]
        case "test":
            if not _same(parent[_key(parent, token, where)], operation["value"]):
                raise BadPatch(f"{where}: the value differs")
        case other:
            raise BadPatch(f"{where}: cannot {other!r} here")


def _key(parent: Any, token: str, where: str) -> Any:
    if isinstance(parent, list):
        return _index(token, len(parent) - 1, where)
    if not isinstance(parent, dict) or token not in parent:
        raise BadPatch(f"{where}: no member {token!r}")
    return token


def _index(token: str, last: int, where: str) -> int:
    if not (token.isascii() and token.isdigit()) or int(token) > last:
        raise BadPatch(f"{where}: no element {token!r}")
    return int(token)


def _diff_mapping(old: dict[str, Any], new: dict[str, Any], path: str) -> list[Operation]:
    operations: list[Operation] = []
    for key in old:
        if key not in new:
            operations.append({"op": "remove", "path": f"{path}/{_escape(key)}"})
    for key, value in new.items():
        inner = f"{path}/{_escape(key)}"
        operations += diff(old[key], value, inner) if key in old else [{"op": "add", "path": inner, "value": value}]
    return operations


def _diff_list(old: list[Any], new: list[Any], path: str) -> list[Operation]:
    """Common head and tail stay; what is between is replaced in place where both have it, then removed or added."""
    head = 0
    while head < min(len(old), len(new)) and _alike(old[head], new[head]):
        head += 1
    tail = 0
    while tail < min(len(old), len(new)) - head and _alike(old[-1 - tail], new[-1 - tail]):
        tail += 1
    operations: list[Operation] = []
    gone, come = old[head : len(old) - tail], new[head : len(new) - tail]
    operations += [{"op": "remove", "path": f"{path}/{head + at}"} for at in reversed(range(len(gone)))]
    operations += [{"op": "add", "path": f"{path}/{head + at}", "value": item} for at, item in enumerate(come)]
    kept = [*enumerate(zip(old[:head], new[:head]))]
    kept += [(len(new) - tail + at, pair) for at, pair in enumerate(zip(old[len(old) - tail :], new[len(new) - tail :]))]
    for at, (before, after) in kept:
        operations += diff(before, after, f"{path}/{at}")
    return operations


def _alike(one: Any, other: Any) -> bool:
    """Equal, or the same named object (container, volume, variable) in two states."""
    if isinstance(one, dict) and isinstance(other, dict) and "name" in one:
        return bool(one["name"] == other.get("name"))
    return _same(one, other)


def _same(one: Any, other: Any) -> bool:
    """JSON equality: unlike Python's, true is not 1."""
    if type(one) is not type(other):
        return {type(one), type(other)} == {int, float} and bool(one == other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)


def _escape(token: str) -> str:
    return token.replace("~", "~0").replace("/", "~1")


def _unescape(token: str) -> str:
    return token.replace("~1", "/").replace("~0", "~")
