"""The Kubernetes status of a pod, from what is known about its containers. Pure.

Source: Kubernetes "Pod Lifecycle"; API reference v1.PodStatus, v1.ContainerStatus.
"""

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from mesh.sandbox.times import parse_stamp, stamp

Json = dict[str, Any]


class Role(Enum):
    """Which list a container comes from, and whether it runs to its end."""

    INIT = "init"
    SIDECAR = "sidecar"  # an init container with restartPolicy Always
    MAIN = "main"
    EPHEMERAL = "ephemeral"  # added to a running pod, never started twice

    @property
    def field(self) -> str:
        """The list of the pod's spec that it stands in."""
        return {Role.MAIN: "containers", Role.EPHEMERAL: "ephemeralContainers"}.get(self, "initContainers")


@dataclass(frozen=True, slots=True)
class Waiting:
    """Not running, for a reason that a person should read."""

    reason: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class Running:
    started_at: float


@dataclass(frozen=True, slots=True)
class Terminated:
    exit_code: int
    reason: str
    started_at: float
    finished_at: float
    container_id: str
    message: str = ""
    signal: int = 0


State = Waiting | Running | Terminated


@dataclass(slots=True)
class Record:
    """What is known about one container. Its worker changes it; everybody else reads."""

    name: str
    image: str
    role: Role
    state: State = field(default_factory=lambda: Waiting("PodInitializing"))
    last: Terminated | None = None
    restarts: int = 0
    ready: bool = False
    started: bool = False
    container_id: str = ""


def role_of(spec: Json, field: str) -> Role:
    """The role of a container from the list `field` of the pod's spec."""
    if field == "initContainers":
        return Role.SIDECAR if spec.get("restartPolicy") == "Always" else Role.INIT
    return Role.MAIN if field == "containers" else Role.EPHEMERAL


def make_records(pod: Json) -> dict[str, Record]:
    """A record per container in start order, continuing what an earlier run of the node wrote to the status."""
    spec, status = pod["spec"], pod.get("status") or {}
    lists = ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses")
    known = {item["name"]: item for key in lists for item in status.get(key) or ()}
    records = {}
    for key in ("initContainers", "containers", "ephemeralContainers"):
        for container in spec.get(key) or ():
            record = Record(container["name"], container["image"], role_of(container, key))
            if record.role is Role.EPHEMERAL or (record.role is Role.MAIN and not spec.get("initContainers")):
                record.state = Waiting("ContainerCreating")
            if (old := known.get(record.name)) is not None:
                _restore(record, old)
            records[record.name] = record
    return records


def phase(pod: Json, records: list[Record], *, evicted: bool = False) -> str:
    """Pending, Running, Succeeded or Failed."""
    if evicted:
        return "Failed"
    policy = pod["spec"].get("restartPolicy", "Always")
    inits = [record for record in records if record.role is Role.INIT]
    mains = [record for record in records if record.role is Role.MAIN]
    if policy == "Never" and any(isinstance(r.state, Terminated) and r.state.exit_code for r in inits):
        return "Failed"
    begun = [record for record in mains if not isinstance(record.state, Waiting) or record.last is not None]
    if len(begun) < len(mains):
        return "Running" if begun and len(begun) == len(mains) else "Pending"
    ends = [record.state for record in mains if isinstance(record.state, Terminated)]
    if len(ends) == len(mains) and policy != "Always":
        if all(end.exit_code == 0 for end in ends):
            return "Succeeded"
        return "Failed" if policy == "Never" else "Running"
    return "Running"


def build(
    pod: Json, records: list[Record], *, pod_ip: str, node_ip: str, network_ready: bool, started_at: float, now: float,
    failure: tuple[str, str] | None = None,
) -> Json:
    """The whole status. `failure` = (reason, message) of a pod that was stopped for good (DeadlineExceeded)."""
    old = pod.get("status") or {}
    current = phase(pod, records, evicted=failure is not None)
    status: Json = {
        "phase": current,
        "conditions": _conditions(pod, records, current, network_ready, old.get("conditions") or [], now),
        "hostIP": node_ip,
        "hostIPs": [{"ip": node_ip}],
        "startTime": old.get("startTime") or stamp(started_at),
        "qosClass": old.get("qosClass") or qos_class(pod["spec"]),
        "containerStatuses": [_container(r) for r in sorted(records, key=lambda r: r.name) if r.role is Role.MAIN],
    }
    if inits := [_container(r) for r in records if r.role in (Role.INIT, Role.SIDECAR)]:
        status["initContainerStatuses"] = inits
    if ephemeral := [_container(r) for r in records if r.role is Role.EPHEMERAL]:
        status["ephemeralContainerStatuses"] = ephemeral
    if pod_ip:
        status |= {"podIP": pod_ip, "podIPs": [{"ip": pod_ip}]}
    if failure is not None:
        status |= {"reason": failure[0], "message": failure[1]}
    return status


