"""Definitions: the schemas of the built-in kinds, and how a schema node is read.

A node is an OpenAPI v3 schema as CustomResourceDefinitions use it ("structural"), plus `$ref` to a named definition. One dialect for
built-in and custom kinds means one pruning, one validation, one table of merge keys for strategic merge and server-side apply.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

Node = dict[str, Any]

ANY: Node = {"x-kubernetes-preserve-unknown-fields": True}
TYPE_META: Node = {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": {"$ref": "v1.ObjectMeta"}}


@cache
def definitions() -> dict[str, Node]:
    """All named definitions (read once)."""
    found: dict[str, Node] = json.loads(Path(__file__).with_name("builtin.json").read_bytes())
    return found


def resolve(node: Node) -> Node:
    """The node itself, or what its `$ref` names with the reference's own attributes on top."""
    name = node.get("$ref")
    if name is None:
        return node
    target = definitions()[name]
    return target if len(node) == 1 else {**target, **{k: v for k, v in node.items() if k != "$ref"}}


def child(node: Node, key: str) -> Node | None:
    """The schema of field or map entry `key` of an object; None when the schema does not know it."""
    node = resolve(node)
    found = node.get("properties", {}).get(key)
    if found is None and node.get("x-kubernetes-embedded-resource"):
        found = TYPE_META.get(key)
    if found is None:
        extra = node.get("additionalProperties")
        if isinstance(extra, dict):
            found = extra
        elif extra is True:
            found = ANY
    return resolve(found) if found is not None else None


def items(node: Node) -> Node:
    """The schema of a list's elements."""
    return resolve(resolve(node).get("items", ANY))


def keeps_unknown(node: Node) -> bool:
    """Fields without a schema are kept below this node."""
    return bool(node.get("x-kubernetes-preserve-unknown-fields"))


def is_map(node: Node) -> bool:
    """An object whose keys are data (labels), not fields."""
    return "additionalProperties" in node and "properties" not in node


def list_keys(node: Node) -> tuple[str, ...] | None:
    """The keys that name an element of an associative list; None for other lists."""
    if node.get("x-kubernetes-list-type") == "map":
        return tuple(node.get("x-kubernetes-list-map-keys", ()))
    return None
