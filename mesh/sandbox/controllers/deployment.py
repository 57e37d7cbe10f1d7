"""Deployment → ReplicaSets: rolling updates, history, status. Pure.

Every call looks at the present state only and takes the next safe step:
    new set up to   replicas + maxSurge  pods in all
    old sets down as long as  replicas - maxUnavailable  pods stay available; pods that never got ready go first
Source: Kubernetes "Deployments"; kube-controller-manager deployment/rolling.go for the arithmetic.
"""

import json
import math
from collections.abc import Sequence
from typing import Any

from mesh.sandbox.controllers.plan import (
    Create,
    Delete,
    Note,
    Patch,
    Plan,
    condition,
    controller_of,
    is_controlled_by,
    matches,
    owner_reference,
    short_hash,
    status_patch,
)
from mesh.sandbox.kubeclient import DEPLOYMENTS, REPLICA_SETS
from mesh.sandbox.times import parse_stamp, stamp

Json = dict[str, Any]
REVISION = "deployment.kubernetes.io/revision"
DESIRED = "deployment.kubernetes.io/desired-replicas"
MAXIMUM = "deployment.kubernetes.io/max-replicas"
HASH_LABEL = "pod-template-hash"
_NOT_INHERITED = frozenset({REVISION, DESIRED, MAXIMUM, "kubectl.kubernetes.io/last-applied-configuration", "deprecated.deployment.rollback.to"})


def plan(deployment: Json, sets: Sequence[Json], old_pods: int, now: float) -> Plan:
    """The next step of a Deployment. `sets` are all ReplicaSets of the namespace; `old_pods` counts the pods of old sets that
    still exist, terminating ones included (Recreate waits for them)."""
    result = Plan()
    if "deletionTimestamp" in deployment["metadata"]:
        return result
    mine = [rs for rs in sets if is_controlled_by(rs, deployment)]
    for rs in sets:
        if controller_of(rs) is None and matches(deployment["spec"]["selector"], rs["metadata"].get("labels")):
            references = [owner_reference(deployment)]
            result.actions.append(Patch(REPLICA_SETS, rs, {"metadata": {"uid": rs["metadata"]["uid"], "ownerReferences": references}}))
            mine.append(rs)
    mine.sort(key=lambda rs: (rs["metadata"].get("creationTimestamp") or "", rs["metadata"]["name"]))
    current = next((rs for rs in mine if same_template(rs["spec"]["template"], deployment["spec"]["template"])), None)
    old = [rs for rs in mine if rs is not current]
    scale: dict[str, int] = {}
    paused = bool(deployment["spec"].get("paused"))
    if paused:
        _scale_proportionally(deployment, current, old, scale)
    elif deployment["spec"].get("strategy", {}).get("type") == "Recreate":
        current = _recreate(result, deployment, current, old, old_pods, mine, scale)
    else:
        current = _roll(result, deployment, current, old, mine, scale)
    _write_sets(result, deployment, current, old, scale, mine)
    _status(result, deployment, current, old, scale, now)
    if not paused and _is_complete(deployment, current, old):
        _clean_up(result, deployment, old)
    return result


def limits(deployment: Json) -> tuple[int, int]:
    """(maxSurge, maxUnavailable) as numbers; percentages round up and down; both 0 would never move, so one may be missing."""
    wanted = deployment["spec"].get("replicas", 1)
    rolling = (deployment["spec"].get("strategy") or {}).get("rollingUpdate") or {}
    surge = _number(rolling.get("maxSurge", "25%"), wanted, up=True)
    unavailable = _number(rolling.get("maxUnavailable", "25%"), wanted, up=False)
    if surge == 0 and unavailable == 0:
        unavailable = 1
    return surge, min(unavailable, wanted)


def same_template(one: Json, other: Json) -> bool:
    """Whether two pod templates are equal but for the hash label."""
    return _without_hash(one) == _without_hash(other)