def qos_class(spec: Json) -> str:
    """BestEffort, Burstable or Guaranteed."""
    every = [c.get("resources") or {} for c in [*(spec.get("initContainers") or ()), *spec["containers"]]]
    if not any(r.get("requests") or r.get("limits") for r in every):
        return "BestEffort"
    for resources in every:
        limits = resources.get("limits") or {}
        requests = resources.get("requests") or limits
        if {"cpu", "memory"} - set(limits) or any(requests.get(key, limits[key]) != limits[key] for key in ("cpu", "memory")):
            return "Burstable"
    return "Guaranteed"


def _conditions(pod: Json, records: list[Record], current: str, network_ready: bool, old: list[Json], now: float) -> list[Json]:
    # A terminal pod is not ready whatever its containers were; one that completed says so.
    done = current in ("Succeeded", "Failed")
    inits = [r for r in records if r.role in (Role.INIT, Role.SIDECAR)]
    initialized = all(_initialized(r) for r in inits) or current == "Succeeded"
    unready = [r.name for r in records if r.role in (Role.MAIN, Role.SIDECAR) and not r.ready]
    reason = "PodCompleted" if current == "Succeeded" else "PodFailed" if done else "ContainersNotReady"
    wait = "" if done else f"containers with unready status: [{' '.join(unready)}]"
    gates = [gate["conditionType"] for gate in pod["spec"].get("readinessGates") or ()]
    met = {item["type"] for item in old if item["status"] == "True"}
    missing = [gate for gate in gates if gate not in met]
    ready_containers = not unready and not done
    gate_reason = ("ReadinessGatesNotReady", f"the status of pod readiness gate {missing[0]!r} is not True") if missing else ("", "")
    incomplete = [r.name for r in inits if not _initialized(r)]
    wanted: list[tuple[str, bool, str, str]] = [
        ("PodReadyToStartContainers", network_ready, "", ""),
        ("Initialized", initialized, "ContainersNotInitialized", f"containers with incomplete status: [{' '.join(incomplete)}]"),
        ("Ready", ready_containers and not missing, *((reason, wait) if not ready_containers else gate_reason)),
        ("ContainersReady", ready_containers, reason, wait),
        ("PodScheduled", True, "", ""),
    ]
    before = {item["type"]: item for item in old}
    ours = [_condition(before.get(kind), kind, value, why, text, now) for kind, value, why, text in wanted]
    names = {item["type"] for item in ours}
    return [*ours, *(item for item in old if item["type"] not in names)]


def _condition(old: Json | None, kind: str, value: bool, reason: str, message: str, now: float) -> Json:
    status = "True" if value else "False"
    changed = stamp(now) if old is None or old["status"] != status else old["lastTransitionTime"]
    condition: Json = {"type": kind, "status": status, "lastProbeTime": None, "lastTransitionTime": changed}
    if not value and reason:
        condition["reason"] = reason
        if message:
            condition["message"] = message
    return condition


def _initialized(record: Record) -> bool:
    if record.role is Role.SIDECAR:
        return record.started
    return isinstance(record.state, Terminated) and record.state.exit_code == 0


def _container(record: Record) -> Json:
    status: Json = {
        "name": record.name,
        "image": record.image,
        "imageID": f"triomesh://{record.image}",
        "restartCount": record.restarts,
        "ready": _ready(record),
        "started": record.started,
        "state": _state(record.state),
        "lastState": _state(record.last) if record.last is not None else {},
    }
    if record.container_id:
        status["containerID"] = record.container_id
    return status


def _ready(record: Record) -> bool:
    if record.role is Role.INIT:
        return isinstance(record.state, Terminated) and record.state.exit_code == 0
    return record.ready


def _state(state: State) -> Json:
    match state:
        case Waiting(reason, message):
            return {"waiting": {"reason": reason} | ({"message": message} if message else {})}
        case Running(started_at):
            return {"running": {"startedAt": stamp(started_at)}}
        case Terminated():
            value: Json = {
                "exitCode": state.exit_code,
                "reason": state.reason,
                "startedAt": stamp(state.started_at),
                "finishedAt": stamp(state.finished_at),
                "containerID": state.container_id,
            }
            value |= {"message": state.message} if state.message else {}
            value |= {"signal": state.signal} if state.signal else {}
            return {"terminated": value}


def _restore(record: Record, old: Json) -> None:
    record.image = old.get("image") or record.image  # what runs; the spec may name another by now
    record.restarts = int(old.get("restartCount", 0))
    record.container_id = old.get("containerID", "")
    record.ready, record.started = bool(old.get("ready")), bool(old.get("started"))
    for key in ("state", "lastState"):
        value = old.get(key) or {}
        if "terminated" in value:
            end = _restore_end(value["terminated"])
            if key == "state":
                record.state = end
            else:
                record.last = end
        elif "running" in value and key == "state":
            record.state = Running(parse_stamp(value["running"]["startedAt"]))


def _restore_end(value: Json) -> Terminated:
    return Terminated(
        int(value["exitCode"]),
        value.get("reason", ""),
        parse_stamp(value["startedAt"]),
        parse_stamp(value["finishedAt"]),
        value.get("containerID", ""),
        value.get("message", ""),
        int(value.get("signal", 0)),
    )
