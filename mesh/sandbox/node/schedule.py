"""Which pods this node may run (the scheduler's part). Pure.

Source: Kubernetes "Assigning Pods to Nodes", "Taints and Tolerations". One node: preferences need no answer.
"""

from collections.abc import Mapping
from typing import Any

from mesh.sandbox.labels import meets

Json = dict[str, Any]


def why_not(pod: Json, node: Json) -> str | None:
    """None = the pod may run here; otherwise the scheduler's words."""
    labels: dict[str, str] = node["metadata"].get("labels") or {}
    spec = pod["spec"]
    if spec.get("schedulingGates"):
        return ""  # not an error: the pod waits for somebody to take the gates away
    if not _matches_selector(spec.get("nodeSelector") or {}, labels) or not _matches_affinity(spec, labels, node["metadata"]["name"]):
        return "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector."
    for taint in (node.get("spec") or {}).get("taints") or ():
        if taint["effect"] != "PreferNoSchedule" and not any(_tolerates(t, taint) for t in spec.get("tolerations") or ()):
            return f"0/1 nodes are available: 1 node(s) had untolerated taint {{{taint['key']}: {taint.get('value', '')}}}."
    if (node.get("spec") or {}).get("unschedulable"):
        return "0/1 nodes are available: 1 node(s) were unschedulable."
    return None


def _matches_selector(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    return all(labels.get(key) == value for key, value in selector.items())


def _matches_affinity(spec: Json, labels: Mapping[str, str], name: str) -> bool:
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    if not required:
        return True
    return any(
        all(_matches(item, labels) for item in term.get("matchExpressions") or ())
        and all(_matches(item, {"metadata.name": name}) for item in term.get("matchFields") or ())
        for term in required["nodeSelectorTerms"]
    )


def _matches(requirement: Json, labels: Mapping[str, str]) -> bool:
    match requirement["operator"]:
        case "In" | "NotIn" | "Exists" | "DoesNotExist":
            return meets(requirement, labels)
        case "Gt" | "Lt" as operator:
            try:
                have, want = int(labels[requirement["key"]]), int(requirement["values"][0])
            except (KeyError, ValueError, IndexError):
                return False
            return have > want if operator == "Gt" else have < want
        case _:
            return False


def _tolerates(toleration: Json, taint: Json) -> bool:
    if toleration.get("effect") not in (None, "", taint["effect"]):
        return False
    if toleration.get("operator", "Equal") == "Exists":
        return toleration.get("key") in (None, "", taint["key"])
    return bool(toleration.get("key") == taint["key"] and toleration.get("value", "") == taint.get("value", ""))
