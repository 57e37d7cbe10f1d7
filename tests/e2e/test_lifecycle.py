"""Pods come and go under load, and nobody notices."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.support.mesh_sandbox import NAMESPACE, SYSTEM, Load, Mesh, until, unwanted

pytestmark = [pytest.mark.root, pytest.mark.e2e]

RPS = 25.0
MARGIN = 25  # requests before the change and after it


@contextmanager
def no_failed_request(mesh: Mesh) -> Iterator[Load]:
    """Load through the gateway while the block runs: nothing fails, at the gateway or between services."""
    before = mesh.answers()
    with mesh.load(rps=RPS) as load:
        yield load
    assert load.statuses() == {200}, load.failed()
    assert unwanted(mesh.answers() - before) == {}


@pytest.fixture
def on_v1(bookinfo: Mesh) -> Mesh:
    """All reviews come from v1: its pods alone have to carry the load."""
    bookinfo.apply_file("networking/virtual-service-all-v1.yaml")
    until(lambda: bookinfo.made_from("VirtualService/default/reviews"), "productpage has its routes")
    return bookinfo


def reached(mesh: Mesh, selector: str) -> Callable[[], bool]:
    """Whether the pod with these labels has answered requests since now."""
    name = mesh.pod(selector)["metadata"]["name"]
    before = served(mesh, name)
    return lambda: served(mesh, name) - before >= MARGIN


def served(mesh: Mesh, pod: str) -> int:
    text = next(text for proxy, text in mesh.metrics().items() if proxy.name == pod)
    return sum(int(float(line.rsplit(" ", 1)[1])) for line in text.splitlines() if line.startswith("istio_requests_total{") and 'reporter="destination"' in line)


@pytest.mark.parametrize("deployment", ["reviews-v1", "productpage-v1"])
def test_a_rollout_restart_fails_no_request(on_v1: Mesh, deployment: str) -> None:
    mesh, (app, version) = on_v1, deployment.rsplit("-", 1)
    old = mesh.pod(f"app={app},version={version}")["metadata"]["name"]
    with no_failed_request(mesh):
        mesh.kubectl("rollout", "restart", f"deployment/{deployment}", namespace=NAMESPACE)
        mesh.kubectl("rollout", "status", f"deployment/{deployment}", "--timeout=50s", namespace=NAMESPACE)
        mesh.kubectl("wait", f"pod/{old}", "--for=delete", "--timeout=50s", namespace=NAMESPACE)
        until(reached(mesh, f"app={app},version={version}"), "the new pod serves")


def test_the_gateway_restarts_without_a_failed_request(on_v1: Mesh) -> None:
    mesh = on_v1
    name = "triomesh-ingressgateway"
    old = mesh.pod(f"app={name}", SYSTEM)["metadata"]["name"]
    with no_failed_request(mesh):
        mesh.kubectl("rollout", "restart", f"deployment/{name}", namespace=SYSTEM)
        mesh.kubectl("rollout", "status", f"deployment/{name}", "--timeout=50s", namespace=SYSTEM)
        mesh.kubectl("wait", f"pod/{old}", "--for=delete", "--timeout=50s", namespace=SYSTEM)


def test_scaling_and_deleting_pods_fails_no_request(on_v1: Mesh) -> None:
    mesh, selector = on_v1, "app=reviews,version=v1"
    only = mesh.pod(selector)["metadata"]["name"]
    with no_failed_request(mesh):
        mesh.kubectl("scale", "deployment/reviews-v1", "--replicas=3", namespace=NAMESPACE)
        mesh.kubectl("rollout", "status", "deployment/reviews-v1", "--timeout=50s", namespace=NAMESPACE)
        added = [name for name in mesh.await_pods(selector) if name != only]
        assert len(added) == 2
        for name in added:
            until(lambda name=name: served(mesh, name) > 0, f"{name} serves")
        mesh.kubectl("delete", "pod", only, "--timeout=50s", namespace=NAMESPACE)
        mesh.kubectl("rollout", "status", "deployment/reviews-v1", "--timeout=50s", namespace=NAMESPACE)
        mesh.kubectl("scale", "deployment/reviews-v1", "--replicas=1", namespace=NAMESPACE)
        until(lambda: len(mesh.kube.list("v1", "Pod", NAMESPACE, selector)) == 1, "one pod is left")
        until(reached(mesh, selector), "the pod that is left serves")


LEAVING = """
apiVersion: v1
kind: Namespace
metadata: {name: leaving}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: theirs, namespace: leaving}
spec:
  hosts: [details.default.svc.cluster.local]
  http: [{route: [{destination: {host: details.default.svc.cluster.local}}]}]
---
apiVersion: v1
kind: Pod
metadata: {name: slow, namespace: leaving}
spec:
  containers: [{name: slow, image: busybox, command: [sh, -c, "trap : TERM; while :; do sleep 1; done"]}]
"""


def test_the_routes_of_a_namespace_that_is_going_are_gone_before_its_pods(bookinfo: Mesh) -> None:
    """A pod that takes its thirty seconds holds its namespace up, not what the namespace's objects said to others."""
    mesh = bookinfo

    def is_routed() -> bool:
        return mesh.made_from("VirtualService/leaving/theirs") != []

    mesh.kubectl("apply", "-f", "-", stdin=LEAVING)
    mesh.kubectl("wait", "pod/slow", "--for=condition=Ready", "--timeout=30s", namespace="leaving")
    until(is_routed, "the other namespace's rule reached productpage")
    mesh.kubectl("delete", "namespace", "leaving", "--wait=false")
    until(lambda: not is_routed(), "the rule is gone")
    assert mesh.kubectl("get", "pod", "slow", "-o", "name", namespace="leaving").strip() == "pod/slow"
    mesh.kubectl("delete", "pod", "slow", "--grace-period=0", "--force", namespace="leaving")
