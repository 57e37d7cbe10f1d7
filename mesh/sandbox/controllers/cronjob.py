"""CronJob → Jobs. Pure."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from mesh.sandbox.controllers.cron import BadSchedule, Schedule, parse_schedule
from mesh.sandbox.controllers.plan import Create, Delete, Note, Plan, is_controlled_by, owner_reference, status_patch
from mesh.sandbox.kubeclient import CRON_JOBS, JOBS
from mesh.sandbox.times import parse_stamp, stamp

Json = dict[str, Any]


def plan(cron: Json, jobs: Sequence[Json], now: float) -> Plan:
    """Start what is due, remove old Jobs, look again at the next time. `jobs` are all of the namespace."""
    result = Plan()
    if "deletionTimestamp" in cron["metadata"]:
        return result
    mine = [job for job in jobs if is_controlled_by(job, cron)]
    active = [job for job in mine if _end(job) is None]
    status: Json = {"active": [_reference(job) for job in active] or None}
    _trim(result, cron, mine)
    try:
        schedule = parse_schedule(cron["spec"]["schedule"])
        zone = ZoneInfo(cron["spec"]["timeZone"]) if cron["spec"].get("timeZone") else UTC
    except (BadSchedule, KeyError, ValueError) as exc:
        result.actions.append(Note(cron, "Warning", "UnparseableSchedule", str(exc)))
        return result
    if not cron["spec"].get("suspend"):
        last = (cron.get("status") or {}).get("lastScheduleTime") or cron["metadata"]["creationTimestamp"]
        due = _last_due(schedule, datetime.fromtimestamp(parse_stamp(last), zone), now)
        if due is not None:
            _start(result, cron, active, due, now, status)
        following = schedule.after(datetime.fromtimestamp(now, zone))
        if following is not None:
            result.again(following.timestamp() - now)
    result.actions += status_patch(CRON_JOBS, cron, status)
    return result


def _last_due(schedule: Schedule, since: datetime, now: float) -> float | None:
    """The latest scheduled time in (since, now]; earlier missed ones are not made up for."""
    found = None
    moment = schedule.after(since)
    while moment is not None and moment.timestamp() <= now:
        found = moment.timestamp()
        moment = schedule.after(moment)
    return found


def _start(result: Plan, cron: Json, active: list[Json], due: float, now: float, status: Json) -> None:
    spec = cron["spec"]
    limit = spec.get("startingDeadlineSeconds")
    if limit is not None and now - due > limit:
        result.actions.append(Note(cron, "Warning", "MissSchedule", f"Missed scheduled time to start a job: {stamp(due)}"))
        return
    policy = spec.get("concurrencyPolicy", "Allow")
    if active and policy == "Forbid":
        result.actions.append(Note(cron, "Normal", "JobAlreadyActive", "Not starting job because prior execution is running and concurrency policy is Forbid"))
        return
    if policy == "Replace":
        result.actions += [Delete(JOBS, job, propagation="Background") for job in active]
    job = _job(cron, due)
    result.actions.append(Create(JOBS, job, ignore_existing=True))
    result.actions.append(Note(cron, "Normal", "SuccessfulCreate", f"Created job {job['metadata']['name']}"))
    status["lastScheduleTime"] = stamp(due)


def _job(cron: Json, due: float) -> Json:
    template = cron["spec"]["jobTemplate"]
    meta = template.get("metadata") or {}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": f"{cron['metadata']['name']}-{int(due) // 60}",  # one name per minute: the same run is never started twice
            "namespace": cron["metadata"]["namespace"],
            "labels": dict(meta.get("labels") or {}),
            "annotations": {**(meta.get("annotations") or {}), "batch.kubernetes.io/cronjob-scheduled-timestamp": stamp(due)},
            "ownerReferences": [owner_reference(cron)],
        },
        "spec": template["spec"],
    }


def _trim(result: Plan, cron: Json, mine: list[Json]) -> None:
    for kind, limit in (("Complete", cron["spec"].get("successfulJobsHistoryLimit", 3)), ("Failed", cron["spec"].get("failedJobsHistoryLimit", 1))):
        ended = sorted((job for job in mine if _end(job) == kind), key=lambda job: str(job["metadata"]["creationTimestamp"]))
        result.actions += [Delete(JOBS, job, propagation="Background") for job in ended[: max(0, len(ended) - limit)]]


def _end(job: Json) -> str | None:
    for item in (job.get("status") or {}).get("conditions") or ():
        if item["type"] in ("Complete", "Failed") and item["status"] == "True":
            return str(item["type"])
    return None


def _reference(job: Json) -> Json:
    meta = job["metadata"]
    return {"apiVersion": "batch/v1", "kind": "Job", "name": meta["name"], "namespace": meta["namespace"], "uid": meta["uid"]}
