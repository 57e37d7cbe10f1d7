"""Field sets: which paths of an object are meant, as `FieldsV1` writes them. Pure.

A set is a trie of dicts. A key is a path element: `f:name` a field or map entry, `k:{"name":"a"}` an element of a keyed list, `v:"x"` an
element of a set; the key `.` marks that the path itself belongs to the set. On the wire a node that has nothing but `.` is `{}`.
Source: "Server-Side Apply", FieldsV1; merge semantics by schema (x-kubernetes-list-type, -list-map-keys, -map-type).
"""

from __future__ import annotations

import copy
import json
from typing import Any

from mesh.sandbox.apiserver.schema.definitions import ANY, Node, child, items, list_keys, resolve

Trie = dict[str, Any]
Obj = dict[str, Any]

SELF = "."
# Never owned by anybody. Source: structured-merge-diff's strip of metadata in kube-apiserver.
UNOWNED_META = ("name", "namespace", "creationTimestamp", "selfLink", "uid", "generation", "managedFields", "resourceVersion")


def decode(wire: Trie) -> Trie:
    """FieldsV1 → set."""
    return {key: {} if key == SELF else ({SELF: {}} if not below else decode(below)) for key, below in wire.items()}


def encode(fields: Trie) -> Trie:
    """Set → FieldsV1."""
    return {key: {} if key == SELF or set(fields[key]) == {SELF} else encode(fields[key]) for key in sorted(fields)}


def owned(obj: Obj, node: Node) -> Trie:
    """The set of all paths of an object that somebody can own."""
    meta = {k: v for k, v in obj["metadata"].items() if k not in UNOWNED_META}
    visible = {k: v for k, v in obj.items() if k not in ("apiVersion", "kind", "metadata")}
    if meta:
        visible["metadata"] = meta
    return of_value(visible, node) if visible else {}


def is_granular(value: Any, node: Node) -> bool:
    """Whether parts of the value have owners of their own."""
    if isinstance(value, dict):
        return node.get("x-kubernetes-map-type") != "atomic"
    return isinstance(value, list) and node.get("x-kubernetes-list-type") in ("map", "set")


def of_value(value: Any, node: Node) -> Trie:
    """The set of a value's paths, relative to it."""
    node = resolve(node)
    if not is_granular(value, node) or value == {}:
        return {SELF: {}}
    made: Trie = {}
    for element, entry, below, is_item in entries(value, node):
        part = of_value(entry, below)
        if is_item:
            part[SELF] = {}
        if part:  # nobody owns an empty list of which each element would have an owner
            made[element] = part
    return made


def entries(value: Any, node: Node) -> list[tuple[str, Any, Node, bool]]:
    """(path element, value, schema, is a map entry or list element) of each part of a granular value."""
    if isinstance(value, dict):
        fields = node.get("properties", {})
        return [(f"f:{key}", entry, child(node, key) or ANY, key not in fields) for key, entry in value.items()]
    element = items(node)
    return [(item_element(entry, node), entry, element, True) for entry in value]


def item_element(entry: Any, node: Node) -> str:
    """The path element of a list element: its keys, with schema defaults for absent ones, or its value."""
    keys = list_keys(node)
    if keys is None or not isinstance(entry, dict):
        return "v:" + json.dumps(entry, separators=(",", ":"), sort_keys=True)
    element = items(node)
    found = {}
    for key in keys:
        value = entry.get(key, (child(element, key) or {}).get("default"))
        if value is not None:
            found[key] = value
    return "k:" + json.dumps(found, separators=(",", ":"), sort_keys=True)


def union(a: Trie, b: Trie) -> Trie:
    """Paths of either."""
    return {key: union(a.get(key, {}), b.get(key, {})) for key in a.keys() | b.keys()}


def intersection(a: Trie, b: Trie) -> Trie:
    """Paths of both."""
    return _clean({key: {} if key == SELF else intersection(a[key], b[key]) for key in a.keys() & b.keys()})


def difference(a: Trie, b: Trie) -> Trie:
    """Paths of `a` that are not in `b`."""
    return _clean({key: difference(below, b.get(key, {})) if key != SELF else {} for key, below in a.items() if key != SELF or SELF not in b})


def _clean(fields: Trie) -> Trie:
    return {key: below for key, below in fields.items() if key == SELF or below}


