from __future__ import annotations

import copy
from typing import Any

import pytest

from mesh.sandbox.apiserver import defaults
from mesh.sandbox.apiserver.podvalidation import ephemeral_update, is_port_name, spec, update


def pod(container: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    made = {"containers": [{"name": "a", "image": "i:1", **(container or {})}], **more}
    defaults.pod_spec(made)
    return made


@pytest.mark.parametrize(
    ("made", "fields"),
    [
        (pod(), []), (pod(containers=[]), ["containers"]), (pod({"name": "A_"}), ["containers[0].name"]), (pod({"image": ""}), ["containers[0].image"]),
        (pod(initContainers=[{"name": "a", "image": "x"}]), ["initContainers[0].name"]), (pod(restartPolicy="Maybe"), ["restartPolicy"]),
        (pod({"ports": [{"containerPort": 0}, {"containerPort": 1, "protocol": "X"}, {"containerPort": 2, "name": "UP"}]}), ["containers[0].ports[0].containerPort", "containers[0].ports[1].protocol", "containers[0].ports[2].name"]),
        (pod({"env": [{"name": "1x"}, {"name": "a", "value": "b", "valueFrom": {"fieldRef": {"fieldPath": "x"}}}]}), ["containers[0].env[0].name", "containers[0].env[1].valueFrom"]),
        (pod({"volumeMounts": [{"name": "v", "mountPath": "/x"}]}), ["containers[0].volumeMounts[0].name"]),
        (pod({"volumeMounts": [{"name": "v", "mountPath": "/x"}, {"name": "v", "mountPath": "/x"}]}, volumes=[{"name": "v"}]), ["containers[0].volumeMounts[1].mountPath"]),
        (pod(volumes=[{"name": "v", "emptyDir": {}, "secret": {}}, {"name": "v"}]), ["volumes[0]", "volumes[1].name"]),
        (pod({"resources": {"requests": {"cpu": "lots"}}}), ["containers[0].resources.requests[cpu]"]), (pod({"resources": {"limits": {"memory": "1.5Gi", "cpu": "100m"}}}), []),
        (pod({"readinessProbe": {}}), ["containers[0].readinessProbe"]), (pod({"livenessProbe": {"exec": {}, "successThreshold": 2}}), ["containers[0].livenessProbe.successThreshold"]),
        (pod({"restartPolicy": "Always"}), ["containers[0].restartPolicy"]), (pod({"ports": [{"containerPort": 1, "hostPort": 9, "protocol": "TCP"}, {"containerPort": 2, "hostPort": 9, "protocol": "TCP"}]}), ["containers[0].ports[1].hostPort"]), (pod(schedulingGates=[{"name": "a.b/c"}, {"name": "a.b/c"}]), ["schedulingGates[1]"]), (pod(initContainers=[{"name": "s", "image": "x", "restartPolicy": "Always"}]), []),
    ],
)  # fmt: skip
def test_spec(made: dict[str, Any], fields: list[str]) -> None:
    assert [c.field.removeprefix("spec.") for c in spec(made, "spec")] == fields


def test_only_a_few_fields_of_a_pod_may_change() -> None:
    old = pod()
    allowed = copy.deepcopy(old)
    allowed["containers"][0]["image"] = "i:2"
    allowed["tolerations"] = [{"operator": "Exists"}]
    allowed["nodeName"] = "n1"
    assert update(allowed, old) == []
    denied = copy.deepcopy(old)
    denied["containers"][0]["env"] = [{"name": "A"}]
    assert "changed: containers" in update(denied, old)[0].message
    assert update({**old, "nodeName": "n2"}, {**old, "nodeName": "n1"}) != []


KNOWN = {"name": "d", "image": "b:1"}


@pytest.mark.parametrize(
    ("wanted", "fields"),
    [
        ([KNOWN], []),
        ([KNOWN, {"name": "e", "image": "b:1", "targetContainerName": "a"}], []),
        ([], ["ephemeralContainers"]),
        ([{**KNOWN, "image": "b:2"}], ["ephemeralContainers"]),
        ([KNOWN, {"name": "a", "image": "b:1"}], ["ephemeralContainers[1].name"]),
        ([KNOWN, {"name": "e", "image": "b:1", "ports": [{"containerPort": 80, "protocol": "TCP"}]}], ["ephemeralContainers[1].ports"]),
        ([KNOWN, {"name": "e", "image": "b:1", "targetContainerName": "none"}], ["ephemeralContainers[1].targetContainerName"]),
    ],
)
def test_ephemeral_containers_are_only_added(wanted: list[dict[str, Any]], fields: list[str]) -> None:
    found = ephemeral_update(pod(ephemeralContainers=wanted), pod(ephemeralContainers=[KNOWN]))
    assert [cause.field.removeprefix("spec.") for cause in found] == fields


def test_port_names() -> None:
    assert all(map(is_port_name, ["http", "a-1", "http-web"])) and not any(map(is_port_name, ["", "1", "-a", "a--b", "x" * 16, "Http"]))
