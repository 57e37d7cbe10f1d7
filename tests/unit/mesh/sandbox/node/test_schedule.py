"""Which pods the node takes."""

from typing import Any

import pytest

from mesh.sandbox.node.schedule import why_not

NODE: dict[str, Any] = {"metadata": {"name": "node", "labels": {"zone": "a", "size": "4"}}, "spec": {}}


def need(operator: str, key: str, *values: str) -> dict[str, Any]:
    terms = {"nodeSelectorTerms": [{"matchExpressions": [{"key": key, "operator": operator, "values": list(values)}]}]}
    return {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}}


@pytest.mark.parametrize(
    ("spec", "fits"),
    [
        ({}, True),
        ({"nodeSelector": {"zone": "a"}}, True),
        ({"nodeSelector": {"zone": "b"}}, False),
        (need("In", "zone", "a", "b"), True),
        (need("NotIn", "zone", "a"), False),
        (need("Exists", "none"), False),
        (need("DoesNotExist", "none"), True),
        (need("Gt", "size", "3"), True),
        (need("Lt", "size", "x"), False),
        ({"schedulingGates": [{"name": "g"}]}, False),
    ],
)
def test_selectors(spec: dict[str, Any], fits: bool) -> None:
    assert (why_not({"spec": spec}, NODE) is None) is fits


@pytest.mark.parametrize(
    ("toleration", "fits"),
    [({"operator": "Exists"}, True), ({"key": "k", "value": "v"}, True), ({"key": "k", "value": "w"}, False), ({"key": "k", "operator": "Exists", "effect": "NoExecute"}, False)],
)
def test_taints(toleration: dict[str, Any], fits: bool) -> None:
    node = {**NODE, "spec": {"taints": [{"key": "k", "value": "v", "effect": "NoSchedule"}]}}
    assert (why_not({"spec": {"tolerations": [toleration]}}, node) is None) is fits


def test_a_cordoned_node_takes_nothing() -> None:
    assert "unschedulable" in (why_not({"spec": {}}, {**NODE, "spec": {"unschedulable": True}}) or "")
