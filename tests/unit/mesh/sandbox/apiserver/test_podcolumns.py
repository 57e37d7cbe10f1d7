from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from mesh.sandbox.apiserver.podcolumns import pod_cells, pod_reason

NOW = datetime(2030, 1, 1, 0, 5, tzinfo=UTC)


def pod(status: dict[str, Any], inits: list[dict[str, Any]] | None = None, **meta: Any) -> dict[str, Any]:
    return {"metadata": {"name": "p", "creationTimestamp": "2030-01-01T00:00:00Z", **meta}, "spec": {"containers": [{"name": "a"}, {"name": "b"}], "initContainers": inits or []}, "status": status}


def running(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "ready": True, "started": True, "state": {"running": {}}, "restartCount": 0, **more}


WAITING = {"state": {"waiting": {"reason": "CrashLoopBackOff"}}, "name": "a"}
DONE = {"state": {"terminated": {"exitCode": 0, "reason": "Completed"}}, "name": "a"}
SIDECAR = {"name": "s", "restartPolicy": "Always"}


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (pod({"phase": "Pending"}), "Pending"),
        (pod({"phase": "Running", "containerStatuses": [WAITING, running("b")]}), "CrashLoopBackOff"),
        (pod({"phase": "Running", "containerStatuses": [running("a"), running("b")]}, deletionTimestamp="t"), "Terminating"),
        (pod({"phase": "Succeeded", "containerStatuses": [DONE]}, deletionTimestamp="t"), "Completed"),
        (pod({"phase": "Running", "containerStatuses": [DONE, running("b")], "conditions": [{"type": "Ready", "status": "True"}]}), "Running"),
        (pod({"phase": "Failed", "reason": "Evicted"}), "Evicted"),
        (pod({"phase": "Pending", "initContainerStatuses": [{"name": "i", "state": {"running": {}}}]}, [{"name": "i"}]), "Init:0/1"),
        (pod({"phase": "Pending", "initContainerStatuses": [{"name": "i", "state": {"terminated": {"exitCode": 2}}}]}, [{"name": "i"}]), "Init:ExitCode:2"),
        (pod({"phase": "Pending", "initContainerStatuses": [{"name": "i", "state": {"waiting": {"reason": "ErrImagePull"}}}]}, [{"name": "i"}]), "Init:ErrImagePull"),
        (pod({"phase": "Running", "initContainerStatuses": [running("s")], "containerStatuses": [running("a"), running("b")]}, [SIDECAR]), "Running"),
        (pod({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}]}), "SchedulingGated"),
    ],
)
def test_reason(made: dict[str, Any], reason: str) -> None:
    assert pod_reason(made, {c["name"] for c in made["spec"]["initContainers"] if c.get("restartPolicy") == "Always"}) == reason


def test_cells_count_native_sidecars_and_restarts() -> None:
    last = {"lastState": {"terminated": {"finishedAt": "2030-01-01T00:04:00Z"}}, "restartCount": 2}
    cells = pod_cells(pod({"phase": "Running", "podIP": "1.2.3.4", "initContainerStatuses": [running("s")], "containerStatuses": [running("a", **last), {**running("b"), "ready": False}]}, [SIDECAR]), NOW)
    assert cells == ["p", "2/3", "Running", "2 (60s ago)", "5m", "1.2.3.4", "<none>", "<none>", "<none>"]
