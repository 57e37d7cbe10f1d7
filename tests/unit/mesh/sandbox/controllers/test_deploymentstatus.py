"""Counts and conditions of a Deployment."""

from typing import Any

import pytest

from mesh.sandbox.controllers.deploymentstatus import report
from mesh.sandbox.controllers.plan import Patch, Plan
from mesh.sandbox.times import parse_stamp, stamp

Json = dict[str, Any]
NOW = parse_stamp("2026-01-01T00:10:00Z")


def deployment(status: Json | None = None, **spec: Any) -> Json:
    meta = {"name": "web", "namespace": "ns", "uid": "u", "generation": 2}
    return {"metadata": meta, "spec": {"replicas": 2, "progressDeadlineSeconds": 60, **spec}, "status": status or {}}


def rs(name: str, replicas: int, available: int) -> Json:
    counts = {"replicas": replicas, "readyReplicas": available, "availableReplicas": available}
    return {"metadata": {"name": name}, "spec": {"replicas": replicas}, "status": counts}


def reported(found: Json, current: Json | None, *old: Json, now: float = NOW) -> tuple[Json, float | None]:
    """(the status that is written, when to look again)"""
    result = Plan()
    report(result, found, current, list(old), now)
    (patch,) = result.actions
    assert isinstance(patch, Patch) and patch.sub == "status"
    return patch.body["status"], result.again_seconds


def progressing(status: Json) -> tuple[str, str]:
    found = next(c for c in status["conditions"] if c["type"] == "Progressing")
    return found["status"], found["reason"]


def earlier(reason: str, seconds_ago: float, **counts: int) -> Json:
    when = stamp(NOW - seconds_ago)
    condition = {"type": "Progressing", "status": "True", "reason": reason, "message": "m", "lastUpdateTime": when, "lastTransitionTime": when}
    return {"observedGeneration": 2, "conditions": [condition], **counts}


def test_counts_are_of_all_sets_and_updated_ones_of_the_new() -> None:
    status, _ = reported(deployment(), rs("new", 1, 1), rs("old", 2, 1))
    assert [status[key] for key in ("observedGeneration", "replicas", "updatedReplicas", "readyReplicas", "availableReplicas")] == [2, 3, 1, 2, 2]


@pytest.mark.parametrize(("available", "expected"), [(2, "True"), (1, "False")])
def test_available_is_what_the_strategy_lets_go_missing(available: int, expected: str) -> None:
    status, _ = reported(deployment(strategy={"rollingUpdate": {"maxUnavailable": 0}}), rs("new", 2, available))
    assert {c["type"]: c["status"] for c in status["conditions"]}["Available"] == expected


def test_a_rollout_is_new_then_updated_then_complete() -> None:
    assert progressing(reported(deployment(), None)[0]) == ("True", "NewReplicaSetCreated")
    status, again = reported(deployment(earlier("NewReplicaSetCreated", 5)), rs("new", 2, 1))
    assert (progressing(status), again) == (("True", "ReplicaSetUpdated"), 60)
    assert progressing(reported(deployment(earlier("ReplicaSetUpdated", 5)), rs("new", 2, 2))[0]) == ("True", "NewReplicaSetAvailable")


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        (earlier("ReplicaSetUpdated", 59, updatedReplicas=2, readyReplicas=1, availableReplicas=1, replicas=2), ("True", "ReplicaSetUpdated")),
        (earlier("ReplicaSetUpdated", 60, updatedReplicas=2, readyReplicas=1, availableReplicas=1, replicas=2), ("False", "ProgressDeadlineExceeded")),
        (earlier("ReplicaSetUpdated", 60, updatedReplicas=2, readyReplicas=0, availableReplicas=0, replicas=2), ("True", "ReplicaSetUpdated")),  # it moved
        ({**earlier("ReplicaSetUpdated", 60, updatedReplicas=2, readyReplicas=1, availableReplicas=1, replicas=2), "observedGeneration": 1}, ("True", "ReplicaSetUpdated")),
        (earlier("NewReplicaSetAvailable", 600, updatedReplicas=2, readyReplicas=2, availableReplicas=2, replicas=2), ("True", "NewReplicaSetAvailable")),
    ],
)
def test_only_a_rollout_that_stands_still_for_too_long_has_failed(before: Json, expected: tuple[str, str]) -> None:
    assert progressing(reported(deployment(before), rs("new", 2, 1))[0]) == expected


def test_a_paused_rollout_does_not_run_out_of_time() -> None:
    status, again = reported(deployment(earlier("ReplicaSetUpdated", 600), paused=True), rs("new", 2, 1))
    assert (progressing(status), again) == (("Unknown", "DeploymentPaused"), None)


def test_a_status_that_stays_is_not_written_again() -> None:
    status, _ = reported(deployment(), rs("new", 2, 2))
    result = Plan()
    report(result, deployment({key: value for key, value in status.items() if value is not None}), rs("new", 2, 2), [], NOW + 5)
    assert result.actions == []
