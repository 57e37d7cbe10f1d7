"""The ordinary kubectl on the server."""

from __future__ import annotations

import json

import pytest

from tests.support import apiserver as support
from tests.support.apiserver import KUBECTL, ApiServer

server = support.module_server

pytestmark = pytest.mark.skipif(KUBECTL is None, reason="kubectl is not on PATH")

MANIFEST = """
apiVersion: v1
kind: Service
metadata: {name: web, labels: {app: web}}
spec: {selector: {app: web}, ports: [{name: http, port: 80}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: %d
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: "web:1", ports: [{containerPort: 80}]}]}
"""


def test_apply_says_what_it_did(server: ApiServer) -> None:
    assert server.kubectl("apply", "-f", "-", stdin=MANIFEST % 1).stdout.splitlines() == ["service/web created", "deployment.apps/web created"]
    assert server.kubectl("apply", "-f", "-", stdin=MANIFEST % 1).stdout.splitlines() == ["service/web unchanged", "deployment.apps/web unchanged"]
    assert server.kubectl("apply", "-f", "-", stdin=MANIFEST % 2).stdout.splitlines() == ["service/web unchanged", "deployment.apps/web configured"]
    assert server.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=MANIFEST % 2).stdout.count("serverside-applied") == 2
    assert server.kubectl("diff", "-f", "-", stdin=MANIFEST % 2).stdout == ""


def test_apply_refuses_unknown_fields(server: ApiServer) -> None:
    done = server.kubectl("apply", "-f", "-", stdin=(MANIFEST % 1).replace("replicas:", "replica:"), check=False)
    assert done.returncode == 1 and 'unknown field "spec.replica"' in done.stderr


def test_get_in_all_its_forms(server: ApiServer) -> None:
    server.kubectl("apply", "-f", "-", stdin=MANIFEST % 2)
    head, row = server.kubectl("get", "deploy", "web", "-o", "wide").stdout.splitlines()
    assert head.split() == ["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE", "CONTAINERS", "IMAGES", "SELECTOR"] and row.split()[:2] == ["web", "0/2"]
    assert server.kubectl("get", "svc", "web", "-o", "jsonpath={.spec.ports[0].targetPort}").stdout == "80"
    assert server.kubectl("get", "deploy,svc", "-l", "app=web", "-o", "name").stdout.split() == ["service/web"]
    assert json.loads(server.kubectl("get", "deploy", "web", "-o", "json").stdout)["spec"]["replicas"] == 2
    assert "web" in server.kubectl("get", "all").stdout
    assert server.kubectl("get", "nothing", check=False).stderr == 'error: the server doesn\'t have a resource type "nothing"\n'


def test_describe_label_annotate_scale_patch(server: ApiServer) -> None:
    server.kubectl("apply", "-f", "-", stdin=MANIFEST % 2)
    assert "Replicas:               2 desired" in server.kubectl("describe", "deploy", "web").stdout
    assert "TargetPort:               80/TCP" in server.kubectl("describe", "svc", "web").stdout
    assert server.kubectl("label", "ns", "default", "triomesh-injection=enabled").stdout == "namespace/default labeled\n"
    assert server.kubectl("annotate", "deploy", "web", "a=b").stdout == "deployment.apps/web annotated\n"
    assert server.kubectl("scale", "deploy", "web", "--replicas=3").stdout == "deployment.apps/web scaled\n"
    assert server.kubectl("patch", "deploy", "web", "-p", '{"spec":{"paused":true}}').stdout == "deployment.apps/web patched\n"
    assert server.kubectl("rollout", "restart", "deploy", "web", check=False).stderr.startswith("error: deployments.apps \"web\" can't restart paused")
    found = json.loads(server.kubectl("get", "deploy", "web", "-o", "json").stdout)
    assert (found["spec"]["replicas"], found["spec"]["paused"], found["metadata"]["annotations"]["a"]) == (3, True, "b")


def test_typed_clients_that_send_protobuf(server: ApiServer) -> None:
    assert server.kubectl("create", "namespace", "typed").stdout == "namespace/typed created\n"
    server.kubectl("create", "deployment", "zero", "--image=a:1", "--replicas=0", "--port=8080", "-n", "typed")
    found = json.loads(server.kubectl("get", "deploy", "zero", "-n", "typed", "-o", "json").stdout)
    assert found["spec"]["replicas"] == 0 and found["spec"]["template"]["spec"]["containers"][0]["ports"] == [{"containerPort": 8080, "protocol": "TCP"}]
    server.kubectl("create", "secret", "generic", "s", "--from-literal=k=v", "-n", "typed")
    assert server.kubectl("get", "secret", "s", "-n", "typed", "-o", "jsonpath={.data.k}").stdout == "dg=="
    assert server.kubectl("create", "token", "default").stdout.count(".") == 2
    server.kubectl("create", "role", "r", "--verb=get,list", "--resource=pods", "-n", "typed")
    server.kubectl("create", "rolebinding", "r", "--role=r", "--user=jane", "-n", "typed")
    assert server.kubectl("auth", "can-i", "list", "pods", "--as=jane", "-n", "typed").stdout == "yes\n"
    assert server.kubectl("auth", "can-i", "list", "pods", "--as=jane", check=False).stdout.startswith("no")


def test_wait_and_watch_see_changes(server: ApiServer) -> None:
    server.kubectl("create", "configmap", "waited", "--from-literal=a=b")
    assert server.kubectl("wait", "--for=jsonpath={.data.a}=b", "cm/waited", "--timeout=10s").stdout == "configmap/waited condition met\n"
    assert server.kubectl("delete", "cm", "waited").stdout == 'configmap "waited" deleted\n'


def test_api_resources_explain_and_version(server: ApiServer) -> None:
    listed = server.kubectl("api-resources", "--api-group=apps", "-o", "name").stdout.split()
    assert listed == ["controllerrevisions.apps", "daemonsets.apps", "deployments.apps", "replicasets.apps", "statefulsets.apps"]
    assert "rollingUpdate\t<RollingUpdateDeployment>" in server.kubectl("explain", "deploy.spec.strategy").stdout
    assert server.kubectl("version").stdout.splitlines()[-1].startswith("Server Version: v1.32")
    assert "v1" in server.kubectl("api-versions").stdout.split()
