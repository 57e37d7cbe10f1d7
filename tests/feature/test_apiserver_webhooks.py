"""Admission webhooks over real HTTPS."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client

from tests.support import apiserver as support
from tests.support.apiserver import call, pod
from tests.support.apiserver_peers import Webhook, json_patch

server = support.own_server
api = support.own_admin

PODS = "/api/v1/namespaces/default/pods"
CM = "/api/v1/namespaces/default/configmaps"
HOOKS = "/apis/admissionregistration.k8s.io/v1"


@pytest.fixture
def hook(tmp_path: Path, api: client.ApiClient) -> Iterator[Webhook]:
    """A webhook behind the Service mesh-system/injector."""
    with Webhook(tmp_path / "hook", "injector.mesh-system.svc").running() as started:
        call(api, "POST", "/api/v1/namespaces", {"metadata": {"name": "mesh-system"}})
        service = {"metadata": {"name": "injector"}, "spec": {"ports": [{"port": 443, "targetPort": 15017}]}}
        assert call(api, "POST", "/api/v1/namespaces/mesh-system/services", service)[0] == 201
        piece = {
            "metadata": {"name": "injector-1", "labels": {"kubernetes.io/service-name": "injector"}}, "addressType": "IPv4",
            "endpoints": [{"addresses": ["127.0.0.1"], "conditions": {"ready": True}}], "ports": [{"port": started.port}],
        }  # fmt: skip
        assert call(api, "POST", "/apis/discovery.k8s.io/v1/namespaces/mesh-system/endpointslices", piece)[0] == 201
        yield started


def register(api: client.ApiClient, hook: Webhook, kind: str = "Mutating", name: str = "a", plural: str = "pods", **more: Any) -> None:
    service = {"namespace": "mesh-system", "name": "injector", "path": "/inject"}
    entry = {
        "name": f"{name}.mesh.example.com", "clientConfig": {"service": service, "caBundle": hook.ca_bundle}, "sideEffects": "None", "admissionReviewVersions": ["v1"],
        "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": [plural]}], **more,
    }  # fmt: skip
    code, made, _ = call(api, "POST", f"{HOOKS}/{kind.lower()}webhookconfigurations", {"metadata": {"name": name}, "webhooks": [entry]})
    assert code == 201, made


def test_mutating_webhook_changes_the_pod_and_its_work_is_defaulted(api: client.ApiClient, hook: Webhook) -> None:
    register(api, hook, namespaceSelector={"matchLabels": {"injection": "on"}})
    hook.decide = lambda request: {**json_patch({"op": "add", "path": "/spec/containers/-", "value": {"name": "proxy", "image": "proxy:1", "ports": [{"containerPort": 15090}]}}), "warnings": ["injected"]}
    assert len(call(api, "POST", PODS, pod("before"))[1]["spec"]["containers"]) == 1
    call(api, "PATCH", "/api/v1/namespaces/default", {"metadata": {"labels": {"injection": "on"}}}, "application/merge-patch+json")
    code, made, headers = call(api, "POST", PODS, pod("after"))
    assert code == 201
    proxy = made["spec"]["containers"][1]
    assert proxy["ports"][0]["protocol"] == "TCP" and proxy["imagePullPolicy"] == "IfNotPresent"
    assert headers["Warning"] == '299 - "injected"'
    asked = hook.asked[0]
    assert (asked["operation"], asked["namespace"], asked["kind"]["kind"], asked["userInfo"]["username"]) == ("CREATE", "default", "Pod", "kubernetes-admin")
    assert asked["object"]["spec"]["serviceAccountName"] == "default"


def test_validating_webhook_refuses(api: client.ApiClient, hook: Webhook) -> None:
    register(api, hook, "Validating", plural="configmaps")
    hook.decide = lambda request: {"allowed": False, "status": {"code": 422, "reason": "Invalid", "message": "no, thank you"}}
    code, said, _ = call(api, "POST", CM, {"metadata": {"name": "refused"}})
    assert (code, said["message"]) == (422, 'admission webhook "a.mesh.example.com" denied the request: no, thank you')
    assert call(api, "GET", f"{CM}/refused")[0] == 404


def test_failure_policy(api: client.ApiClient, hook: Webhook) -> None:
    register(api, hook, "Validating", plural="configmaps", clientConfig={"url": "https://127.0.0.1:1/nobody"}, failurePolicy="Ignore")
    assert call(api, "POST", CM, {"metadata": {"name": "ignored"}})[0] == 201
    register(api, hook, "Validating", "b", plural="configmaps", clientConfig={"url": "https://127.0.0.1:1/nobody"})
    code, said, _ = call(api, "POST", CM, {"metadata": {"name": "failed"}})
    assert code == 500 and 'failed calling webhook "b.mesh.example.com": failed to call webhook: Post "https://127.0.0.1:1/nobody"' in said["message"]


def test_certificate_must_be_for_the_service_and_from_the_bundle(api: client.ApiClient, hook: Webhook, tmp_path: Path) -> None:
    stranger = Webhook(tmp_path / "stranger", "injector.mesh-system.svc")
    register(api, hook, "Validating", plural="configmaps", clientConfig={"service": {"namespace": "mesh-system", "name": "injector"}, "caBundle": stranger.ca_bundle})
    code, said, _ = call(api, "POST", CM, {"metadata": {"name": "untrusted"}})
    stranger._server.server_close()
    assert code == 500 and "certificate verify failed" in said["message"]


def test_timeout_is_a_failure(api: client.ApiClient, hook: Webhook) -> None:
    import threading

    release = threading.Event()
    register(api, hook, "Validating", plural="configmaps", timeoutSeconds=1)
    hook.decide = lambda request: {"allowed": release.wait(10)}
    code, said, _ = call(api, "POST", CM, {"metadata": {"name": "slow"}})
    release.set()
    assert code == 500 and "context deadline exceeded" in said["message"]


def test_dry_run_needs_a_webhook_without_side_effects(api: client.ApiClient, hook: Webhook) -> None:
    register(api, hook, "Validating", plural="configmaps", sideEffects="NoneOnDryRun")
    assert call(api, "POST", CM, {"metadata": {"name": "dry"}}, dryRun="All")[0] == 201
    assert hook.asked[-1]["dryRun"] is True


def test_webhook_that_asks_sees_what_a_later_one_changed(api: client.ApiClient, hook: Webhook) -> None:
    register(api, hook, name="a", reinvocationPolicy="IfNeeded")
    register(api, hook, name="b")

    def decide(request: dict[str, Any]) -> dict[str, Any]:
        count = len(hook.asked)
        if count == 2:  # b, after a
            return json_patch({"op": "add", "path": "/metadata/labels/seen", "value": "b"})
        return {"allowed": True}

    hook.decide = decide
    _, made, _ = call(api, "POST", PODS, pod("again", app="x"))
    assert made["metadata"]["labels"]["seen"] == "b"
    assert [(r["object"]["metadata"]["labels"].get("seen")) for r in hook.asked] == [None, None, "b"]


def test_answer_that_makes_no_sense_is_a_failure(api: client.ApiClient, hook: Webhook) -> None:
    register(api, hook)
    hook.decide = lambda request: json_patch({"op": "replace", "path": "/metadata/name", "value": "other"})
    code, said, _ = call(api, "POST", PODS, pod("renamed"))
    assert code == 400 and "its patch changes metadata.name" in said["message"]
    hook.decide = lambda request: {"uid": "wrong", "allowed": True}
    assert "expected response.uid" in call(api, "POST", PODS, pod("wrong"))[1]["message"]


def test_delete_is_validated_with_the_old_object(api: client.ApiClient, hook: Webhook) -> None:
    call(api, "POST", CM, {"metadata": {"name": "kept", "labels": {"keep": "yes"}}})
    rules = [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["DELETE"], "resources": ["configmaps"]}]
    register(api, hook, "Validating", rules=rules, objectSelector={"matchLabels": {"keep": "yes"}})
    hook.decide = lambda request: {"allowed": request["oldObject"]["metadata"]["name"] != "kept"}
    assert call(api, "DELETE", f"{CM}/kept")[0] == 400
    assert hook.asked[0]["object"] is None
