"""Job → pods that run to their end. Pure.

Source: Kubernetes "Jobs": completions, parallelism, backoffLimit, Indexed mode, deadlines, TTL.
"""

from collections.abc import Sequence
from typing import Any

from mesh.sandbox.controllers.plan import Create, Delete, Note, Plan, is_controlled_by, pod_from_template, status_patch
from mesh.sandbox.controllers.pods import is_active, is_ready
from mesh.sandbox.kubeclient import JOBS, PODS
from mesh.sandbox.times import parse_stamp, stamp

Json = dict[str, Any]
INDEX = "batch.kubernetes.io/job-completion-index"
_FIRST_BACKOFF_SECONDS, _LONGEST_BACKOFF_SECONDS = 10.0, 360.0


def plan(job: Json, pods: Sequence[Json], now: float) -> Plan:
    """The next step. `pods` are all of the namespace."""
    result = Plan()
    if "deletionTimestamp" in job["metadata"]:
        return result
    spec, status = job["spec"], job.get("status") or {}
    mine = [pod for pod in pods if is_controlled_by(pod, job)]
    if end := _finished_at(status):
        _expire(result, job, end, now)
        return result
    started = status.get("startTime") or (None if spec.get("suspend") else stamp(now))
    succeeded, failed = _ended(mine, "Succeeded"), _ended(mine, "Failed")
    done = _completed(spec, succeeded)
    active = [pod for pod in mine if is_active(pod)]
    failure = _failure(spec, started, len(failed), now)
    if failure is None and started and (limit := spec.get("activeDeadlineSeconds")) is not None:
        result.again(max(0.0, parse_stamp(started) + limit - now))
    wanted = _needed(spec, done, bool(succeeded), active)
    if failure or (wanted == 0 and not active):
        wanted = 0
    fresh: Json = {
        "startTime": started,
        "active": len(active) or None,
        "ready": sum(map(is_ready, active)),
        "succeeded": len(succeeded) or None,
        "failed": len(failed) or None,
    }
    if spec.get("completionMode") == "Indexed":
        fresh["completedIndexes"] = _ranges(done) or None
    if failure or spec.get("suspend") or _is_complete(spec, done, succeeded, active):
        for pod in active:
            result.actions.append(Delete(PODS, pod))
        if failure or not spec.get("suspend"):
            fresh |= _end(result, job, failure, active, now)
    else:
        _adjust(result, job, active, wanted, done, failed, now)
    result.actions += status_patch(JOBS, job, fresh)
    return result


def _ended(mine: Sequence[Json], phase: str) -> list[Json]:
    return [pod for pod in mine if (pod.get("status") or {}).get("phase") == phase]


def _completed(spec: Json, succeeded: list[Json]) -> list[int]:
    if spec.get("completionMode") == "Indexed":
        return sorted({int(pod["metadata"]["annotations"][INDEX]) for pod in succeeded})
    return list(range(len(succeeded)))


def _is_complete(spec: Json, done: list[int], succeeded: list[Json], active: list[Json]) -> bool:
    if spec.get("completions") is not None:
        return len(done) >= int(spec["completions"])
    return bool(succeeded) and not active  # a work queue: one success means that no more work is there


def _needed(spec: Json, done: list[int], any_success: bool, active: list[Json]) -> int:
    """How many pods should be active."""
    parallel = int(spec.get("parallelism", 1))
    if spec.get("completions") is None:
        return len(active) if any_success else parallel
    return min(parallel, int(spec["completions"]) - len(done))


def _failure(spec: Json, started: str | None, failed: int, now: float) -> tuple[str, str] | None:
    if failed > spec.get("backoffLimit", 6):
        return "BackoffLimitExceeded", "Job has reached the specified backoff limit"
    limit = spec.get("activeDeadlineSeconds")
    if started and limit is not None and now >= parse_stamp(started) + limit:
        return "DeadlineExceeded", "Job was active longer than specified deadline"
    return None


