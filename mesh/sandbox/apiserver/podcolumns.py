"""The row of a Pod in `kubectl get pods`: above all its STATUS, which no field of the object holds. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from mesh.sandbox.apiserver.humanize import age

Obj = dict[str, Any]


def pod_cells(pod: Obj, now: datetime) -> list[Any]:
    """Name, Ready, Status, Restarts, Age and the wide ones."""
    spec, st = pod["spec"], pod.get("status", {})
    sidecars = {c["name"] for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always"}
    ready = sum(bool(c.get("ready")) for c in st.get("containerStatuses") or ())
    ready += sum(bool(c.get("ready") and c.get("started")) for c in st.get("initContainerStatuses") or () if c["name"] in sidecars)
    total = len(spec.get("containers") or ()) + len(sidecars)
    gates = spec.get("readinessGates") or ()
    true_conditions = {c["type"] for c in st.get("conditions") or () if c["status"] == "True"}
    passed = sum(gate["conditionType"] in true_conditions for gate in gates)
    return [
        pod["metadata"]["name"], f"{ready}/{total}", pod_reason(pod, sidecars), _restarts(st, sidecars, now), age(pod["metadata"].get("creationTimestamp"), now),
        st.get("podIP") or "<none>", spec.get("nodeName") or "<none>", st.get("nominatedNodeName") or "<none>", f"{passed}/{len(gates)}" if gates else "<none>",
    ]  # fmt: skip


def pod_reason(pod: Obj, sidecars: set[str]) -> str:
    """What is going on with the pod, in one word.

    The phase, overruled by status.reason, then by the first init container that is not through, else by the last container
    (in reverse order, so the first one wins) that waits or ended; Terminating beats all once deletion has begun.
    """
    st, meta = pod.get("status", {}), pod["metadata"]
    reason = st.get("reason") or st.get("phase") or "Unknown"
    if any(c["type"] == "PodScheduled" and c.get("reason") == "SchedulingGated" for c in st.get("conditions") or ()):
        reason = "SchedulingGated"
    init = _init_reason(pod, sidecars)
    if init:
        reason = init
    else:
        running = False
        for container in reversed(st.get("containerStatuses") or ()):
            state = container.get("state") or {}
            waiting, ended = state.get("waiting") or {}, state.get("terminated")
            if waiting.get("reason"):
                reason = waiting["reason"]
            elif ended is not None:
                reason = ended.get("reason") or _exit(ended)
            elif container.get("ready") and "running" in state:
                running = True
        if reason == "Completed" and running:
            is_ready = any(c["type"] == "Ready" and c["status"] == "True" for c in st.get("conditions") or ())
            reason = "Running" if is_ready else "NotReady"
    if meta.get("deletionTimestamp"):
        if st.get("reason") == "NodeLost":
            return "Unknown"
        if st.get("phase") not in ("Succeeded", "Failed"):
            return "Terminating"
    return str(reason)


def _init_reason(pod: Obj, sidecars: set[str]) -> str | None:
    statuses = pod.get("status", {}).get("initContainerStatuses") or []
    total = len(pod["spec"].get("initContainers") or ())
    for index, container in enumerate(statuses):
        state = container.get("state") or {}
        ended, waiting = state.get("terminated"), state.get("waiting") or {}
        if ended is not None and ended.get("exitCode", 0) == 0:
            continue
        if container["name"] in sidecars and container.get("started"):
            continue
        if ended is not None:
            return f"Init:{ended.get('reason') or _exit(ended)}"
        if waiting.get("reason") and waiting["reason"] != "PodInitializing":
            return f"Init:{waiting['reason']}"
        return f"Init:{index}/{total}"
    return None


def _exit(ended: Mapping[str, Any]) -> str:
    return f"Signal:{ended['signal']}" if ended.get("signal") else f"ExitCode:{ended.get('exitCode', 0)}"


def _restarts(st: Obj, sidecars: set[str], now: datetime) -> str:
    counted = [*(st.get("containerStatuses") or ()), *(c for c in st.get("initContainerStatuses") or () if c["name"] in sidecars)]
    initializing = any(not (c.get("state") or {}).get("terminated") and not c.get("started") for c in st.get("initContainerStatuses") or ())
    if initializing and not counted:
        counted = list(st.get("initContainerStatuses") or ())
    total = sum(c.get("restartCount", 0) for c in counted)
    ends = [c["lastState"]["terminated"]["finishedAt"] for c in counted if ((c.get("lastState") or {}).get("terminated") or {}).get("finishedAt")]
    return f"{total} ({age(max(ends), now)} ago)" if total and ends else str(total)
