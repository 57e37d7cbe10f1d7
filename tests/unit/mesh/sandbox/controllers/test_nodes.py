"""Taints of nodes."""

from typing import Any

import pytest

from mesh.sandbox.controllers.nodes import plan
from mesh.sandbox.controllers.plan import Patch
from mesh.sandbox.kubeclient import NODES

Json = dict[str, Any]
READY, WAITING = {"type": "Ready", "status": "True"}, {"type": "Ready", "status": "False"}
NOT_READY = {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}
CORDONED = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}
USERS = {"key": "example.com/gpu", "effect": "NoSchedule", "value": "yes"}
EVICTING = {"key": "node.kubernetes.io/not-ready", "effect": "NoExecute"}


def node(taints: list[Json], *conditions: Json, **spec: Any) -> Json:
    return {"metadata": {"name": "n", "uid": "u", "resourceVersion": "7"}, "spec": {"taints": taints, **spec}, "status": {"conditions": list(conditions)}}


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        (node([NOT_READY], READY), None),
        (node([USERS, NOT_READY], READY), [USERS]),
        (node([USERS], WAITING), [USERS, NOT_READY]),
        (node([EVICTING, NOT_READY], READY), [EVICTING]),
        (node([], READY, unschedulable=True), [CORDONED]),
        (node([CORDONED], READY), None),
        (node([], READY, {"type": "DiskPressure", "status": "True"}), [{"key": "node.kubernetes.io/disk-pressure", "effect": "NoSchedule"}]),
        (node([NOT_READY], {"type": "Ready", "status": "Unknown"}), [{"key": "node.kubernetes.io/unreachable", "effect": "NoSchedule"}]),
    ],
)
def test_conditions_become_taints(found: Json, wanted: list[Json] | None) -> None:
    assert plan(found).actions == [Patch(NODES, found, {"metadata": {"resourceVersion": "7"}, "spec": {"taints": wanted}})]


@pytest.mark.parametrize("found", [node([], READY), node([NOT_READY], WAITING), node([USERS, CORDONED], READY, unschedulable=True), node([NOT_READY])])
def test_what_fits_is_left_alone(found: Json) -> None:
    assert plan(found).actions == []
