"""The status of a Deployment: counts, and the conditions Available and Progressing. Pure.

Source: Kubernetes "Deployments", "Deployment status"; kube-controller-manager deployment/progress.go.
"""

from typing import Any

from mesh.sandbox.controllers.plan import Plan, condition, status_patch
from mesh.sandbox.controllers.rollout import available, desired, limits
from mesh.sandbox.kubeclient import DEPLOYMENTS
from mesh.sandbox.times import parse_stamp, stamp

Json = dict[str, Any]


def report(result: Plan, deployment: Json, current: Json | None, old: list[Json], now: float) -> None:
    """Add the patch of the status, if it has changed, and when to look again."""
    previous = deployment.get("status") or {}
    wanted = desired(deployment)
    sets = [*old, *([current] if current else [])]
    total = sum((rs.get("status") or {}).get("replicas", 0) for rs in sets)
    ready = sum((rs.get("status") or {}).get("readyReplicas", 0) for rs in sets)
    usable = sum(map(available, sets))
    updated = ((current or {}).get("status") or {}).get("replicas", 0)
    status: Json = {
        "observedGeneration": deployment["metadata"].get("generation"),
        "replicas": total or None,
        "updatedReplicas": updated or None,
        "readyReplicas": ready or None,
        "availableReplicas": usable or None,
        "unavailableReplicas": max(0, wanted - usable) or None,
    }
    before, when = previous.get("conditions") or [], stamp(now)
    enough = usable >= wanted - limits(deployment)[1]
    status["conditions"] = [
        condition(
            before,
            "Available",
            enough,
            "MinimumReplicasAvailable" if enough else "MinimumReplicasUnavailable",
            "Deployment has minimum availability." if enough else "Deployment does not have minimum availability.",
            when,
        ),
        _progressing(result, deployment, current, status, before, now),
    ]
    result.actions += status_patch(DEPLOYMENTS, deployment, status)


def _progressing(result: Plan, deployment: Json, current: Json | None, status: Json, before: list[Json], now: float) -> Json:
    name = current["metadata"]["name"] if current else deployment["metadata"]["name"]
    previous = deployment.get("status") or {}
    known = next((item for item in before if item["type"] == "Progressing"), None)
    when = stamp(now)
    if deployment["spec"].get("paused"):
        if known is not None and known["reason"] == "DeploymentPaused":
            return known
        return {"type": "Progressing", "status": "Unknown", "reason": "DeploymentPaused", "message": "Deployment is paused", "lastUpdateTime": when, "lastTransitionTime": when}
    wanted = desired(deployment)
    complete = (status["updatedReplicas"] or 0) == (status["replicas"] or 0) == (status["availableReplicas"] or 0) == wanted
    if complete:
        return condition(before, "Progressing", True, "NewReplicaSetAvailable", f'ReplicaSet "{name}" has successfully progressed.', when)
    fields = ("updatedReplicas", "readyReplicas", "availableReplicas")
    moved = any((status[key] or 0) > (previous.get(key) or 0) for key in fields) or (status["replicas"] or 0) < (previous.get("replicas") or 0)
    fresh = known is None or previous.get("observedGeneration") != status["observedGeneration"] or known["reason"] == "DeploymentPaused"
    limit = deployment["spec"].get("progressDeadlineSeconds", 600)
    if known is not None and not moved and not fresh:
        if known["reason"] == "ProgressDeadlineExceeded":
            return known
        if known["reason"] == "NewReplicaSetAvailable":
            return known  # it was complete; pods that fail later are no rollout
        left = parse_stamp(known["lastUpdateTime"]) + limit - now
        if left <= 0:
            return condition(before, "Progressing", False, "ProgressDeadlineExceeded", f'ReplicaSet "{name}" has timed out progressing.', when)
        result.again(left)
        return known
    result.again(limit)
    reason, text = ("ReplicaSetUpdated", "is progressing") if current and known else ("NewReplicaSetCreated", "is progressing")
    return condition(before, "Progressing", True, reason, f'ReplicaSet "{name}" {text}.', when, touch=True)
