"""The contract: requests whose answers must be the same from our API server and from a real kube-apiserver.

`play(api)` sends STEPS in order and returns normalised answers. `python -m tests.support.apiserver_contract FILE` records those of the real
server (built by scripts/kube-binaries.sh) into FILE.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from kubernetes import client, config, watch

from tests.support.apiserver import call

JSON, MERGE = "application/json", "application/merge-patch+json"
STRATEGIC, APPLY, PATCH = "application/strategic-merge-patch+json", "application/apply-patch+yaml", "application/json-patch+json"

NS = "/api/v1/namespaces/contract"
CM, PODS, SVC, SECRETS = f"{NS}/configmaps", f"{NS}/pods", f"{NS}/services", f"{NS}/secrets"
DEPLOY = "/apis/apps/v1/namespaces/contract/deployments"
APPS, NET = "/apis/apps/v1/namespaces/contract", "/apis/networking.k8s.io/v1/namespaces/contract"
JOBS = "/apis/batch/v1/namespaces/contract/jobs"
ROLES = "/apis/rbac.authorization.k8s.io/v1/namespaces/contract"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
GADGETS = "/apis/contract.example.com/v1/namespaces/contract/gadgets"


class Step(NamedTuple):
    """One request. `name` keys the record."""

    name: str
    method: str
    path: str
    body: Any = None
    content_type: str = JSON
    query: dict[str, str] = {}


def _deployment(name: str, **spec: Any) -> dict[str, Any]:
    labels = {"app": name}
    container = {"name": "app", "image": "app:1", "ports": [{"containerPort": 80, "name": "http"}], "readinessProbe": {"httpGet": {"port": "http"}}}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}}, **spec}}


def _pod(name: str, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "labels": {"app": name}}, "spec": {"automountServiceAccountToken": False, "containers": [{"name": "app", "image": "app:1"}], **spec}}


_GADGET_SCHEMA = {"type": "object", "properties": {"spec": {"type": "object", "required": ["size"], "properties": {
    "size": {"type": "integer", "minimum": 1, "maximum": 9}, "mode": {"type": "string", "enum": ["fast", "slow"], "default": "fast"}, "name": {"type": "string", "pattern": "^[a-z]+$", "maxLength": 4},
    "list": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"], "items": {"type": "object", "required": ["k"], "properties": {"k": {"type": "string"}, "v": {"type": "integer"}}}}}},
    "status": {"type": "object", "properties": {"ok": {"type": "boolean"}}}}}  # fmt: skip
_CRD = {"metadata": {"name": "gadgets.contract.example.com"}, "spec": {"group": "contract.example.com", "scope": "Namespaced", "names": {"plural": "gadgets", "kind": "Gadget"},
        "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": _GADGET_SCHEMA}, "subresources": {"status": {}}}]}}  # fmt: skip

STEPS = [
    Step("namespace", "POST", "/api/v1/namespaces", {"metadata": {"name": "contract"}}),
    Step("account", "POST", f"{NS}/serviceaccounts", {"metadata": {"name": "default"}}),
    Step("create", "POST", CM, {"metadata": {"name": "c", "labels": {"a": "b"}}, "data": {"k": "v"}}),
    Step("create twice", "POST", CM, {"metadata": {"name": "c"}}),
    Step("get", "GET", f"{CM}/c"),
    Step("get nothing", "GET", f"{CM}/none"),
    Step("bad name", "POST", CM, {"metadata": {"name": "Bad_"}}),
    Step("no name", "POST", CM, {"metadata": {}}),
    Step("bad label", "POST", CM, {"metadata": {"name": "l", "labels": {"a": "b c"}}}),
    Step("bad key", "POST", CM, {"metadata": {"name": "l"}, "data": {"a/b": "c"}}),
    Step("wrong kind", "POST", CM, {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x"}}),
    Step("wrong namespace", "POST", CM, {"metadata": {"name": "x", "namespace": "other"}}),
    Step("no such namespace", "POST", "/api/v1/namespaces/nowhere/configmaps", {"metadata": {"name": "x"}}),
    Step("strict", "POST", CM, '{"metadata":{"name":"s"},"data":{"a":"1","a":"2"},"dta":{}}', query={"fieldValidation": "Strict"}),
    Step("merge patch", "PATCH", f"{CM}/c", {"data": {"k": None, "n": "1"}}, MERGE),
    Step("json patch", "PATCH", f"{CM}/c", [{"op": "add", "path": "/data/m", "value": "2"}], PATCH),
    Step("failed test", "PATCH", f"{CM}/c", [{"op": "test", "path": "/data/m", "value": "3"}], PATCH),
    Step("stale", "PUT", f"{CM}/c", {"metadata": {"name": "c", "resourceVersion": "1"}}),
    Step("other name", "PUT", f"{CM}/c", {"metadata": {"name": "d"}}),
    Step("unknown field selector", "GET", CM, query={"fieldSelector": "data.x=1"}),
    Step("bad label selector", "GET", CM, query={"labelSelector": "a in"}),
    Step("list", "GET", CM, query={"labelSelector": "a=b", "limit": "500"}),
    Step("secret", "POST", SECRETS, {"metadata": {"name": "s"}, "stringData": {"a": "b"}}),
    Step("tls secret", "POST", SECRETS, {"metadata": {"name": "t"}, "type": "kubernetes.io/tls", "data": {"tls.crt": ""}}),
    Step("deployment", "POST", DEPLOY, _deployment("web")),
    Step("selector mismatch", "POST", DEPLOY, {**_deployment("bad"), "spec": {**_deployment("bad")["spec"], "selector": {"matchLabels": {"app": "no"}}}}),
    Step("wrong type", "POST", DEPLOY, _deployment("bad", replicas="three")),
    Step("strategic", "PATCH", f"{DEPLOY}/web", {"spec": {"replicas": 3, "template": {"spec": {"containers": [{"name": "app", "image": "app:2"}, {"name": "b", "image": "b:1"}]}}}}, STRATEGIC),
    Step("scale", "PATCH", f"{DEPLOY}/web/scale", {"spec": {"replicas": 5}}, MERGE),
    Step("immutable selector", "PATCH", f"{DEPLOY}/web", {"spec": {"selector": {"matchLabels": {"x": "y"}}, "template": {"metadata": {"labels": {"x": "y"}}}}}, MERGE),
    Step("status", "PATCH", f"{DEPLOY}/web/status", {"status": {"replicas": 2, "observedGeneration": 1}, "spec": {"replicas": 9}}, MERGE),
    Step("apply", "PATCH", f"{DEPLOY}/applied", _deployment("applied", replicas=2), APPLY, {"fieldManager": "one"}),
    Step("apply other", "PATCH", f"{DEPLOY}/applied", {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "applied", "labels": {"by": "two"}}, "spec": {"template": {"spec": {"containers": [{"name": "side", "image": "s:1"}]}}}}, APPLY, {"fieldManager": "two"}),
    Step("apply conflict", "PATCH", f"{DEPLOY}/applied", {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "applied"}, "spec": {"replicas": 7}}, APPLY, {"fieldManager": "two"}),
    Step("apply force", "PATCH", f"{DEPLOY}/applied", {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "applied"}, "spec": {"replicas": 7}}, APPLY, {"fieldManager": "two", "force": "true"}),
    Step("apply less", "PATCH", f"{DEPLOY}/applied", {**_deployment("applied"), "metadata": {"name": "applied"}}, APPLY, {"fieldManager": "one"}),
    Step("apply without manager", "PATCH", f"{DEPLOY}/applied", _deployment("applied"), APPLY),
    Step("pod", "POST", PODS, _pod("p")),
    Step("pod without image", "POST", PODS, {"metadata": {"name": "x"}, "spec": {"containers": [{"name": "a"}]}}),
    Step("pod of nobody", "POST", PODS, _pod("x", serviceAccountName="nobody")),
    Step("pod bad port", "POST", PODS, _pod("x", containers=[{"name": "a", "image": "i", "ports": [{"containerPort": 0}]}])),
    Step("pod volume missing", "POST", PODS, _pod("x", containers=[{"name": "a", "image": "i", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}])),
    Step("binding", "POST", f"{PODS}/p/binding", {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n1"}}),
    Step("bound elsewhere", "POST", f"{PODS}/p/binding", {"metadata": {"name": "q"}, "target": {"kind": "Node", "name": "n2"}}),
    Step("bound twice", "POST", f"{PODS}/p/binding", {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n2"}}),
    Step("log without node", "GET", f"{PODS}/p/log"),
    Step("graceful", "DELETE", f"{PODS}/p"),
    Step("forced", "DELETE", f"{PODS}/p", {"gracePeriodSeconds": 0}),
    Step("service", "POST", SVC, {"metadata": {"name": "s"}, "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}}),
    Step("service bad name", "POST", SVC, {"metadata": {"name": "1s"}, "spec": {"ports": [{"port": 80}]}}),
    Step("service no ports", "POST", SVC, {"metadata": {"name": "n"}, "spec": {}}),
    Step("headless", "POST", SVC, {"metadata": {"name": "h"}, "spec": {"clusterIP": "None", "ports": [{"port": 80}]}}),
    Step("replica set", "POST", f"{APPS}/replicasets", {"metadata": {"name": "rs"}, "spec": _deployment("rs")["spec"]}),
    Step("stateful set", "POST", f"{APPS}/statefulsets", {"metadata": {"name": "ss"}, "spec": {**_deployment("ss")["spec"], "serviceName": "ss"}}),
    Step("daemon set", "POST", f"{APPS}/daemonsets", {"metadata": {"name": "ds"}, "spec": _deployment("ds")["spec"]}),
    Step("budget", "POST", "/apis/policy/v1/namespaces/contract/poddisruptionbudgets", {"metadata": {"name": "b"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}}}),
    Step("ingress", "POST", f"{NET}/ingresses", {"metadata": {"name": "i"}, "spec": {"rules": [{"host": "a.b", "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "s", "port": {"number": 80}}}}]}}]}}),
    Step("ingress bad path", "POST", f"{NET}/ingresses", {"metadata": {"name": "j"}, "spec": {"rules": [{"http": {"paths": [{"path": "x", "pathType": "Exact", "backend": {"service": {"name": "s", "port": {"number": 80}}}}]}}]}}),
    Step("network policy", "POST", f"{NET}/networkpolicies", {"metadata": {"name": "np"}, "spec": {"podSelector": {}, "egress": [{"ports": [{"port": 53}]}]}}),
    Step("endpoint slice", "POST", "/apis/discovery.k8s.io/v1/namespaces/contract/endpointslices", {"metadata": {"name": "es"}, "addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"]}], "ports": [{"port": 80}]}),
    Step("node", "POST", "/api/v1/nodes", {"metadata": {"name": "contract-node"}}),
    Step("lease", "POST", "/apis/coordination.k8s.io/v1/namespaces/contract/leases", {"metadata": {"name": "l"}, "spec": {"holderIdentity": "me", "leaseDurationSeconds": 15}}),
    Step("event", "POST", f"{NS}/events", {"metadata": {"name": "e"}, "involvedObject": {"kind": "Pod", "name": "p", "namespace": "contract"}, "reason": "R", "message": "m", "type": "Normal"}),
    Step("hook", "POST", "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations", {"metadata": {"name": "contract"}, "webhooks": [{"name": "a.b.c", "clientConfig": {"url": "https://127.0.0.1:1/x"}, "sideEffects": "None", "admissionReviewVersions": ["v1"], "rules": [{"apiGroups": ["none.example.com"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["nothings"]}]}]}),
    Step("bad hook", "POST", "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations", {"metadata": {"name": "contract"}, "webhooks": [{"name": "short", "clientConfig": {}, "sideEffects": "Some", "admissionReviewVersions": ["v1"]}]}),
    Step("cluster role", "POST", "/apis/rbac.authorization.k8s.io/v1/clusterroles", {"metadata": {"name": "contract:role"}, "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]}),
    Step("cron job", "POST", "/apis/batch/v1/namespaces/contract/cronjobs", {"metadata": {"name": "cj"}, "spec": {"schedule": "*/5 * * * *", "jobTemplate": {"spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "a", "image": "i:1"}]}}}}}}),
    Step("bad schedule", "POST", "/apis/batch/v1/namespaces/contract/cronjobs", {"metadata": {"name": "ck"}, "spec": {"schedule": "often", "jobTemplate": {"spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "a", "image": "i:1"}]}}}}}}),
    Step("job", "POST", JOBS, {"metadata": {"name": "j"}, "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "a", "image": "i:1"}]}}}}),
    Step("binding to nothing", "POST", f"{ROLES}/rolebindings", {"metadata": {"name": "b"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"}, "subjects": [{"kind": "User", "name": "u"}]}),
    Step("role ref", "PATCH", f"{ROLES}/rolebindings/b", {"roleRef": {"name": "other"}}, MERGE),
    Step("definition", "POST", CRDS, _CRD),
    Step("gadget", "POST", GADGETS, {"apiVersion": "contract.example.com/v1", "kind": "Gadget", "metadata": {"name": "g"}, "spec": {"size": 3, "bogus": 1}, "status": {"ok": True}}),
    Step("bad gadget", "POST", GADGETS, {"apiVersion": "contract.example.com/v1", "kind": "Gadget", "metadata": {"name": "h"}, "spec": {"size": 0, "mode": "odd", "name": "UPPER", "list": [{"v": 1}]}}),
    Step("gadget type", "POST", GADGETS, {"apiVersion": "contract.example.com/v1", "kind": "Gadget", "metadata": {"name": "h"}, "spec": {"size": "3"}}),
    Step("gadget strategic", "PATCH", f"{GADGETS}/g", {}, STRATEGIC),
    Step("gadget strict", "POST", GADGETS, {"apiVersion": "contract.example.com/v1", "kind": "Gadget", "metadata": {"name": "h"}, "spec": {"size": 3, "bogus": 1}}, JSON, {"fieldValidation": "Strict"}),
    Step("gadget status", "PATCH", f"{GADGETS}/g/status", {"status": {"ok": True}, "spec": {"size": 9}}, MERGE),
    Step("finalizer", "POST", CM, {"metadata": {"name": "f", "finalizers": ["a.b/c"]}}),
    Step("ending", "DELETE", f"{CM}/f", None, JSON, {"propagationPolicy": "Foreground"}),
    Step("no new finalizers", "PATCH", f"{CM}/f", {"metadata": {"finalizers": ["a.b/c", "d.e/f"]}}, MERGE),
    Step("immortal", "DELETE", "/api/v1/namespaces/default"),
    Step("no such resource", "GET", "/api/v1/nothings"),
    Step("no such group", "GET", "/apis/none.example.com/v1/things"),
    Step("short token", "POST", f"{NS}/serviceaccounts/default/token", {"spec": {"expirationSeconds": 5}}),
    Step("access", "POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", {"spec": {"user": "jane", "resourceAttributes": {"verb": "get", "resource": "pods", "namespace": "contract"}}}),
    Step("bad token", "POST", "/apis/authentication.k8s.io/v1/tokenreviews", {"spec": {"token": "x"}}),
    Step("delete", "DELETE", f"{CM}/c"),
]  # fmt: skip


def play(api: client.ApiClient) -> dict[str, Any]:
    """Normalised answers by step."""
    found = {}
    for step in STEPS:
        found[step.name] = normalise(*call(api, step.method, step.path, step.body, step.content_type, **step.query)[:2])
        if step.name == "definition":
            # A real server needs a moment to establish it.
            waiting = watch.Watch()
            for _ in waiting.stream(client.CustomObjectsApi(api).list_cluster_custom_object, "apiextensions.k8s.io", "v1", "customresourcedefinitions", timeout_seconds=30):
                if call(api, "GET", GADGETS)[0] == 200 and call(api, "POST", GADGETS, {"metadata": {"name": "probe"}, "spec": {"size": 1}}, JSON, dryRun="All")[0] == 201:
                    waiting.stop()
    return found


def normalise(code: int, body: Any) -> dict[str, Any]:
    """The answer without what differs from run to run."""
    return {"code": code, "body": _scrub(body)}


VOLATILE = {"uid", "resourceVersion", "creationTimestamp", "time", "deletionTimestamp", "clusterIP", "lastTransitionTime", "lastProbeTime"}


def _scrub(value: Any, key: str = "") -> Any:
    if isinstance(value, dict):
        return {re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "<uid>", k): "*" if k in VOLATILE and v else _scrub(v, k) for k, v in value.items() if v is not None or k not in VOLATILE}
    if isinstance(value, list):
        return ["*"] if key == "clusterIPs" and value != ["None"] else [_scrub(v) for v in value]
    return re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "<uid>", value) if isinstance(value, str) else value


def main() -> None:
    """Record the real server's answers."""
    from tests.support.kube_server import binaries, real_kube

    with tempfile.TemporaryDirectory() as directory, real_kube(Path(directory), binaries()) as server:
        with client_of(server.kubeconfig) as api:
            Path(sys.argv[1]).write_text(json.dumps(play(api), indent=1, sort_keys=True) + "\n")


def client_of(kubeconfig: Path) -> client.ApiClient:
    """An API client by a kubeconfig."""
    settings = client.Configuration()
    config.load_kube_config(str(kubeconfig), client_configuration=settings)
    settings.retries = False
    return client.ApiClient(settings)


if __name__ == "__main__":
    main()