def paths(fields: Trie, prefix: str = "") -> list[str]:
    """Every path as servers print it in conflicts: `.spec.containers[name="a"].image`."""
    found = [prefix] if SELF in fields else []
    for key in sorted(fields):
        if key.startswith("f:"):
            found += paths(fields[key], f"{prefix}.{key[2:]}")
        elif key.startswith("k:"):
            shown = ",".join(f"{k}={json.dumps(v)}" for k, v in json.loads(key[2:]).items())
            found += paths(fields[key], f"{prefix}[{shown}]")
        elif key != SELF:
            found += paths(fields[key], f"{prefix}[={key[2:]}]")
    return found


def compare(old: Any, new: Any, node: Node) -> tuple[Trie, Trie]:
    """(paths added or changed, paths removed) from `old` to `new`, relative to both."""
    node = resolve(node)
    if type(old) is not type(new) or not is_granular(old, node) or not is_granular(new, node):
        return ({}, {}) if old == new else (of_value(new, node), difference(of_value(old, node), of_value(new, node)))
    before = {element: (entry, below, item) for element, entry, below, item in entries(old, node)}
    after = {element: (entry, below, item) for element, entry, below, item in entries(new, node)}
    changed: Trie = {}
    removed: Trie = {}
    for element, (entry, below, item) in after.items():
        if element in before:
            inner_changed, inner_removed = compare(before[element][0], entry, below)
            if inner_removed:
                removed[element] = inner_removed
        else:
            inner_changed = {**of_value(entry, below), **({SELF: {}} if item else {})}
        if inner_changed:
            changed[element] = inner_changed
    for element, (entry, below, item) in before.items():
        if element not in after:
            removed[element] = {**of_value(entry, below), **({SELF: {}} if item else {})}
    return changed, removed


def compare_objects(old: Obj, new: Obj, node: Node) -> tuple[Trie, Trie]:
    """`compare` of what can be owned in two objects."""
    changed, removed = compare(_ownable(old), _ownable(new), node)
    return changed, removed


def _ownable(obj: Obj) -> Obj:
    meta = {k: v for k, v in obj["metadata"].items() if k not in UNOWNED_META}
    return {**{k: v for k, v in obj.items() if k not in ("apiVersion", "kind")}, "metadata": meta}


def merge(live: Any, applied: Any, node: Node) -> Any:
    """`live` with everything that `applied` says laid over it."""
    node = resolve(node)
    if type(live) is not type(applied) or not is_granular(live, node):
        return copy.deepcopy(applied)
    if isinstance(live, dict):
        result = dict(live)
        for key, value in applied.items():
            below = child(node, key) or ANY
            result[key] = merge(live[key], value, below) if key in live else copy.deepcopy(value)
        return result
    element = items(node)
    current = {item_element(entry, node): entry for entry in live}
    named = {item_element(entry, node): entry for entry in applied}
    position = {key: index for index, key in enumerate(current)}
    others = [key for key in current if key not in named]
    result_list = []
    # The applied order wins; an element of somebody else stays before the shared one that followed it, and before what is new.
    keys = list(named)
    bound = float(len(current))
    bounds = [0.0] * len(keys)
    for index in range(len(keys) - 1, -1, -1):
        bound = bounds[index] = position.get(keys[index], bound)
    for key, limit in zip(keys, bounds):
        while others and position[others[0]] < limit:
            result_list.append(current[others.pop(0)])
        result_list.append(merge(current[key], named[key], element) if key in current else copy.deepcopy(named[key]))
    return result_list + [current[key] for key in others]


def remove(value: Any, gone: Trie, kept: Trie, node: Node) -> Any:
    """`value` without the paths of `gone`, except those that `kept` still names (or names something below)."""
    node = resolve(node)
    if not is_granular(value, node):
        return value
    if isinstance(value, dict):
        result = {}
        for element, entry, below, _ in entries(value, node):
            if element in gone:
                still = kept.get(element)
                if still is None and SELF in gone[element]:
                    continue
                entry = remove(entry, gone[element], still or {}, below)
                if entry in ({}, []) and still is None:
                    continue
            result[element[2:]] = entry
        return result
    result_list = []
    for element, entry, below, _ in entries(value, node):
        if element in gone:
            if element not in kept and SELF in gone[element]:
                continue
            entry = remove(entry, gone[element], kept.get(element, {}), below)
        result_list.append(entry)
    return result_list
