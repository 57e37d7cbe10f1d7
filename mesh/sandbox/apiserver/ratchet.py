"""Ratcheting: what an update leaves alone need not fit a schema that became stricter meanwhile. Pure.

Source: "Custom Resources", "Validation ratcheting": errors about values that an update does not change are left out; elements of keyed lists are
compared with those of the same key, those of other lists only where the whole list is the same.
"""

from __future__ import annotations

import re
from typing import Any

from mesh.sandbox.apiserver.schema.definitions import Node, child, items, list_keys, resolve
from mesh.sandbox.apiserver.status import Cause

_STEP = re.compile(r"\[(\d+)\]|\[([^\]]+)\]|\.?([^.\[]+)")
_ABSENT = object()


def new_ones(causes: list[Cause], new: Any, old: Any, node: Node) -> list[Cause]:
    """Those that are about something that the update changes; all of them when there was nothing before."""
    return causes if old is None else [cause for cause in causes if not _is_old(cause, new, old, node)]


def is_same(new: Any, old: Any) -> bool:
    """Whether two JSON values are equal; 1 and true are not."""
    if isinstance(new, dict) and isinstance(old, dict):
        return new.keys() == old.keys() and all(is_same(value, old[key]) for key, value in new.items())
    if isinstance(new, list) and isinstance(old, list):
        return len(new) == len(old) and all(map(is_same, new, old))
    return isinstance(new, bool) is isinstance(old, bool) and bool(new == old)


def _is_old(cause: Cause, new: Any, old: Any, node: Node) -> bool:
    steps = list(_STEP.finditer(cause.field))
    if cause.reason == "FieldValueRequired":
        del steps[-1:]  # said of what should hold the field
    for step in steps:
        index, bracketed, name = step.groups()
        node = resolve(node)
        if index is not None and isinstance(new, list):
            new, old = _elements(new, old, int(index), list_keys(node))
            node = items(node)
        else:
            key = bracketed or name or index
            new = new.get(key, _ABSENT) if isinstance(new, dict) else _ABSENT
            old = old.get(key, _ABSENT) if isinstance(old, dict) else _ABSENT
            node = child(node, key) or {}
        if new is _ABSENT or old is _ABSENT:
            return False
        if is_same(new, old):
            return True
    return False


def _elements(new: list[Any], old: Any, index: int, keys: Any) -> tuple[Any, Any]:
    entry = new[index] if index < len(new) else _ABSENT
    if not keys or not isinstance(old, list) or not isinstance(entry, dict):
        return entry, _ABSENT
    return entry, next((o for o in old if isinstance(o, dict) and all(o.get(key) == entry.get(key) for key in keys)), _ABSENT)
