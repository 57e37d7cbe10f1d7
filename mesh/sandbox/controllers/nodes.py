"""Taints of nodes by their conditions, which keep pods away from a node that is not ready. Pure.

A real API server taints every new node; somebody has to take that away when the kubelet says that it is ready.
Source: Kubernetes "Taints and Tolerations", "Taint Nodes by Condition"; the admission plugin TaintNodesByCondition.
"""

from typing import Any

from mesh.sandbox.controllers.plan import Patch, Plan
from mesh.sandbox.kubeclient import NODES

Json = dict[str, Any]
PREFIX = "node.kubernetes.io/"
BY_CONDITION = {
    ("Ready", "False"): "not-ready",
    ("Ready", "Unknown"): "unreachable",
    ("MemoryPressure", "True"): "memory-pressure",
    ("DiskPressure", "True"): "disk-pressure",
    ("PIDPressure", "True"): "pid-pressure",
    ("NetworkUnavailable", "True"): "network-unavailable",
}
UNSCHEDULABLE = "unschedulable"
_OURS = frozenset(PREFIX + name for name in (*BY_CONDITION.values(), UNSCHEDULABLE))


def plan(node: Json) -> Plan:
    """Make the node's NoSchedule taints those of its conditions; others stay. A node without conditions is left as it is."""
    result = Plan()
    taints = node["spec"].get("taints") or []
    wanted = [*(taint for taint in taints if not _is_ours(taint)), *_wanted(node)]
    if (node.get("status") or {}).get("conditions") and _names(taints) != _names(wanted):
        # The whole list is written: somebody else's taint must not get lost on the way.
        guard = {"resourceVersion": node["metadata"]["resourceVersion"]}
        result.actions.append(Patch(NODES, node, {"metadata": guard, "spec": {"taints": wanted or None}}))
    return result


def _wanted(node: Json) -> list[Json]:
    conditions = ((item["type"], item["status"]) for item in (node.get("status") or {}).get("conditions") or ())
    names = [BY_CONDITION[condition] for condition in conditions if condition in BY_CONDITION]
    names += [UNSCHEDULABLE] * bool(node["spec"].get("unschedulable"))
    return [{"key": PREFIX + name, "effect": "NoSchedule"} for name in sorted(names)]


def _is_ours(taint: Json) -> bool:
    return taint["key"] in _OURS and taint["effect"] == "NoSchedule"


def _names(taints: list[Json]) -> set[tuple[str, str]]:
    return {(taint["key"], taint["effect"]) for taint in taints}
