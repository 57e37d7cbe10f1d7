"""Deployment → ReplicaSets: which there are, their sizes (`rollout`), history and status (`deploymentstatus`). Pure.

Every call looks at the present state only and takes the next safe step. Source: Kubernetes "Deployments".
"""

import json
from collections.abc import Sequence
from typing import Any

from mesh.sandbox.controllers import deploymentstatus, rollout
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
    short_hash,
)
from mesh.sandbox.controllers.rollout import DESIRED, available, desired, limits, replicas
from mesh.sandbox.kubeclient import DEPLOYMENTS, REPLICA_SETS

Json = dict[str, Any]
REVISION = "deployment.kubernetes.io/revision"
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
    paused, sizes = bool(deployment["spec"].get("paused")), rollout.Sizes()
    if paused:
        sizes = rollout.proportional(deployment, current, old)
    elif deployment["spec"].get("strategy", {}).get("type") == "Recreate":
        sizes = rollout.recreating(old)
        if not sizes and not old_pods:
            wanted = desired(deployment)
            if current is None:
                current = _make_set(result, deployment, mine, wanted)
            else:
                sizes = {current["metadata"]["name"]: wanted}
    elif current is None:
        current = _make_set(result, deployment, mine, rollout.first_size(deployment, old))
    else:
        sizes = rollout.rolling(deployment, current, old)
    _write_sets(result, deployment, current, old, sizes, mine)
    deploymentstatus.report(result, deployment, current, old, now)
    if not paused and _is_complete(deployment, current, old):
        _clean_up(result, deployment, old)
    return result


def same_template(one: Json, other: Json) -> bool:
    """Whether two pod templates are equal but for the hash label."""
    return _without_hash(one) == _without_hash(other)


def _make_set(result: Plan, deployment: Json, mine: list[Json], size: int) -> Json:
    made = _new_set(deployment, mine, size)
    result.actions.append(Create(REPLICA_SETS, made, ignore_existing=True))
    result.actions.append(Note(deployment, "Normal", "ScalingReplicaSet", f"Scaled up replica set {made['metadata']['name']} to {size}"))
    return made


def _new_set(deployment: Json, mine: list[Json], size: int) -> Json:
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
            "replicas": size,
            "minReadySeconds": deployment["spec"].get("minReadySeconds", 0),
            "selector": selector,
            "template": template,
        },
    }


def _set_annotations(deployment: Json, revision: int) -> dict[str, str]:
    wanted = desired(deployment)
    own = {k: v for k, v in (deployment["metadata"].get("annotations") or {}).items() if k not in _NOT_INHERITED}
    return {**own, REVISION: str(revision), DESIRED: str(wanted), MAXIMUM: str(wanted + limits(deployment)[0])}


def _write_sets(
    result: Plan, deployment: Json, current: Json | None, old: list[Json], sizes: rollout.Sizes, mine: list[Json]
) -> None:
    """Sizes, annotations and minReadySeconds of the existing sets, one patch each."""
    wanted = desired(deployment)
    for rs in mine:
        name = rs["metadata"]["name"]
        patch: Json = {}
        annotations = rs["metadata"].get("annotations") or {}
        if (size := sizes.get(name, replicas(rs))) != replicas(rs):
            patch["spec"] = {"replicas": size}
            direction = "up" if size > replicas(rs) else "down"
            message = f"Scaled {direction} replica set {name} from {replicas(rs)} to {size}"
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


def _is_complete(deployment: Json, current: Json | None, old: list[Json]) -> bool:
    wanted = desired(deployment)
    return current is not None and available(current) == wanted and not any((rs.get("status") or {}).get("replicas") for rs in old)


def _clean_up(result: Plan, deployment: Json, old: list[Json]) -> None:
    limit = deployment["spec"].get("revisionHistoryLimit", 10)
    idle = [rs for rs in old if not replicas(rs) and "deletionTimestamp" not in rs["metadata"]]
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
