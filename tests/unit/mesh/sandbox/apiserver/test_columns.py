from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from mesh.sandbox.apiserver.columns import PRINTERS
from mesh.sandbox.apiserver.kinds import builtin

NOW = datetime(2030, 1, 1, 0, 5, tzinfo=UTC)
META = {"name": "x", "creationTimestamp": "2030-01-01T00:00:00Z"}
TEMPLATE = {"spec": {"containers": [{"name": "c", "image": "i:1"}]}}

CASES: list[tuple[str, dict[str, Any], list[Any]]] = [
    ("deployments.apps", {"spec": {"replicas": 2, "template": TEMPLATE, "selector": {"matchLabels": {"a": "b"}}}, "status": {"readyReplicas": 1, "updatedReplicas": 2, "availableReplicas": 1}},
     ["x", "1/2", 2, 1, "5m", "c", "i:1", "a=b"]),
    ("replicasets.apps", {"spec": {"replicas": 2, "template": TEMPLATE}, "status": {"replicas": 2}}, ["x", 2, 2, 0, "5m", "c", "i:1", "<none>"]),
    ("services", {"spec": {"type": "NodePort", "clusterIP": "198.19.0.5", "ports": [{"port": 80, "nodePort": 30001, "protocol": "TCP"}], "selector": {"a": "b"}}},
     ["x", "NodePort", "198.19.0.5", "<none>", "80:30001/TCP", "5m", "a=b"]),
    ("services", {"spec": {"type": "LoadBalancer", "clusterIP": "None"}}, ["x", "LoadBalancer", "None", "<pending>", "<none>", "5m", "<none>"]),
    ("nodes", {"metadata": {**META, "labels": {"node-role.kubernetes.io/control-plane": ""}}, "spec": {"unschedulable": True}, "status": {"conditions": [{"type": "Ready", "status": "True"}], "addresses": [{"type": "InternalIP", "address": "198.18.0.1"}]}},
     ["x", "Ready,SchedulingDisabled", "control-plane", "5m", "", "198.18.0.1", "<none>", "<unknown>", "<unknown>", "<unknown>"]),
    ("jobs.batch", {"spec": {"completions": 1, "template": TEMPLATE}, "status": {"succeeded": 1, "startTime": "2030-01-01T00:00:00Z", "completionTime": "2030-01-01T00:00:07Z", "conditions": [{"type": "Complete", "status": "True"}]}},
     ["x", "Complete", "1/1", "7s", "5m", "c", "i:1", "<none>"]),
    ("events", {"involvedObject": {"kind": "Pod", "name": "p"}, "type": "Warning", "reason": "BackOff", "message": " m \n", "source": {"component": "kubelet", "host": "n"}, "lastTimestamp": "2030-01-01T00:04:00Z", "count": 3},
     ["60s", "Warning", "BackOff", "pod/p", "", "kubelet, n", "m", "<unknown>", 3, "x"]),
    ("endpoints", {"subsets": [{"addresses": [{"ip": f"10.0.0.{n}"} for n in range(5)], "ports": [{"port": 80}]}]}, ["x", "10.0.0.0:80,10.0.0.1:80,10.0.0.2:80 + 2 more...", "5m"]),
    ("ingresses.networking.k8s.io", {"spec": {"rules": [{"host": "a.b"}], "tls": [{}], "ingressClassName": "t"}}, ["x", "t", "a.b", "", "80, 443", "5m"]),
    ("rolebindings.rbac.authorization.k8s.io", {"roleRef": {"kind": "Role", "name": "r"}, "subjects": [{"kind": "User", "name": "u"}, {"kind": "ServiceAccount", "namespace": "n", "name": "s"}]}, ["x", "Role/r", "5m", "u", "", "n/s"]),
]  # fmt: skip


@pytest.mark.parametrize(("key", "obj", "cells"), CASES)
def test_cells(key: str, obj: dict[str, Any], cells: list[Any]) -> None:
    columns, function = PRINTERS[key]
    found = function({"metadata": META, **obj}, NOW)
    assert found == cells and len(found) == len(columns)


@pytest.mark.parametrize(
    ("conditions", "deleted", "state"),
    [
        ([], False, "Running"),
        ([("SuccessCriteriaMet", "True")], False, "SuccessCriteriaMet"),
        ([("SuccessCriteriaMet", "True"), ("Complete", "True")], False, "Complete"),
        ([("FailureTarget", "True"), ("Failed", "True")], True, "Failed"),
        ([("FailureTarget", "True"), ("Failed", "False")], False, "FailureTarget"),
        ([("SuccessCriteriaMet", "True")], True, "Terminating"),
        ([("Suspended", "True")], False, "Suspended"),
    ],
)
def test_a_jobs_state_is_its_end_before_what_led_to_it(conditions: list[tuple[str, str]], deleted: bool, state: str) -> None:
    status = {"conditions": [{"type": kind, "status": value} for kind, value in conditions]}
    meta = {**META, **({"deletionTimestamp": "2030-01-01T00:00:00Z"} if deleted else {})}
    assert PRINTERS["jobs.batch"][1]({"metadata": meta, "spec": {"template": TEMPLATE}, "status": status}, NOW)[1] == state


def test_every_printer_is_of_a_kind_that_exists() -> None:
    assert set(PRINTERS) <= {r.key for r in builtin()}
