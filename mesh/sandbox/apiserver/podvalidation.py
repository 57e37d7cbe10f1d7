"""Validation of pod specs. Pure."""

from __future__ import annotations

import re
from typing import Any

from mesh.sandbox.apiserver.names import LABEL_RULE, is_label
from mesh.sandbox.apiserver.status import Cause

Obj = dict[str, Any]

ENV_NAME = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*")
QUANTITY = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(([KMGTPE]i)|[numkMGTPE]|[eE][+-]?\d+)?")
PORT_NAME_RULE = "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-), at least one letter, and be no more than 15 characters"
VOLUME_SOURCES = ("configMap", "secret", "emptyDir", "projected", "hostPath", "downwardAPI")
MUTABLE_CONTAINER = ("image",)


def is_port_name(name: str) -> bool:
    """IANA service name: a letter, at most 15 characters, no double or outer hyphen. Source: RFC 6335 5.1."""
    return bool(re.fullmatch(r"(?=.*[a-z])[a-z0-9](-?[a-z0-9]+)*", name)) and len(name) <= 15


def port_number(value: Any, path: str) -> list[Cause]:
    """1..65535."""
    if isinstance(value, int) and 1 <= value <= 65535:
        return []
    return [Cause("FieldValueInvalid", path, f"Invalid value: {value}: must be between 1 and 65535, inclusive")]


