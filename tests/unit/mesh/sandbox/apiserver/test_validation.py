from __future__ import annotations

from typing import Any

import pytest

from mesh.sandbox.apiserver import defaults, validation
from mesh.sandbox.apiserver.kinds import builtin

ROWS = {r.key: r for r in builtin()}


def fields(key: str, obj: dict[str, Any], old: dict[str, Any] | None = None) -> list[str]:
    made = {"kind": ROWS[key].kind, "metadata": {"name": "x"}, **obj}
    defaults.fill(made, key)
    return [c.field for c in [*validation.metadata(made, old, ROWS[key]), *validation.check(made, old, ROWS[key], "")]]


def template(**labels: str) -> dict[str, Any]:
    return {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "a", "image": "i:1"}]}}


@pytest.mark.parametrize(
    ("key", "meta", "found"),
    [
        ("configmaps", {"name": "Up"}, ["metadata.name"]), ("configmaps", {"name": "a.b"}, []), ("namespaces", {"name": "a.b"}, ["metadata.name"]), ("clusterroles.rbac.authorization.k8s.io", {"name": "system:x"}, []),
        ("configmaps", {"name": "a", "labels": {"-": "b"}}, ["metadata.labels"]), ("configmaps", {"name": "a", "labels": {"b": "a b"}}, ["metadata.labels"]), ("configmaps", {"name": "a", "annotations": {"a b": ""}}, ["metadata.annotations"]),
        ("configmaps", {"name": "a", "annotations": {"a": "x" * 300_000}}, ["metadata.annotations"]), ("configmaps", {"name": "a", "finalizers": ["a b"]}, ["metadata.finalizers"]),
        ("configmaps", {"name": "a", "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": ""}]}, ["metadata.ownerReferences.uid"]),
    ],
)  # fmt: skip
def test_metadata(key: str, meta: dict[str, Any], found: list[str]) -> None:
    assert [c.field for c in validation.metadata({"metadata": meta}, None, ROWS[key])] == found


CASES: list[tuple[str, dict[str, Any], list[str]]] = [
    ("deployments.apps", {"spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template(a="b")}}, []),
    ("deployments.apps", {"spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template(a="c")}}, ["spec.template.metadata.labels"]),
    ("deployments.apps", {"spec": {"selector": {}, "template": template(a="c")}}, ["spec.selector"]),
    ("deployments.apps", {"spec": {"selector": {"matchExpressions": [{"key": "a", "operator": "Is"}]}, "template": template()}}, ["spec.selector.matchExpressions[0].operator"]),
    ("jobs.batch", {"spec": {"template": template()}}, ["spec.template.spec.restartPolicy"]),
    ("cronjobs.batch", {"spec": {"schedule": "* * *", "jobTemplate": {"spec": {"template": template()}}}}, ["spec.schedule"]),
    ("services", {"spec": {}}, ["spec.ports"]),
    ("services", {"spec": {"ports": [{"port": 1}, {"port": 0, "name": "b"}]}}, ["spec.ports[0].name", "spec.ports[1].port", "spec.ports[1].targetPort"]),
    ("services", {"spec": {"ports": [{"port": 1, "name": "a"}, {"port": 1, "name": "a"}]}}, ["spec.ports[1].name", "spec.ports[1]"]),
    ("services", {"spec": {"type": "Magic", "ports": [{"port": 1, "targetPort": "UP"}]}}, ["spec.type", "spec.ports[0].targetPort"]),
    ("services", {"spec": {"type": "ExternalName", "externalName": "a_b"}}, ["spec.externalName"]),
    ("configmaps", {"data": {"a/b": "x"}}, ["data[a/b]"]),
    ("secrets", {"data": {"a": "***"}}, ["data[a]"]),
    ("secrets", {"type": "kubernetes.io/tls", "data": {"tls.crt": ""}}, ["data[tls.key]"]),
    ("rolebindings.rbac.authorization.k8s.io", {"roleRef": {"kind": "Pod", "name": ""}, "subjects": [{"kind": "ServiceAccount", "name": "s"}]}, ["roleRef.kind", "roleRef.name"]),
    ("clusterrolebindings.rbac.authorization.k8s.io", {"roleRef": {"kind": "ClusterRole", "name": "r"}, "subjects": [{"kind": "ServiceAccount", "name": "s"}]}, ["subjects[0].namespace"]),
    ("ingresses.networking.k8s.io", {"spec": {}}, ["spec"]),
    ("ingresses.networking.k8s.io", {"spec": {"rules": [{"host": "a b", "http": {"paths": [{"path": "x", "pathType": "Exact"}, {"pathType": "Y"}]}}]}}, ["spec.rules[0].host", "spec.rules[0].http.paths[0].path", "spec.rules[0].http.paths[1].pathType"]),
    ("endpointslices.discovery.k8s.io", {"addressType": "IPX", "endpoints": [{"addresses": []}]}, ["addressType", "endpoints[0].addresses"]),
    ("validatingwebhookconfigurations.admissionregistration.k8s.io", {"webhooks": [{"name": "short", "clientConfig": {"url": "http://x"}, "sideEffects": "Some", "admissionReviewVersions": ["v1beta1"], "timeoutSeconds": 60}]},
     ["webhooks[0].name", "webhooks[0].clientConfig.url", "webhooks[0].sideEffects", "webhooks[0].timeoutSeconds", "webhooks[0].admissionReviewVersions"]),
]  # fmt: skip


@pytest.mark.parametrize(("key", "obj", "found"), CASES)
def test_kinds(key: str, obj: dict[str, Any], found: list[str]) -> None:
    assert fields(key, obj) == found


def test_what_must_not_change() -> None:
    old = {"metadata": {"name": "x"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template(a="b")}}
    assert fields("deployments.apps", {"spec": {"selector": {"matchLabels": {"a": "c"}}, "template": template(a="c")}}, old) == ["spec.selector"]
    assert fields("secrets", {"type": "x/y"}, {"metadata": {}, "type": "Opaque"}) == ["type"]
    assert fields("configmaps", {"data": {"a": "2"}, "immutable": True}, {"metadata": {}, "data": {"a": "1"}, "immutable": True}) == ["data"]
    service = {"metadata": {}, "spec": {"type": "ClusterIP", "clusterIP": "198.19.1.1"}}
    assert fields("services", {"spec": {"clusterIP": "198.19.1.2", "ports": [{"port": 1}]}}, service) == ["spec.clusterIPs[0]"]
    ending = {"metadata": {"deletionTimestamp": "t", "finalizers": ["a/b"]}}
    assert fields("configmaps", {"metadata": {"name": "x", "finalizers": ["a/b", "c/d"]}}, ending) == ["metadata.finalizers"]