def _roll(result: Plan, deployment: Json, current: Json | None, old: list[Json], mine: list[Json], scale: dict[str, int]) -> Json:
    wanted = deployment["spec"].get("replicas", 1)
    surge, unavailable = limits(deployment)
    total = sum(_replicas(rs) for rs in old)
    if current is None:
        current = _new_set(deployment, mine, max(0, min(wanted, wanted + surge - total)))
        result.actions.append(Create(REPLICA_SETS, current, ignore_existing=True))
        result.actions.append(Note(deployment, "Normal", "ScalingReplicaSet", f"Scaled up replica set {current['metadata']['name']} to {_replicas(current)}"))
        return current
    now_new = _replicas(current)
    if now_new > wanted:
        scale[current["metadata"]["name"]] = wanted
    elif now_new < wanted:
        room = max(0, wanted + surge - total - now_new)
        scale[current["metadata"]["name"]] = now_new + min(room, wanted - now_new)
    if total == 0:
        return current
    minimum = wanted - unavailable
    new_unavailable = now_new - _available(current)
    spare = total + now_new - minimum - new_unavailable
    # First pods of old sets that are not available: they help nobody (the new ones may be waiting for their room).
    for rs in old:
        broken = min(_replicas(rs) - _available(rs), max(0, spare))
        if broken > 0:
            scale[rs["metadata"]["name"]] = _replicas(rs) - broken
            spare -= broken
    available = sum(_available(rs) for rs in old) + _available(current)
    free = max(0, available - minimum)
    for rs in old:
        left = scale.get(rs["metadata"]["name"], _replicas(rs))
        step = min(left, free, max(0, spare))
        if step > 0:
            scale[rs["metadata"]["name"]] = left - step
            free -= step
            spare -= step
    return current


def _recreate(
    result: Plan, deployment: Json, current: Json | None, old: list[Json], old_pods: int, mine: list[Json], scale: dict[str, int]
) -> Json | None:
    for rs in old:
        if _replicas(rs):
            scale[rs["metadata"]["name"]] = 0
    if scale or old_pods:
        return current
    wanted = deployment["spec"].get("replicas", 1)
    if current is None:
        current = _new_set(deployment, mine, wanted)
        result.actions.append(Create(REPLICA_SETS, current, ignore_existing=True))
        result.actions.append(Note(deployment, "Normal", "ScalingReplicaSet", f"Scaled up replica set {current['metadata']['name']} to {wanted}"))
    elif _replicas(current) != wanted:
        scale[current["metadata"]["name"]] = wanted
    return current


def _scale_proportionally(deployment: Json, current: Json | None, old: list[Json], scale: dict[str, int]) -> None:
    """A paused Deployment is only scaled: the one active set, or every active one in proportion."""
    wanted = deployment["spec"].get("replicas", 1)
    active = [rs for rs in [*old, *([current] if current else [])] if _replicas(rs) > 0]
    if len(active) <= 1:
        target = active[0] if active else current
        if target is not None and _replicas(target) != wanted:
            scale[target["metadata"]["name"]] = wanted
        return
    total = sum(_replicas(rs) for rs in active)
    allowed = wanted + limits(deployment)[0] if wanted else 0
    before = int((active[-1]["metadata"].get("annotations") or {}).get(DESIRED, wanted))
    if before == wanted:
        return
    rest = allowed - total
    for rs in sorted(active, key=_replicas, reverse=True):
        share = round(_replicas(rs) * (allowed - total) / total)
        share = min(share, rest) if rest > 0 else max(share, rest)
        scale[rs["metadata"]["name"]] = max(0, _replicas(rs) + share)
        rest -= share
    largest = max(active, key=_replicas)["metadata"]["name"]
    scale[largest] = max(0, scale[largest] + rest)


def _new_set(deployment: Json, mine: list[Json], replicas: int) -> Json:
    digest = short_hash(deployment["spec"]["template"])
    template = json.loads(json.dumps(deployment["spec"]["template"]))
    labels = {**((template.get("metadata") or {}).get("labels") or {}), HASH_LABEL: digest}
    template.setdefault("metadata", {})["labels"] = labels
    selector = json.loads(json.dumps(deployment["spec"]["selector"]))
    selector["matchLabels"] = {**(selector.get("matchLabels") or {}), HASH_LABEL: digest}
    meta = deployment["metadata"]
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": f"{meta['name']}-{digest}",
            "namespace": meta["namespace"],
            "labels": labels,
            "annotations": _set_annotations(deployment, _next_revision(mine)),
            "ownerReferences": [owner_reference(deployment)],
        },
        "spec": {
            "replicas": replicas,
            "minReadySeconds": deployment["spec"].get("minReadySeconds", 0),
            "selector": selector,
            "template": template,
        },
    }


def _set_annotations(deployment: Json, revision: int) -> dict[str, str]:
    wanted = deployment["spec"].get("replicas", 1)
    own = {k: v for k, v in (deployment["metadata"].get("annotations") or {}).items() if k not in _NOT_INHERITED}
    return {**own, REVISION: str(revision), DESIRED: str(wanted), MAXIMUM: str(wanted + limits(deployment)[0])}


