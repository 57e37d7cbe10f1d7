from __future__ import annotations

from typing import Any

import pytest

from mesh.sandbox.apiserver import expressions, rules

KEYED = {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"], "items": {"type": "object", "x-kubernetes-validations": [{"rule": "item"}]}}
NODE: dict[str, Any] = {"type": "object", "properties": {"spec": {"type": "object", "x-kubernetes-validations": [{"rule": "spec", "message": "no"}], "properties": {
    "list": KEYED, "map": {"type": "object", "additionalProperties": {"type": "object", "x-kubernetes-validations": [{"rule": "oldSelf.x"}]}}}}}}  # fmt: skip


def test_places_with_what_stood_there_before() -> None:
    new = {"spec": {"list": [{"name": "a", "v": 2}, {"name": "b"}], "map": {"k": {}}}}
    old = {"spec": {"list": [{"name": "a", "v": 1}]}}
    found = [(p.path, p.rule["rule"], p.old if p.old is not rules.ABSENT else "absent") for p in rules.places(new, old, NODE, "")]
    assert found == [("spec", "spec", old["spec"]), ("spec.list[0]", "item", {"name": "a", "v": 1}), ("spec.list[1]", "item", "absent"), ("spec.map[k]", "oldSelf.x", "absent")]


def test_outcomes(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def evaluate(rule: str, variables: dict[str, Any]) -> Any:
        asked.append(rule)
        if rule == "item":
            raise expressions.Unsupported("no such function")
        return False

    monkeypatch.setattr(expressions, "is_available", lambda: True)
    monkeypatch.setattr(expressions, "evaluate", evaluate)
    causes, warnings = rules.evaluate({"spec": {"list": [{"name": "a"}], "map": {"k": {}}}}, None, NODE)
    assert [(c.field, c.message) for c in causes] == [("spec", 'Invalid value: "object": no')]
    assert warnings == ["spec.list[0]: validation rule not evaluated (no such function): item"]
    assert "oldSelf.x" not in asked  # a transition rule has nothing to compare with on create


def test_without_an_evaluator_one_warning_says_how_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expressions, "is_available", lambda: False)
    causes, warnings = rules.evaluate({"spec": {"list": [{"name": "a"}]}}, None, NODE)
    assert causes == [] and warnings == ["2 validation rules (CEL) that apply to this object were not evaluated: the package cel-python is not installed"]


def test_real_rules() -> None:
    pytest.importorskip("celpy")
    node = {"type": "object", "properties": {"spec": {"type": "object", "x-kubernetes-validations": [
        {"rule": "self.min <= self.max", "messageExpression": "'min ' + string(self.min) + ' is above max'"}, {"rule": "self.name == oldSelf.name", "message": "name is immutable", "fieldPath": ".name"}]}}}  # fmt: skip
    causes, _ = rules.evaluate({"spec": {"min": 3, "max": 2, "name": "b"}}, {"spec": {"min": 1, "max": 2, "name": "a"}}, node)
    assert [(c.field, c.message) for c in causes] == [("spec", 'Invalid value: "object": min 3 is above max'), ("spec.name", 'Invalid value: "object": name is immutable')]


def test_rules_are_found_wherever_they_are() -> None:
    rule = {"type": "string", "x-kubernetes-validations": [{"rule": "true"}]}
    assert all(rules.has_rules(node) for node in (rule, {"properties": {"a": rule}}, {"items": {"additionalProperties": rule}}))
    assert not rules.has_rules({"properties": {"a": {"type": "string"}}, "items": {}, "additionalProperties": True})
