"""Injection on a running mesh, whatever API server calls it: certificates change, pods are large."""

import base64
import json

import pytest

from tests.support.mesh_sandbox import NAMESPACE, SYSTEM, Mesh, until

pytestmark = [pytest.mark.root, pytest.mark.e2e]

WEBHOOK, SECRET = "triomesh-sidecar-injector", "triomesh-injector-certs"


def bundle(mesh: Mesh) -> str:
    """The one CA bundle of all webhooks; "" while they differ."""
    found = mesh.kube.get("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration", WEBHOOK)["webhooks"]
    texts = {base64.b64decode(item["clientConfig"].get("caBundle", "")).decode() for item in found}
    return texts.pop() if len(texts) == 1 else ""


def make(mesh: Mesh, name: str, annotations: dict[str, str] | None = None, env: list[dict[str, str]] | None = None) -> list[str]:
    """Create a pod in the injected namespace, wait until it is ready, delete it. Returns the names of its containers."""
    container = {"name": "app", "image": "pause", "env": env or []}
    body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "annotations": annotations or {}}, "spec": {"terminationGracePeriodSeconds": 1, "containers": [container]}}
    mesh.cluster.kubectl("create", "-f", "-", namespace=NAMESPACE, stdin=json.dumps(body))
    try:
        mesh.kubectl("wait", f"pod/{name}", "--for=condition=Ready", "--timeout=40s", namespace=NAMESPACE)
        return [item["name"] for item in mesh.cluster.get("pod", NAMESPACE, name)["spec"]["containers"]]
    finally:
        mesh.kubectl("delete", f"pod/{name}", "--wait=false", namespace=NAMESPACE)


def test_a_new_webhook_certificate_fails_no_pod(mesh: Mesh) -> None:
    """Deleting the Secret makes the injector exchange its CA: both are trusted meanwhile."""
    before = until(lambda: bundle(mesh), "the webhooks have a CA")
    mesh.kubectl("delete", "secret", SECRET, namespace=SYSTEM)
    # Not one of these may be refused, whichever certificate is served and whichever CA the API server has heard of.
    while bundle(mesh) in ("", before):
        mesh.kubectl("run", "during", "--image=pause", "--dry-run=server", "-o", "name", namespace=NAMESPACE)
    assert before in bundle(mesh)
    assert bundle(mesh).count("BEGIN CERTIFICATE") >= 2
    assert make(mesh, "exchanged") == ["app", "triomesh-proxy"]


def test_a_pod_of_64_kib_is_injected_and_runs(mesh: Mesh) -> None:
    env = [{"name": f"VALUE_{number}", "value": "x" * 1000} for number in range(64)]
    assert make(mesh, "large", {"example.com/note": "y" * 65536}, env) == ["app", "triomesh-proxy"]