def _adjust(result: Plan, job: Json, active: list[Json], wanted: int, done: list[int], failed: list[Json], now: float) -> None:
    for pod in active[wanted:]:
        result.actions.append(Delete(PODS, pod))
    missing = wanted - len(active)
    if missing <= 0:
        return
    if failed:
        ends = [parse_stamp(_last_end(pod)) for pod in failed]
        wait = max(ends) + min(_FIRST_BACKOFF_SECONDS * 2 ** (len(failed) - 1), _LONGEST_BACKOFF_SECONDS) - now
        if wait > 0:
            result.again(wait)
            return
    used = {int(pod["metadata"]["annotations"][INDEX]) for pod in active if INDEX in (pod["metadata"].get("annotations") or {})}
    indexed = job["spec"].get("completionMode") == "Indexed"
    free = iter([n for n in range(int(job["spec"].get("completions") or 0)) if n not in used and n not in done])
    for _ in range(missing):
        result.actions.append(Create(PODS, _pod(job, next(free) if indexed else None)))


def _pod(job: Json, index: int | None) -> Json:
    name = job["metadata"]["name"]
    labels = {"batch.kubernetes.io/job-name": name, "batch.kubernetes.io/controller-uid": job["metadata"]["uid"], "job-name": name}
    if index is None:
        return pod_from_template(job, job["spec"]["template"], labels, prefix=f"{name}-")
    pod = pod_from_template(job, job["spec"]["template"], {**labels, INDEX: str(index)}, prefix=f"{name}-{index}-")
    pod["metadata"].setdefault("annotations", {})[INDEX] = str(index)
    pod["spec"]["hostname"] = f"{name}-{index}"
    for container in [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]:
        container.setdefault("env", []).append({"name": "JOB_COMPLETION_INDEX", "value": str(index)})
    return pod


def _end(result: Plan, job: Json, failure: tuple[str, str] | None, active: list[Json], now: float) -> Json:
    """The last status: the reason first, the end when no pod is left."""
    when = stamp(now)
    kinds = ("FailureTarget", "Failed") if failure else ("SuccessCriteriaMet", "Complete")
    reason, message = failure or ("CompletionsReached", "Reached expected number of succeeded pods")
    known = {item["type"]: item for item in (job.get("status") or {}).get("conditions") or ()}
    for kind in kinds[: 1 if active else 2]:
        known.setdefault(kind, {"type": kind, "status": "True", "reason": reason, "message": message, "lastProbeTime": when, "lastTransitionTime": when})
    status: Json = {"conditions": list(known.values())}
    if not active:
        status |= {"active": None, "ready": 0}
        if not failure:
            status["completionTime"] = when
        result.actions.append(Note(job, "Warning" if failure else "Normal", reason if failure else "Completed", message if failure else "Job completed"))
    return status


def _finished_at(status: Json) -> str | None:
    for item in status.get("conditions") or ():
        if item["type"] in ("Complete", "Failed") and item["status"] == "True":
            return str(item["lastTransitionTime"])
    return None


def _expire(result: Plan, job: Json, end: str, now: float) -> None:
    ttl = job["spec"].get("ttlSecondsAfterFinished")
    if ttl is None:
        return
    left = parse_stamp(end) + ttl - now
    if left <= 0:
        result.actions.append(Delete(JOBS, job, propagation="Foreground"))
    else:
        result.again(left)


def _last_end(pod: Json) -> str:
    status = pod.get("status") or {}
    ends = [c["state"]["terminated"]["finishedAt"] for c in status.get("containerStatuses") or () if "terminated" in c["state"]]
    return str(max(ends, default=pod["metadata"]["creationTimestamp"]))


def _ranges(numbers: list[int]) -> str:
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ",".join(str(a) if a == b else f"{a}-{b}" if b > a + 1 else f"{a},{b}" for a, b in parts)
