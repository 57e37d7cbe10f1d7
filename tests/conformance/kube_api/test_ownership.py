"""ownerReferences and the end of namespaces, where an API server and controllers work together: the same stories for each pair of them.

`--kube=embedded`: our API server and our controllers; `real`: Kubernetes' own; `bare`: its API server and our controllers.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client

from tests.support.apiserver import ApiServer, call
from tests.support.apiserver_contract import MERGE, client_of
from tests.support.kube_scenes import CRDS, crd
from tests.support.kube_server import binaries, real_kube

Json = dict[str, Any]
KUBERNETES = ("garbage-collector-controller", "namespace-controller", "serviceaccount-controller", "root-ca-certificate-publisher-controller")
OURS = "garbage,namespaces"
SECONDS = 40.0
NEW_KIND_SECONDS = 120.0
"""Kubernetes' collector looks for new kinds every 30 s, and has put off by then what it did not understand; ours follows the CRDs."""


class Cluster:
    """Objects of one namespace, by the API alone."""

    def __init__(self, api: client.ApiClient, namespace: str) -> None:
        self._api, self.namespace = api, namespace
        self.good("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})

    def call(self, method: str, path: str, body: Any = None, kind: str = "application/json", **query: Any) -> tuple[int, Any]:
        path = path if path.startswith("/") else f"/api/v1/namespaces/{self.namespace}/{path}"
        return call(self._api, method, path, body, kind, **query)[:2]

    def good(self, method: str, path: str, body: Any = None, kind: str = "application/json", **query: Any) -> Json:
        code, answer = self.call(method, path, body, kind, **query)
        assert code < 300, (method, path, answer)
        return dict(answer)

    def make(self, name: str, *owners: Json, blocking: bool = True, finalizers: tuple[str, ...] = ()) -> Json:
        """A ConfigMap that belongs to others."""
        references = [{"apiVersion": "v1", "kind": "ConfigMap", **{key: owner["metadata"][key] for key in ("name", "uid")}, "blockOwnerDeletion": blocking} for owner in owners]
        return self.good("POST", "configmaps", {"metadata": {"name": name, "ownerReferences": references, "finalizers": list(finalizers)}})

    def delete(self, name: str, propagation: str) -> None:
        self.good("DELETE", f"configmaps/{name}", {"propagationPolicy": propagation})

    def names(self) -> set[str]:
        """Of its ConfigMaps, but for the one that every namespace has."""
        return {item["metadata"]["name"] for item in self.good("GET", "configmaps")["items"]} - {"kube-root-ca.crt"}

    def meta(self, name: str) -> Json:
        return dict(self.good("GET", f"configmaps/{name}")["metadata"])


def until(holds: Callable[[], bool], what: str, seconds: float = SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


@contextmanager
def our_controllers(directory: Path, kubeconfig: Path) -> Iterator[None]:
    """A process of them, on whatever API server."""
    state = directory / "controllers"
    (state / "pki").mkdir(parents=True)
    (state / "pki/ca.crt").write_bytes((kubeconfig.parent / "pki/ca.crt").read_bytes())
    command = [sys.executable, "-m", "mesh.sandbox.controllers", "--state", str(state), "--kubeconfig", str(kubeconfig), "--only", OURS]
    with (state / "log").open("wb") as log, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n", (state / "log").read_text()
            yield
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def api(kube: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[client.ApiClient]:
    directory = tmp_path_factory.mktemp("ownership")
    with ExitStack() as stack:
        if kube == "embedded":
            server = ApiServer(directory / "state")
            stack.callback(server.close)
            server.start()
            kubeconfig = server.kubeconfig
        else:
            kubeconfig = stack.enter_context(real_kube(directory, binaries(), controllers=KUBERNETES if kube == "real" else ())).kubeconfig
        if kube != "real":
            stack.enter_context(our_controllers(directory, kubeconfig))
        yield stack.enter_context(client_of(kubeconfig))


@pytest.fixture
def cluster(api: client.ApiClient, request: pytest.FixtureRequest) -> Cluster:
    return Cluster(api, request.node.name.removeprefix("test_").replace("_", "-")[:50].strip("-"))


def test_background_deletion_takes_what_is_owned_later(cluster: Cluster) -> None:
    owner = cluster.make("owner")
    child = cluster.make("child", owner)
    cluster.make("grandchild", child)
    cluster.make("other")
    cluster.delete("owner", "Background")
    assert cluster.call("GET", "configmaps/owner")[0] == 404
    until(lambda: cluster.names() == {"other"}, "children and their children go")


def test_foreground_deletion_waits_for_what_blocks_it(cluster: Cluster) -> None:
    owner = cluster.make("owner")
    cluster.make("child", owner, finalizers=("example.com/hold",))
    cluster.make("loose", owner, blocking=False)
    cluster.delete("owner", "Foreground")
    until(lambda: "deletionTimestamp" in cluster.meta("child"), "the child is being deleted")
    meta = cluster.meta("owner")
    assert "deletionTimestamp" in meta and meta["finalizers"] == ["foregroundDeletion"]
    cluster.good("PATCH", "configmaps/child", {"metadata": {"finalizers": None}}, MERGE)
    until(lambda: cluster.names() == set(), "all of them go")


def test_orphaned_children_stay_and_forget(cluster: Cluster) -> None:
    owner = cluster.make("owner")
    cluster.make("child", owner)
    # A collector that has not seen the child yet would have nothing to orphan, and collect it afterwards: the same on both.
    cluster.make("witness", cluster.make("gone"))
    cluster.delete("gone", "Background")
    until(lambda: "witness" not in cluster.names(), "the collector works")
    cluster.delete("owner", "Orphan")
    until(lambda: cluster.names() == {"child"}, "the owner goes")
    until(lambda: "ownerReferences" not in cluster.meta("child"), "the child forgets it")


def test_one_of_two_owners_is_enough(cluster: Cluster) -> None:
    first, second = cluster.make("first"), cluster.make("second")
    cluster.make("child", first, second)
    cluster.delete("first", "Background")
    until(lambda: [owner["name"] for owner in cluster.meta("child").get("ownerReferences", ())] == ["second"], "the lost owner is forgotten")
    cluster.delete("second", "Background")
    until(lambda: cluster.names() == set(), "the child goes with the last")


def test_an_owner_that_never_was_is_a_lost_one(cluster: Cluster) -> None:
    cluster.make("child", {"metadata": {"name": "nobody", "uid": "11111111-1111-1111-1111-111111111111"}})
    until(lambda: cluster.names() == set(), "the child goes")


def test_a_name_taken_again_is_another_owner(cluster: Cluster) -> None:
    owner = cluster.make("owner", finalizers=("example.com/hold",))
    cluster.good("DELETE", "configmaps/owner", {"propagationPolicy": "Background"})
    cluster.good("PATCH", "configmaps/owner", {"metadata": {"finalizers": None}}, MERGE)
    cluster.make("owner")
    cluster.make("child", owner)
    until(lambda: cluster.names() == {"owner"}, "the child of the former owner goes")


def test_custom_kinds_own_and_are_owned(cluster: Cluster) -> None:
    definition = crd("ownings", "Owning", {"type": "object"})
    definition["metadata"]["name"] = "ownings.ownership.example.com"
    definition["spec"]["group"] = "ownership.example.com"
    cluster.good("POST", CRDS, definition)
    path = f"/apis/ownership.example.com/v1/namespaces/{cluster.namespace}/ownings"
    body: Json = {"apiVersion": "ownership.example.com/v1", "kind": "Owning", "metadata": {"name": "custom"}}
    until(lambda: cluster.call("POST", path, body, dryRun="All")[0] == 201, "the kind is served")
    custom = cluster.good("POST", path, body)["metadata"]
    reference = {"apiVersion": body["apiVersion"], "kind": "Owning", "name": "custom", "uid": custom["uid"]}
    cluster.good("POST", "configmaps", {"metadata": {"name": "child", "ownerReferences": [reference]}})
    cluster.good("DELETE", f"{path}/custom", {"propagationPolicy": "Background"})
    until(lambda: cluster.names() == set(), "the child goes", NEW_KIND_SECONDS)


def test_a_namespace_has_what_every_one_has_and_ends_with_its_contents(cluster: Cluster) -> None:
    until(lambda: cluster.call("GET", "serviceaccounts/default")[0] == 200, "the default account")
    until(lambda: cluster.call("GET", "configmaps/kube-root-ca.crt")[0] == 200, "the cluster's CA")
    cluster.make("held", finalizers=("example.com/hold",))
    cluster.good("DELETE", f"/api/v1/namespaces/{cluster.namespace}")
    until(lambda: "deletionTimestamp" in cluster.meta("held"), "its contents are being deleted")
    ending = cluster.good("GET", f"/api/v1/namespaces/{cluster.namespace}")
    assert (ending["status"]["phase"], ending["spec"]["finalizers"]) == ("Terminating", ["kubernetes"])
    code, refused = cluster.call("POST", "configmaps", {"metadata": {"name": "late"}})
    assert (code, refused["details"]["causes"][0]["reason"]) == (403, "NamespaceTerminating")
    cluster.good("PATCH", "configmaps/held", {"metadata": {"finalizers": None}}, MERGE)
    until(lambda: cluster.call("GET", f"/api/v1/namespaces/{cluster.namespace}")[0] == 404, "the namespace goes")
