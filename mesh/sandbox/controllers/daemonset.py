"""DaemonSet → one pod per matching node. Pure."""

from collections.abc import Sequence
from typing import Any

from mesh.sandbox.controllers.plan import (
    Create,
    Delete,
    Plan,
    is_controlled_by,
    pod_from_template,
    short_hash,
    status_patch,
)
from mesh.sandbox.controllers.pods import is_ready, seconds_to_available
from mesh.sandbox.kubeclient import DAEMON_SETS, PODS

Json = dict[str, Any]
HASH_LABEL = "controller-revision-hash"


def plan(ds: Json, pods: Sequence[Json], nodes: Sequence[Json], now: float) -> Plan:
    """The next step. `pods` are all of the namespace."""
    result = Plan()
    revision = short_hash(ds["spec"]["template"])
    mine = [pod for pod in pods if is_controlled_by(pod, ds)]
    wanted = [node for node in nodes if _fits(ds, node)]
    names = {node["metadata"]["name"] for node in wanted}
    live: dict[str, list[Json]] = {}
    for pod in mine:
        live.setdefault(_node_of(pod), []).append(pod)
    if "deletionTimestamp" not in ds["metadata"]:
        _step(result, ds, live, names, revision)
    _status(result, ds, live, names, revision, now)
    return result


def _step(result: Plan, ds: Json, live: dict[str, list[Json]], names: set[str], revision: str) -> None:
    rolling = (ds["spec"].get("updateStrategy") or {}).get("type", "RollingUpdate") == "RollingUpdate"
    for node, pods in live.items():
        for index, pod in enumerate(pods):
            finished = (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")
            outdated = rolling and pod["metadata"]["labels"].get(HASH_LABEL) != revision
            if (node not in names or index > 0 or finished or outdated) and "deletionTimestamp" not in pod["metadata"]:
                result.actions.append(Delete(PODS, pod))
    for node in sorted(names - live.keys()):
        pod = pod_from_template(ds, ds["spec"]["template"], {HASH_LABEL: revision}, prefix=f"{ds['metadata']['name']}-")
        field = {"key": "metadata.name", "operator": "In", "values": [node]}
        terms = {"nodeSelectorTerms": [{"matchFields": [field]}]}
        pod["spec"].setdefault("affinity", {})["nodeAffinity"] = {"requiredDuringSchedulingIgnoredDuringExecution": terms}
        pod["spec"].setdefault("tolerations", []).append({"operator": "Exists", "effect": "NoSchedule", "key": "node.kubernetes.io/unschedulable"})
        result.actions.append(Create(PODS, pod))


def _status(result: Plan, ds: Json, live: dict[str, list[Json]], names: set[str], revision: str, now: float) -> None:
    here = [pods[0] for node, pods in live.items() if node in names]
    waits = [seconds_to_available(pod, ds["spec"].get("minReadySeconds", 0), now) for pod in here]
    for wait in waits:
        if wait:
            result.again(wait)
    available = sum(wait == 0 for wait in waits)
    status: Json = {
        "currentNumberScheduled": len(here),
        "desiredNumberScheduled": len(names),
        "numberMisscheduled": len(live.keys() - names),
        "numberReady": sum(map(is_ready, here)),
        "numberAvailable": available or None,
        "numberUnavailable": len(names) - available or None,
        "updatedNumberScheduled": sum(pod["metadata"]["labels"].get(HASH_LABEL) == revision for pod in here) or None,
        "observedGeneration": ds["metadata"].get("generation"),
    }
    result.actions += status_patch(DAEMON_SETS, ds, status)


def _fits(ds: Json, node: Json) -> bool:
    selector = ds["spec"]["template"]["spec"].get("nodeSelector") or {}
    return bool(selector.items() <= (node["metadata"].get("labels") or {}).items())


def _node_of(pod: Json) -> str:
    if pod["spec"].get("nodeName"):
        return str(pod["spec"]["nodeName"])
    terms = pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    return str(terms[0]["matchFields"][0]["values"][0])
