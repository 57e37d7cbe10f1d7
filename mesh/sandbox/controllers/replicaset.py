"""ReplicaSet → pods. Pure."""

from collections.abc import Sequence
from typing import Any

from mesh.sandbox.controllers.plan import (
    Create,
    Delete,
    Note,
    Patch,
    Plan,
    controller_of,
    is_controlled_by,
    matches,
    owner_reference,
    pod_from_template,
    status_patch,
)
from mesh.sandbox.controllers.pods import deletion_order, is_active, is_ready, seconds_to_available
from mesh.sandbox.kubeclient import PODS, REPLICA_SETS

Json = dict[str, Any]
MAX_CREATED_AT_ONCE = 50


def plan(rs: Json, pods: Sequence[Json], now: float) -> Plan:
    """Make the pods be as many as wanted. `pods` are all pods of the namespace."""
    result = Plan()
    mine = [pod for pod in pods if is_active(pod) and is_controlled_by(pod, rs)]
    if "deletionTimestamp" not in rs["metadata"]:
        for pod in pods:
            if is_active(pod) and controller_of(pod) is None and matches(rs["spec"]["selector"], pod["metadata"].get("labels")):
                references = [*(pod["metadata"].get("ownerReferences") or ()), owner_reference(rs)]
                result.actions.append(Patch(PODS, pod, {"metadata": {"uid": pod["metadata"]["uid"], "ownerReferences": references}}))
                mine.append(pod)
        _scale(result, rs, mine)
    _status(result, rs, mine, now)
    return result


def _scale(result: Plan, rs: Json, mine: list[Json]) -> None:
    wanted = rs["spec"].get("replicas", 1)
    for _ in range(min(wanted - len(mine), MAX_CREATED_AT_ONCE)):
        result.actions.append(Create(PODS, pod_from_template(rs, rs["spec"]["template"], prefix=f"{rs['metadata']['name']}-")))
    if wanted - len(mine) > MAX_CREATED_AT_ONCE:
        result.again(0.0)
    for pod in sorted(mine, key=deletion_order)[: max(0, len(mine) - wanted)]:
        result.actions.append(Delete(PODS, pod))
        result.actions.append(Note(rs, "Normal", "SuccessfulDelete", f"Deleted pod: {pod['metadata']['name']}"))


def _status(result: Plan, rs: Json, mine: list[Json], now: float) -> None:
    labels = (rs["spec"]["template"].get("metadata") or {}).get("labels") or {}
    waits = [seconds_to_available(pod, rs["spec"].get("minReadySeconds", 0), now) for pod in mine]
    for wait in waits:
        if wait:
            result.again(wait)
    counts = {
        "replicas": len(mine),
        "fullyLabeledReplicas": sum(labels.items() <= (pod["metadata"].get("labels") or {}).items() for pod in mine),
        "readyReplicas": sum(map(is_ready, mine)),
        "availableReplicas": sum(wait == 0 for wait in waits),
    }
    # Zeroes are left out, as Go's omitempty does ("replicas" is always there).
    status: Json = {key: value if value or key == "replicas" else None for key, value in counts.items()}
    status["observedGeneration"] = rs["metadata"].get("generation")
    result.actions += status_patch(REPLICA_SETS, rs, status)