def spec(pod: Obj, path: str) -> list[Cause]:
    """A PodSpec with defaults filled in."""
    causes: list[Cause] = []
    if not pod.get("containers"):
        causes.append(Cause("FieldValueRequired", f"{path}.containers", "Required value"))
    _choice(pod.get("restartPolicy"), ("Always", "OnFailure", "Never"), f"{path}.restartPolicy", causes)
    _choice(pod.get("dnsPolicy"), ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"), f"{path}.dnsPolicy", causes)
    volumes: set[str] = set()
    for index, volume in enumerate(pod.get("volumes") or ()):
        here = f"{path}.volumes[{index}]"
        _name(volume.get("name", ""), f"{here}.name", volumes, causes)
        kinds = [key for key in volume if key != "name"]
        if len(kinds) != 1:
            causes.append(Cause("FieldValueForbidden", here, f"Forbidden: may not specify more than 1 volume type: {kinds}"))
    names: set[str] = set()
    ports: set[str] = set()
    for group in ("containers", "initContainers"):
        for index, container in enumerate(pod.get(group) or ()):
            here = f"{path}.{group}[{index}]"
            _name(container.get("name", ""), f"{here}.name", names, causes)
            causes += _container(container, here, volumes)
            if group == "containers":
                causes += _host_ports(container, here, ports)
            restart = container.get("restartPolicy")
            if restart is not None and (group != "initContainers" or restart != "Always"):
                causes.append(Cause("FieldValueNotSupported" if group == "initContainers" else "FieldValueForbidden", f"{here}.restartPolicy",
                    f'Unsupported value: "{restart}": supported values: "Always"' if group == "initContainers" else "Forbidden: may not be set for non-init containers"))  # fmt: skip
    gates: set[str] = set()
    for index, gate in enumerate(pod.get("schedulingGates") or ()):
        if gate.get("name") in gates:
            causes.append(Cause("FieldValueDuplicate", f"{path}.schedulingGates[{index}]", f'Duplicate value: "{gate["name"]}"'))
        gates.add(gate.get("name", ""))
    return causes


def _host_ports(container: Obj, path: str, seen: set[str]) -> list[Cause]:
    causes = []
    for index, port in enumerate(container.get("ports") or ()):
        if port.get("hostPort"):
            text = f"{port.get('protocol', '')}/{port.get('hostIP', '')}/{port['hostPort']}"
            if text in seen:
                causes.append(Cause("FieldValueDuplicate", f"{path}.ports[{index}].hostPort", f'Duplicate value: "{text}"'))
            seen.add(text)
    return causes


_NOT_EPHEMERAL = ("ports", "livenessProbe", "readinessProbe", "startupProbe", "lifecycle")


def ephemeral_update(new: Obj, old: Obj) -> list[Cause]:
    """What `/ephemeralcontainers` may do: add. `new` and `old` are the pod's specs. Source: ValidatePodEphemeralContainersUpdate, validateEphemeralContainers."""
    path, causes = "spec.ephemeralContainers", []
    wanted = {container.get("name"): container for container in new.get("ephemeralContainers") or ()}
    for known in old.get("ephemeralContainers") or ():
        if wanted.get(known["name"]) != known:
            what = "changed" if known["name"] in wanted else "removed"
            causes.append(Cause("FieldValueForbidden", path, f'Forbidden: existing ephemeral containers "{known["name"]}" may not be {what}'))
    ordinary = {container["name"] for container in new["containers"]}
    names = ordinary | {container["name"] for container in new.get("initContainers") or ()}
    volumes = {volume["name"] for volume in new.get("volumes") or ()}
    for index, container in enumerate(new.get("ephemeralContainers") or ()):
        here = f"{path}[{index}]"
        _name(container.get("name", ""), f"{here}.name", names, causes)
        causes += _container(container, here, volumes)
        causes += [Cause("FieldValueForbidden", f"{here}.{field}", "Forbidden: cannot be set for an Ephemeral Container") for field in _NOT_EPHEMERAL if container.get(field)]
        target = container.get("targetContainerName")
        if target and target not in ordinary:
            causes.append(Cause("FieldValueNotFound", f"{here}.targetContainerName", f'Not found: "{target}"'))
    return causes


def _choice(value: Any, allowed: tuple[str, ...], path: str, causes: list[Cause]) -> None:
    if value not in allowed:
        causes.append(Cause("FieldValueNotSupported", path, f'Unsupported value: "{value}": supported values: ' + ", ".join(f'"{a}"' for a in sorted(allowed))))


def _name(name: str, path: str, seen: set[str], causes: list[Cause]) -> None:
    if not name:
        causes.append(Cause("FieldValueRequired", path, "Required value"))
    elif not is_label(name):
        causes.append(Cause("FieldValueInvalid", path, f'Invalid value: "{name}": {LABEL_RULE}'))
    elif name in seen:
        causes.append(Cause("FieldValueDuplicate", path, f'Duplicate value: "{name}"'))
    seen.add(name)


def _container(container: Obj, path: str, volumes: set[str]) -> list[Cause]:
    causes: list[Cause] = []
    if not container.get("image"):
        causes.append(Cause("FieldValueRequired", f"{path}.image", "Required value"))
    _choice(container.get("imagePullPolicy"), ("Always", "IfNotPresent", "Never"), f"{path}.imagePullPolicy", causes)
    names: set[str] = set()
    for index, port in enumerate(container.get("ports") or ()):
        here = f"{path}.ports[{index}]"
        if port.get("containerPort") == 0:
            causes.append(Cause("FieldValueRequired", f"{here}.containerPort", "Required value"))
        else:
            causes += port_number(port.get("containerPort"), f"{here}.containerPort")
        _choice(port.get("protocol"), ("TCP", "UDP", "SCTP"), f"{here}.protocol", causes)
        name = port.get("name")
        if name and not is_port_name(name):
            causes.append(Cause("FieldValueInvalid", f"{here}.name", f'Invalid value: "{name}": {PORT_NAME_RULE}'))
        elif name and name in names:
            causes.append(Cause("FieldValueDuplicate", f"{here}.name", f'Duplicate value: "{name}"'))
        names.add(name or "")
    for index, variable in enumerate(container.get("env") or ()):
        here = f"{path}.env[{index}]"
        name = variable.get("name", "")
        if not ENV_NAME.fullmatch(name):
            causes.append(Cause("FieldValueInvalid" if name else "FieldValueRequired", f"{here}.name", f'Invalid value: "{name}": a valid environment variable name must consist of alphabetic characters, digits, \'_\', \'-\', or \'.\', and must not start with a digit'))
        if variable.get("value") and variable.get("valueFrom"):
            causes.append(Cause("FieldValueInvalid", f"{here}.valueFrom", 'Invalid value: "": may not be specified when `value` is not empty'))
        if variable.get("valueFrom") is not None and len(variable["valueFrom"]) != 1:
            causes.append(Cause("FieldValueInvalid", f"{here}.valueFrom", 'Invalid value: "": must specify exactly one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`'))
    paths: set[str] = set()
    for index, mount in enumerate(container.get("volumeMounts") or ()):
        here = f"{path}.volumeMounts[{index}]"
        if mount.get("name") not in volumes:
            causes.append(Cause("FieldValueNotFound", f"{here}.name", f'Not found: "{mount.get("name")}"'))
        if mount.get("mountPath") in paths:
            causes.append(Cause("FieldValueInvalid", f"{here}.mountPath", f'Invalid value: "{mount.get("mountPath")}": must be unique'))
        paths.add(mount.get("mountPath", ""))
    for kind in ("limits", "requests"):
        for name, amount in ((container.get("resources") or {}).get(kind) or {}).items():
            if not QUANTITY.fullmatch(str(amount)):
                causes.append(Cause("FieldValueInvalid", f"{path}.resources.{kind}[{name}]", f'Invalid value: "{amount}": quantities must match the regular expression \'{QUANTITY.pattern}\''))
    for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
        if container.get(probe) is not None:
            causes += _probe(container[probe], f"{path}.{probe}", probe)
    return causes


def _probe(probe: Obj, path: str, kind: str) -> list[Cause]:
    causes = []
    handlers = [h for h in ("httpGet", "tcpSocket", "exec", "grpc") if probe.get(h) is not None]
    if len(handlers) != 1:
        text = "Required value: must specify a handler type" if not handlers else "Forbidden: may not specify more than 1 handler type"
        causes.append(Cause("FieldValueRequired" if not handlers else "FieldValueForbidden", path, text))
    for name in ("timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold", "initialDelaySeconds"):
        if probe.get(name, 0) < 0:
            causes.append(Cause("FieldValueInvalid", f"{path}.{name}", f"Invalid value: {probe[name]}: must be greater than or equal to 0"))
    if kind != "readinessProbe" and probe.get("successThreshold", 1) != 1:
        causes.append(Cause("FieldValueInvalid", f"{path}.successThreshold", f"Invalid value: {probe['successThreshold']}: must be 1"))
    return causes


def update(new: Obj, old: Obj) -> list[Cause]:
    """What a pod update may change: images, activeDeadlineSeconds, tolerations, terminationGracePeriodSeconds (only to 1)."""

    def fixed(pod: Obj) -> Obj:
        rest = {k: v for k, v in pod.items() if k not in ("activeDeadlineSeconds", "tolerations", "schedulingGates", "nodeName" if not old.get("nodeName") else "")}
        for group in ("containers", "initContainers"):
            rest[group] = [{k: v for k, v in c.items() if k not in MUTABLE_CONTAINER} for c in pod.get(group) or ()]
        return rest

    before, after = fixed(old), fixed(new)
    if before == after or {**before, "terminationGracePeriodSeconds": 1} == after:
        return []
    changed = sorted(k for k in before.keys() | after.keys() if before.get(k) != after.get(k))
    text = ("Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,"
            f"`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative); changed: {', '.join(changed)}")  # fmt: skip
    return [Cause("FieldValueForbidden", "spec", text)]