def _write_sets(
    result: Plan, deployment: Json, current: Json | None, old: list[Json], scale: dict[str, int], mine: list[Json]
) -> None:
    """Sizes, annotations and minReadySeconds of the existing sets, one patch each."""
    wanted = deployment["spec"].get("replicas", 1)
    for rs in mine:
        name = rs["metadata"]["name"]
        patch: Json = {}
        annotations = rs["metadata"].get("annotations") or {}
        if (size := scale.get(name, _replicas(rs))) != _replicas(rs):
            patch["spec"] = {"replicas": size}
            direction = "up" if size > _replicas(rs) else "down"
            message = f"Scaled {direction} replica set {name} from {_replicas(rs)} to {size}"
            result.actions.append(Note(deployment, "Normal", "ScalingReplicaSet", message))
        target = dict(annotations)
        if rs is current:
            revision = _revision(rs)
            target |= _set_annotations(deployment, revision if revision > max((_revision(o) for o in old), default=0) else _next_revision(mine))
            if rs["spec"].get("minReadySeconds", 0) != deployment["spec"].get("minReadySeconds", 0):
                patch.setdefault("spec", {})["minReadySeconds"] = deployment["spec"].get("minReadySeconds", 0)
        elif size:
            target |= {DESIRED: str(wanted), MAXIMUM: str(wanted + limits(deployment)[0])}
        if target != annotations:
            patch["metadata"] = {"annotations": target}
        if patch:
            patch.setdefault("metadata", {})["uid"] = rs["metadata"]["uid"]
            result.actions.append(Patch(REPLICA_SETS, rs, patch))
            rs = {**rs, "metadata": {**rs["metadata"], "annotations": target}}
        if name == (current or {}).get("metadata", {}).get("name"):
            current = rs
    if current is not None:
        own = (current["metadata"].get("annotations") or {}).get(REVISION)
        if own and (deployment["metadata"].get("annotations") or {}).get(REVISION) != own:
            result.actions.append(Patch(DEPLOYMENTS, deployment, {"metadata": {"uid": deployment["metadata"]["uid"], "annotations": {REVISION: own}}}))


def _status(result: Plan, deployment: Json, current: Json | None, old: list[Json], scale: dict[str, int], now: float) -> None:
    spec, previous = deployment["spec"], deployment.get("status") or {}
    wanted = spec.get("replicas", 1)
    sets = [*old, *([current] if current else [])]
    total = sum((rs.get("status") or {}).get("replicas", 0) for rs in sets)
    ready = sum((rs.get("status") or {}).get("readyReplicas", 0) for rs in sets)
    available = sum(_available(rs) for rs in sets)
    updated = ((current or {}).get("status") or {}).get("replicas", 0)
    status: Json = {
        "observedGeneration": deployment["metadata"].get("generation"),
        "replicas": total or None,
        "updatedReplicas": updated or None,
        "readyReplicas": ready or None,
        "availableReplicas": available or None,
        "unavailableReplicas": max(0, wanted - available) or None,
    }
    before, when = previous.get("conditions") or [], stamp(now)
    enough = available >= wanted - limits(deployment)[1]
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
    wanted = deployment["spec"].get("replicas", 1)
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


def _is_complete(deployment: Json, current: Json | None, old: list[Json]) -> bool:
    wanted = deployment["spec"].get("replicas", 1)
    return current is not None and _available(current) == wanted and not any((rs.get("status") or {}).get("replicas") for rs in old)


def _clean_up(result: Plan, deployment: Json, old: list[Json]) -> None:
    limit = deployment["spec"].get("revisionHistoryLimit", 10)
    idle = [rs for rs in old if not _replicas(rs) and "deletionTimestamp" not in rs["metadata"]]
    idle.sort(key=_revision)
    for rs in idle[: max(0, len(idle) - limit)]:
        result.actions.append(Delete(REPLICA_SETS, rs))


def _without_hash(template: Json) -> Json:
    meta = template.get("metadata") or {}
    labels = {key: value for key, value in (meta.get("labels") or {}).items() if key != HASH_LABEL}
    rest = {key: value for key, value in meta.items() if value not in (None, {}) and key not in ("labels", "creationTimestamp")}
    return {"metadata": {**rest, "labels": labels}, "spec": template["spec"]}


def _revision(rs: Json) -> int:
    return int((rs["metadata"].get("annotations") or {}).get(REVISION, "0"))


def _next_revision(mine: list[Json]) -> int:
    return max((_revision(rs) for rs in mine), default=0) + 1


def _replicas(rs: Json) -> int:
    return int(rs["spec"].get("replicas", 1))


def _available(rs: Json) -> int:
    return int((rs.get("status") or {}).get("availableReplicas", 0))


def _number(value: int | str, whole: int, *, up: bool) -> int:
    if isinstance(value, int):
        return value
    part = whole * int(value.rstrip("%")) / 100
    return math.ceil(part) if up else math.floor(part)
