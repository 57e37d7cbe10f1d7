"""Strategic merge patch: a merge patch that knows which lists are keyed. Pure.

Source: "Update API Objects in Place Using kubectl patch" and the design note "Strategic Merge Patch" of Kubernetes: directives
`$patch: replace|delete|merge`, `$deleteFromPrimitiveList/f`, `$setElementOrder/f`, `$retainKeys`. Strategies and merge keys come from the
schema (`x-kubernetes-patch-strategy`, `x-kubernetes-patch-merge-key`).
"""

from __future__ import annotations

import copy
from typing import Any

from mesh.sandbox.apiserver.jsonpatch import PatchError
from mesh.sandbox.apiserver.schema.definitions import ANY, Node, child, items

DELETE_PRIMITIVES, ORDER = "$deleteFromPrimitiveList/", "$setElementOrder/"
DIRECTIVES = ("$patch", "$retainKeys")


def apply_strategic(document: dict[str, Any], patch: Any, node: Node) -> dict[str, Any]:
    """The patched object; `document` is not changed. Raises: PatchError."""
    if not isinstance(patch, dict):
        raise PatchError("a strategic merge patch is a JSON object")
    return _merge(copy.deepcopy(document), patch, node, "")


def _merge(target: dict[str, Any], patch: dict[str, Any], node: Node, path: str) -> dict[str, Any]:
    match patch.get("$patch", "merge"):
        case "replace":
            return {k: copy.deepcopy(v) for k, v in patch.items() if k not in DIRECTIVES}
        case "delete":
            return {}
        case "merge":
            pass
        case other:
            raise PatchError(f"{path or 'patch'}: unknown $patch directive {other!r}")
    if "$retainKeys" in patch:
        kept = patch["$retainKeys"]
        target = {k: v for k, v in target.items() if k in kept}
    for key, value in patch.items():
        if key.startswith(DELETE_PRIMITIVES):
            name = key.removeprefix(DELETE_PRIMITIVES)
            if isinstance(target.get(name), list):
                target[name] = [v for v in target[name] if v not in value]
        elif key not in DIRECTIVES and not key.startswith(ORDER):
            _set(target, key, value, child(node, key) or ANY, f"{path}.{key}" if path else key)
    for key, order in patch.items():
        name = key.removeprefix(ORDER)
        if key.startswith(ORDER) and isinstance(target.get(name), list):
            target[name] = _reorder(target[name], order, _merge_key(child(node, name) or ANY))
    return target


def _set(target: dict[str, Any], key: str, value: Any, below: Node, path: str) -> None:
    current = target.get(key)
    if value is None:
        target.pop(key, None)
    elif isinstance(value, dict):
        if value.get("$patch") == "delete":
            target.pop(key, None)
        else:
            target[key] = _merge(current if isinstance(current, dict) else {}, value, below, path)
    elif isinstance(value, list) and "merge" in below.get("x-kubernetes-patch-strategy", "").split(","):
        if current is not None and not isinstance(current, list):
            raise PatchError(f"{path}: a list is patched onto something else")
        target[key] = _merge_list(current or [], value, below, path)
    else:
        target[key] = copy.deepcopy(value)


def _merge_key(node: Node) -> str:
    return str(node.get("x-kubernetes-patch-merge-key", ""))


def _merge_list(current: list[Any], patch: list[Any], node: Node, path: str) -> list[Any]:
    key = _merge_key(node)
    if not key:
        return current + [v for v in patch if v not in current]
    element = items(node)
    if any(isinstance(p, dict) and p.get("$patch") == "replace" for p in patch):
        return [copy.deepcopy(p) for p in patch if p.get("$patch") != "replace"]
    places = {_hashable(entry.get(key)): i for i, entry in reversed(list(enumerate(current))) if isinstance(entry, dict)}
    changed: list[tuple[int, Any]] = []
    for index, change in enumerate(patch):
        if not isinstance(change, dict):
            raise PatchError(f"{path}[{index}]: must be an object")
        if key not in change:
            raise PatchError(f"map: {change} does not contain declared merge key: {key} (at {path}[{index}])")
        found = places.get(_hashable(change[key]))
        if change.get("$patch") != "delete":
            changed.append((-1 if found is None else found, _merge({} if found is None else current[found], change, element, f"{path}[{index}]")))
    named = {_hashable(change[key]) for change in patch}
    return _interleave(changed, [(i, entry) for i, entry in enumerate(current) if not isinstance(entry, dict) or _hashable(entry.get(key)) not in named])


def _interleave(changed: list[tuple[int, Any]], kept: list[tuple[int, Any]]) -> list[Any]:
    """Both in their own order; elements of both lists by where they were, a new one (-1) before what comes next. Source: mergeSortedSlice of strategicpatch."""
    result = []
    while changed and kept:
        result.append((changed if changed[0][0] < kept[0][0] else kept).pop(0)[1])
    return result + [entry for _, entry in changed + kept]


def _reorder(values: list[Any], order: list[Any], key: str) -> list[Any]:
    """Elements named in `order` in that order; the others keep their place relative to those that follow them."""

    def identity(value: Any) -> Any:
        return value.get(key) if key and isinstance(value, dict) else value

    rank = {_hashable(identity(o)): i for i, o in enumerate(order)}
    position = {_hashable(identity(v)): i for i, v in enumerate(values)}
    named = sorted((v for v in values if _hashable(identity(v)) in rank), key=lambda v: rank[_hashable(identity(v))])
    others = [v for v in values if _hashable(identity(v)) not in rank]
    result: list[Any] = []
    for value in named:
        while others and position[_hashable(identity(others[0]))] < position[_hashable(identity(value))]:
            result.append(others.pop(0))
        result.append(value)
    return result + others


def _hashable(value: Any) -> str:
    return repr(value)
