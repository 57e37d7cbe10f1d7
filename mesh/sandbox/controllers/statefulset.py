"""StatefulSet → pods name-0, name-1, …: up in order, down and updated in reverse order. Pure.

Not here: volumeClaimTemplates (the sandbox has no storage) and `partition` (old revisions are not kept); both are said by Events.
"""

from collections.abc import Sequence
from typing import Any

from mesh.sandbox.controllers.plan import (
    Create,
    Delete,
    Note,
    Plan,
    is_controlled_by,
    pod_from_template,
    short_hash,
    status_patch,
)
from mesh.sandbox.controllers.pods import is_active, is_ready, seconds_to_available
from mesh.sandbox.kubeclient import PODS, STATEFUL_SETS

Json = dict[str, Any]
HASH_LABEL = "controller-revision-hash"


def plan(sts: Json, pods: Sequence[Json], now: float) -> Plan:
    """The next step. `pods` are all of the namespace."""
    result = Plan()
    revision = f"{sts['metadata']['name']}-{short_hash(sts['spec']['template'])}"
    mine = {number: pod for pod in pods if is_controlled_by(pod, sts) and (number := _ordinal(sts, pod)) is not None}
    if "deletionTimestamp" not in sts["metadata"]:
        if sts["spec"].get("volumeClaimTemplates"):
            result.actions.append(Note(sts, "Warning", "FailedCreate", "volumeClaimTemplates: the sandbox has no storage provisioner; use emptyDir"))
        else:
            _step(result, sts, mine, revision)
    _status(result, sts, mine, revision, now)
    return result


def _step(result: Plan, sts: Json, mine: dict[int, Json], revision: str) -> None:
    start = (sts["spec"].get("ordinals") or {}).get("start", 0)
    wanted = range(start, start + sts["spec"].get("replicas", 1))
    ordered = sts["spec"].get("podManagementPolicy", "OrderedReady") == "OrderedReady"
    for number in wanted:
        pod = mine.get(number)
        if pod is None:
            result.actions.append(Create(PODS, _pod(sts, number, revision), ignore_existing=True))
        elif not is_active(pod) and "deletionTimestamp" not in pod["metadata"]:
            result.actions.append(Delete(PODS, pod))  # a finished pod is made again under its name
        if ordered and (pod is None or not is_active(pod) or not is_ready(pod)):
            break
    else:
        if _scale_down(result, mine, wanted, ordered):
            _update(result, sts, mine, wanted, revision)
        return
    if ordered:
        broken = [pod for number, pod in mine.items() if number in wanted and _is_outdated(pod, revision) and not is_ready(pod)]
        for pod in broken:  # an update that repairs a pod that never became ready must not wait for it
            if "deletionTimestamp" not in pod["metadata"] and _rolls(sts):
                result.actions.append(Delete(PODS, pod))


def _scale_down(result: Plan, mine: dict[int, Json], wanted: range, ordered: bool) -> bool:
    """Remove what is too many, the highest first; True when nothing is."""
    surplus = sorted((number for number in mine if number not in wanted), reverse=True)
    for number in surplus[:1] if ordered else surplus:
        if "deletionTimestamp" not in mine[number]["metadata"]:
            result.actions.append(Delete(PODS, mine[number]))
    return not surplus


def _update(result: Plan, sts: Json, mine: dict[int, Json], wanted: range, revision: str) -> None:
    """One pod of an old revision at a time, the highest first, while all others are ready."""
    if not _rolls(sts):
        return
    if ((sts["spec"].get("updateStrategy") or {}).get("rollingUpdate") or {}).get("partition"):
        result.actions.append(Note(sts, "Warning", "NotEnforced", "updateStrategy.rollingUpdate.partition: the sandbox updates every pod"))
    for number in sorted(wanted, reverse=True):
        pod = mine.get(number)
        if pod is None or not is_ready(pod) or "deletionTimestamp" in pod["metadata"]:
            return
        if _is_outdated(pod, revision):
            result.actions.append(Delete(PODS, pod))
            return


def _status(result: Plan, sts: Json, mine: dict[int, Json], revision: str, now: float) -> None:
    live = [pod for pod in mine.values() if is_active(pod)]
    waits = [seconds_to_available(pod, sts["spec"].get("minReadySeconds", 0), now) for pod in live]
    for wait in waits:
        if wait:
            result.again(wait)
    updated = sum(not _is_outdated(pod, revision) for pod in live)
    old = sts.get("status") or {}
    done = updated == len(live) == sts["spec"].get("replicas", 1)
    current = revision if done or not old.get("currentRevision") else old["currentRevision"]
    status: Json = {
        "replicas": len(live),
        "readyReplicas": sum(map(is_ready, live)) or None,
        "availableReplicas": sum(wait == 0 for wait in waits),
        "currentReplicas": sum(pod["metadata"]["labels"].get(HASH_LABEL) == current for pod in live) or None,
        "updatedReplicas": updated or None,
        "currentRevision": current,
        "updateRevision": revision,
        "observedGeneration": sts["metadata"].get("generation"),
    }
    result.actions += status_patch(STATEFUL_SETS, sts, status)


def _pod(sts: Json, number: int, revision: str) -> Json:
    name = f"{sts['metadata']['name']}-{number}"
    labels = {"statefulset.kubernetes.io/pod-name": name, "apps.kubernetes.io/pod-index": str(number), HASH_LABEL: revision}
    pod = pod_from_template(sts, sts["spec"]["template"], labels, name=name)
    pod["spec"]["hostname"] = name
    if sts["spec"].get("serviceName"):
        pod["spec"]["subdomain"] = sts["spec"]["serviceName"]
    return pod


def _ordinal(sts: Json, pod: Json) -> int | None:
    head, _, tail = pod["metadata"]["name"].rpartition("-")
    return int(tail) if head == sts["metadata"]["name"] and tail.isdecimal() else None


def _is_outdated(pod: Json, revision: str) -> bool:
    return bool(pod["metadata"]["labels"].get(HASH_LABEL) != revision)


def _rolls(sts: Json) -> bool:
    return bool((sts["spec"].get("updateStrategy") or {}).get("type", "RollingUpdate") == "RollingUpdate")
