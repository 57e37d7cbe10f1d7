"""Validation rules: `x-kubernetes-validations` in a custom kind's schema, found and evaluated. Pure.

Source: "Custom Resources", "Validation rules": each rule sees `self` (and, for transition rules, `oldSelf`) at its place in the schema.
A rule that cannot be evaluated here becomes a warning that names it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from mesh.sandbox.apiserver import expressions, ratchet
from mesh.sandbox.apiserver.schema.definitions import Node, items, list_keys
from mesh.sandbox.apiserver.schema.structural import JSON_TYPES, join
from mesh.sandbox.apiserver.status import Cause

Obj = dict[str, Any]

OLD_SELF = re.compile(r"\boldSelf\b")
ABSENT = object()


class Place(NamedTuple):
    """Where a rule applies: the value, what stood there before (ABSENT if nothing did), its path."""

    rule: dict[str, Any]
    value: Any
    old: Any
    path: str


def evaluate(new: Obj, old: Obj | None, node: Node) -> tuple[list[Cause], list[str]]:
    """(what the rules forbid, warnings about rules that were not evaluated)."""
    causes: list[Cause] = []
    warnings: list[str] = []
    if not node.get("properties"):
        return causes, warnings
    if not expressions.is_available():
        found = sum(1 for _ in places(new, ABSENT, node, ""))
        return causes, [f"{found} validation rules (CEL) that apply to this object were not evaluated: the package cel-python is not installed"] if found else []
    for place in places(new, ABSENT if old is None else old, node, ""):
        variables = {"self": place.value}
        if not OLD_SELF.search(place.rule["rule"]) and ratchet.is_same(place.value, place.old):
            continue  # what does not fit a newer rule may stay as it is
        if OLD_SELF.search(place.rule["rule"]):
            if place.old is ABSENT:
                continue
            variables["oldSelf"] = place.old
        try:
            if expressions.evaluate(place.rule["rule"], variables) is True:
                continue
            message = _message(place, variables)
        except expressions.Unsupported as exc:
            warnings.append(f"{place.path or '<root>'}: validation rule not evaluated ({exc}): {' '.join(place.rule['rule'].split())}")
            continue
        except expressions.Failed as exc:
            message = f"rule evaluation error: {exc}: {place.rule['rule']}"
        reason, path = place.rule.get("reason", "FieldValueInvalid"), place.path + place.rule.get("fieldPath", "")
        causes.append(Cause(reason, path, _sentence(reason, place.value, message)))
    return causes, warnings


def has_rules(node: Node) -> bool:
    """Whether there is any rule in a schema."""
    below = [*(node.get("properties") or {}).values(), node.get("items"), node.get("additionalProperties")]
    return bool(node.get("x-kubernetes-validations")) or any(has_rules(part) for part in below if isinstance(part, dict))


def _message(place: Place, variables: dict[str, Any]) -> str:
    computed = place.rule.get("messageExpression")
    if computed:
        try:
            return str(expressions.evaluate(computed, variables))
        except (expressions.Unsupported, expressions.Failed):
            pass  # documented: the plain message is used then
    return str(place.rule.get("message") or f"failed rule: {place.rule['rule']}").strip()


def _sentence(reason: str, value: Any, message: str) -> str:
    match reason:
        case "FieldValueForbidden":
            return f"Forbidden: {message}"
        case "FieldValueRequired":
            return f"Required value: {message}"
        case "FieldValueDuplicate":
            return f'Duplicate value: "{JSON_TYPES[type(value)]}"'
    return f'Invalid value: "{JSON_TYPES[type(value)]}": {message}'


def places(value: Any, old: Any, node: Node, path: str) -> Iterator[Place]:
    """Every rule that applies below `value`, with its place."""
    for rule in node.get("x-kubernetes-validations") or ():
        yield Place(rule, value, old, path)
    if isinstance(value, dict):
        for key, entry in value.items():
            known = (node.get("properties") or {}).get(key)
            below = known or node.get("additionalProperties")
            if isinstance(below, dict):
                yield from places(entry, old.get(key, ABSENT) if isinstance(old, dict) else ABSENT, below, join(path, key) if known else f"{path}[{key}]")
    elif isinstance(value, list) and isinstance(node.get("items"), dict):
        for index, entry in enumerate(value):
            yield from places(entry, _correlated(entry, old, node), items(node), f"{path}[{index}]")


def _correlated(entry: Any, old: Any, node: Node) -> Any:
    """The same element of the old list: only keyed lists have one."""
    keys = list_keys(node)
    if not keys or not isinstance(old, list) or not isinstance(entry, dict):
        return ABSENT
    return next((o for o in old if isinstance(o, dict) and all(o.get(k) == entry.get(k) for k in keys)), ABSENT)
