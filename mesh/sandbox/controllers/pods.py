"""What controllers ask about pods. Pure."""

from typing import Any

from mesh.sandbox.times import parse_stamp

Json = dict[str, Any]


def is_active(pod: Json) -> bool:
    """Neither finished nor being deleted."""
    return (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed") and "deletionTimestamp" not in pod["metadata"]


def ready_since(pod: Json) -> float | None:
    """When the pod became ready, or None while it is not."""
    for item in (pod.get("status") or {}).get("conditions") or ():
        if item["type"] == "Ready" and item["status"] == "True":
            return parse_stamp(item["lastTransitionTime"]) if item.get("lastTransitionTime") else 0.0
    return None


def is_ready(pod: Json) -> bool:
    return ready_since(pod) is not None


def seconds_to_available(pod: Json, min_ready_seconds: int, now: float) -> float | None:
    """0 = available; positive = ready, but not long enough yet; None = not ready."""
    since = ready_since(pod)
    if since is None:
        return None
    return max(0.0, since + min_ready_seconds - now) if min_ready_seconds else 0.0


def deletion_order(pod: Json) -> tuple[int, int, int, int, str]:
    """Which pod goes first when there are too many: the one that is missed least.

    Source: kube-controller-manager ActivePodsWithRanks: unassigned, pending, not ready, cheaper, restarted more, newer.
    """
    status = pod.get("status") or {}
    phase = {"Pending": 0, "Unknown": 1}.get(status.get("phase", "Pending"), 2)
    cost = int((pod["metadata"].get("annotations") or {}).get("controller.kubernetes.io/pod-deletion-cost", "0"))
    restarts = max((c.get("restartCount", 0) for c in status.get("containerStatuses") or ()), default=0)
    created = pod["metadata"].get("creationTimestamp") or ""
    newest_first = "".join(chr(0x10FFFF - ord(char)) for char in created)
    return (bool(pod["spec"].get("nodeName")) * 3 + phase, int(is_ready(pod)), cost, -restarts, newest_first)
