"""Phase, conditions and container statuses of a pod."""

from typing import Any

import pytest

from mesh.sandbox.node.podstatus import (
    Record,
    Role,
    Running,
    State,
    Terminated,
    Waiting,
    build,
    make_records,
    phase,
    qos_class,
)


def end(code: int) -> Terminated:
    return Terminated(code, "Completed" if code == 0 else "Error", 1.0, 2.0, "triomesh://x")


def record(role: Role, state: State, **more: Any) -> Record:
    return Record(role.value, "image", role, state, **more)


def pod(policy: str = "Always", **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "p"}, "spec": {"restartPolicy": policy, "containers": [{"name": "main", "image": "i"}], **spec}}


@pytest.mark.parametrize(
    ("policy", "states", "expected"),
    [
        ("Always", [Waiting("ContainerCreating")], "Pending"),
        ("Always", [Running(1.0)], "Running"),
        ("Always", [Running(1.0), Waiting("ErrImagePull")], "Pending"),
        ("Always", [end(0)], "Running"),
        ("OnFailure", [end(1)], "Running"),
        ("OnFailure", [end(0)], "Succeeded"),
        ("Never", [end(0), end(0)], "Succeeded"),
        ("Never", [end(0), end(1)], "Failed"),
        ("Never", [end(0), Running(1.0)], "Running"),
    ],
)
def test_phases(policy: str, states: list[State], expected: str) -> None:
    assert phase(pod(policy), [record(Role.MAIN, state) for state in states]) == expected


def test_a_container_in_back_off_is_still_running_for_its_pod() -> None:
    assert phase(pod(), [record(Role.MAIN, Waiting("CrashLoopBackOff"), last=end(1))]) == "Running"


def test_a_failed_init_container_fails_a_pod_that_never_restarts() -> None:
    records = [record(Role.INIT, end(1)), record(Role.MAIN, Waiting("PodInitializing"))]
    assert phase(pod("Never"), records) == "Failed"
    assert phase(pod("Always"), records) == "Pending"


def status(records: list[Record], old: dict[str, Any] | None = None, now: float = 100.0, **spec: Any) -> dict[str, Any]:
    return build({**pod(**spec), "status": old or {}}, records, pod_ip="198.18.1.5", node_ip="198.18.0.1", network_ready=True, started_at=50.0, now=now)


def conditions(found: dict[str, Any]) -> dict[str, str]:
    return {item["type"]: item["status"] for item in found["conditions"]}


def test_a_ready_pod_has_all_its_conditions() -> None:
    found = status([record(Role.SIDECAR, Running(1.0), started=True, ready=True), record(Role.MAIN, Running(1.0), started=True, ready=True)])
    assert conditions(found) == dict.fromkeys(("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"), "True")
    assert [item["name"] for item in found["initContainerStatuses"]] == ["sidecar"]


def test_an_unready_sidecar_makes_its_pod_unready() -> None:
    found = status([record(Role.SIDECAR, Running(1.0), started=True), record(Role.MAIN, Running(1.0), ready=True)])
    ready = next(item for item in found["conditions"] if item["type"] == "Ready")
    assert (ready["status"], ready["message"]) == ("False", "containers with unready status: [sidecar]")


def test_an_ephemeral_container_is_shown_but_decides_nothing() -> None:
    found = status([record(Role.MAIN, Running(1.0), ready=True), record(Role.EPHEMERAL, Waiting("ErrImagePull"))])
    assert (found["phase"], conditions(found)["Ready"], conditions(found)["Initialized"]) == ("Running", "True", "True")
    assert ([c["name"] for c in found["ephemeralContainerStatuses"]], "initContainerStatuses" in found) == (["ephemeral"], False)
    again = make_records({**pod(ephemeralContainers=[{"name": "ephemeral", "image": "i"}]), "status": status([record(Role.EPHEMERAL, end(3))])})
    assert (again["ephemeral"].role, again["ephemeral"].state) == (Role.EPHEMERAL, end(3))


def test_a_record_says_which_image_ran_and_not_which_is_wanted() -> None:
    written = status([Record("main", "i:1", Role.MAIN, Running(1.0))])
    assert make_records({**pod(containers=[{"name": "main", "image": "i:2"}]), "status": written})["main"].image == "i:1"


def test_a_readiness_gate_waits_for_its_condition() -> None:
    records = [record(Role.MAIN, Running(1.0), ready=True)]
    gates = [{"conditionType": "example.com/ok"}]
    assert conditions(status(records, readinessGates=gates))["Ready"] == "False"
    given = {"conditions": [{"type": "example.com/ok", "status": "True"}]}
    found = conditions(status(records, given, readinessGates=gates))
    assert (found["Ready"], found["example.com/ok"]) == ("True", "True")


def test_a_condition_keeps_its_time_until_it_changes() -> None:
    records = [record(Role.MAIN, Running(1.0), ready=True)]
    first = status(records, now=100.0)
    assert status(records, first, now=200.0)["conditions"] == first["conditions"]


def test_a_completed_pod_is_initialized_and_not_ready() -> None:
    found = status([record(Role.MAIN, end(0))], restartPolicy="Never")
    assert found["phase"] == "Succeeded"
    assert next(item["reason"] for item in found["conditions"] if item["type"] == "Ready") == "PodCompleted"


def test_records_go_on_from_the_written_status() -> None:
    before = record(Role.MAIN, end(3), restarts=2, last=end(4), container_id="triomesh://a")
    written = status([before], restartPolicy="Never")
    again = make_records({**pod("Never"), "status": {"containerStatuses": [{**written["containerStatuses"][0], "name": "main"}]}})["main"]
    assert (again.restarts, again.state, again.last) == (2, end(3), end(4))


@pytest.mark.parametrize(
    ("resources", "expected"),
    [({}, "BestEffort"), ({"requests": {"cpu": "1"}}, "Burstable"), ({"limits": {"cpu": "1", "memory": "1"}}, "Guaranteed"), ({"limits": {"cpu": "1"}}, "Burstable")],
)
def test_qos_classes(resources: dict[str, Any], expected: str) -> None:
    assert qos_class({"containers": [{"resources": resources}]}) == expected
