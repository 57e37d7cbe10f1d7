"""Validation rules: `x-kubernetes-validations` in a custom kind's schema, found and evaluated. Pure.

Source: "Custom Resources", "Validation rules": each rule sees `self` (and, for transition rules, `oldSelf`) at its place in the schema.
"""

from __future__ import annotations

from typing import Any

from mesh.sandbox.apiserver.schema.definitions import Node
from mesh.sandbox.apiserver.schema.structural import join
from mesh.sandbox.apiserver.status import Cause

Obj = dict[str, Any]


def evaluate(new: Obj, old: Obj | None, node: Node) -> tuple[list[Cause], list[str]]:
    """(causes, warnings): no CEL evaluator is there yet, so that every rule that applies is named in a warning."""
    warnings: list[str] = []
    _walk(new, node, "", warnings)
    return [], warnings


def _walk(value: Any, node: Node, path: str, warnings: list[str]) -> None:
    for rule in node.get("x-kubernetes-validations") or ():
        warnings.append(f"{path or 'object'}: validation rule not evaluated: {rule['rule']}")
    if isinstance(value, dict):
        for key, entry in value.items():
            child = (node.get("properties") or {}).get(key) or node.get("additionalProperties")
            if isinstance(child, dict):
                _walk(entry, child, join(path, key), warnings)
    elif isinstance(value, list) and isinstance(node.get("items"), dict):
        for entry in value:
            _walk(entry, node["items"], f"{path}[*]", warnings)
