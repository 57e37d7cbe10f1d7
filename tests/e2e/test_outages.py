"""Parts of the mesh die: traffic goes on, and what died catches up."""

from collections.abc import Callable, Iterator

import pytest

from tests.support.mesh_sandbox import NAMESPACE, SYSTEM, Load, Mesh, Stage, kill, until, unwanted

pytestmark = [pytest.mark.root, pytest.mark.e2e]

RPS = 25.0
MARGIN = 50


@pytest.fixture
def on_v1(bookinfo: Mesh) -> Mesh:
    bookinfo.apply_file("networking/virtual-service-all-v1.yaml")
    until(lambda: bookinfo.made_from("VirtualService/default/reviews"), "productpage has its routes")
    return bookinfo


def served(mesh: Mesh) -> int:
    return sum(count for key, count in mesh.answers().items() if key[0] == "source" and key[2] == "productpage")


def progress(mesh: Mesh) -> Callable[[], bool]:
    """Whether the gateway has answered a good many requests since now."""
    before = served(mesh)
    return lambda: served(mesh) - before >= MARGIN


def whole(mesh: Mesh, load: Load, before: object) -> None:
    assert load.statuses() == {200}, load.failed()
    assert unwanted(mesh.answers() - before) == {}  # type: ignore[operator]


def test_a_killed_control_plane_stops_no_request_and_comes_back(on_v1: Mesh) -> None:
    mesh = on_v1
    pod = mesh.pod("app=triomesh-control", SYSTEM)
    name = pod["metadata"]["name"]
    (pid,) = mesh.processes(pod, "mesh.control")
    before = mesh.answers()
    with mesh.load(rps=RPS) as load:
        kill(pid)
        until(progress(mesh), "requests go on without a control plane")
        mesh.kubectl("wait", f"pod/{name}", "--for=jsonpath={.status.containerStatuses[0].restartCount}=1", "--timeout=30s", namespace=SYSTEM)
        mesh.kubectl("wait", f"pod/{name}", "--for=condition=Ready", "--timeout=30s", namespace=SYSTEM)
        mesh.apply_file("networking/virtual-service-reviews-90-10.yaml")
        mesh.await_weights("reviews", [90, 10])
        until(lambda: len(mesh.meshctl_json("proxy-status")) == 7, "every proxy is connected again")
    whole(mesh, load, before)


def test_a_killed_api_server_comes_back_with_its_watches(on_v1: Mesh, stage: Stage) -> None:
    mesh = on_v1
    before = mesh.answers()
    with mesh.load(rps=RPS) as load:
        stage.restart_api_server()
        mesh.apply_file("networking/virtual-service-reviews-90-10.yaml")
        mesh.await_weights("reviews", [90, 10])
        until(progress(mesh), "requests go on")
        # Controllers, scheduler, node and injector all resume: a new pod is made, injected and started.
        mesh.kubectl("scale", "deployment/ratings-v1", "--replicas=2", namespace=NAMESPACE)
        ready = mesh.await_pods("app=ratings,version=v1")
        until(lambda: len(mesh.await_pods("app=ratings,version=v1")) == 2, "a second ratings pod")
        assert set(ready.values()) == {"2/2"}
        mesh.kubectl("scale", "deployment/ratings-v1", "--replicas=1", namespace=NAMESPACE)
        until(lambda: len(mesh.kube.list("v1", "Pod", NAMESPACE, "app=ratings,version=v1")) == 1, "one ratings pod again")
    whole(mesh, load, before)
    assert mesh.status().state == "up"


@pytest.fixture
def without_injector(mesh: Mesh) -> Iterator[Mesh]:
    """The injector is scaled to nothing; back afterwards."""
    mesh.kubectl("scale", "deployment/triomesh-injector", "--replicas=0", namespace=SYSTEM)
    until(lambda: not mesh.kube.list("v1", "Pod", SYSTEM, "app=triomesh-injector"), "the injector is gone")
    yield mesh
    mesh.kubectl("scale", "deployment/triomesh-injector", "--replicas=1", namespace=SYSTEM)
    mesh.kubectl("rollout", "status", "deployment/triomesh-injector", "--timeout=50s", namespace=SYSTEM)


def test_without_injector_opted_in_pods_fail_clearly_and_others_do_not(without_injector: Mesh) -> None:
    mesh = without_injector
    done = mesh.cluster.run("run", "lost", "--image=pause", namespace=NAMESPACE, check=False)
    assert done.returncode == 1
    assert "failed calling webhook" in done.stderr and "namespace.sidecar-injector.triomesh.io" in done.stderr, done.stderr
    with mesh.cluster.namespace() as plain:
        mesh.kubectl("run", "found", "--image=pause", namespace=plain)
        mesh.kubectl("wait", "pod/found", "--for=condition=Ready", "--timeout=30s", namespace=plain)
        assert len(mesh.cluster.get("pod", plain, "found")["spec"]["containers"]) == 1


def test_an_injector_that_is_back_injects(mesh: Mesh) -> None:
    """With the certificate that it kept: the webhook's caBundle still fits."""
    until(lambda: mesh.cluster.run("run", "again", "--image=pause", namespace=NAMESPACE, check=False).returncode == 0, "the injector answers")
    mesh.kubectl("wait", "pod/again", "--for=condition=Ready", "--timeout=40s", namespace=NAMESPACE)
    names = [container["name"] for container in mesh.cluster.get("pod", NAMESPACE, "again")["spec"]["containers"]]
    mesh.kubectl("delete", "pod/again", "--grace-period=1", namespace=NAMESPACE)
    assert names == ["again", "triomesh-proxy"]
