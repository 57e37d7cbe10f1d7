"""Injection as a story, on a real kube-apiserver: the webhook over HTTPS, called as the Service, with the rights of its
own ServiceAccount. Needs the binaries of scripts/kube-binaries.sh: runs with `--kube=real` (`make test-kube`).
"""

import base64
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support import kube_server
from tests.support.injector_pods import app
from tests.support.injector_process import CRDS, MANIFESTS, ROOT, ConnectProxy, Kubectl, injector, manifest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*verify=<str>.*:DeprecationWarning"),  # of tests/support/kube_server.py
    pytest.mark.real_kube,
]


@dataclass(frozen=True)
class Cluster:
    kubectl: Kubectl
    proxy: ConnectProxy
    audit: Path
    log: Path


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    directory = tmp_path_factory.mktemp("kube")
    proxy = ConnectProxy(directory / "egress.sock")
    with kube_server.real_kube(directory, kube_server.binaries(), directory / "egress.sock") as kube:
        kubectl = Kubectl(kube.kubeconfig)
        kubectl.run("apply", *(word for path in sorted(CRDS.glob("*.io.yaml")) for word in ("-f", str(path))))
        kubectl.run("wait", "--for=condition=Established", "crd", "--all")
        for path in sorted(MANIFESTS.glob("*.yaml")):
            kubectl.apply(manifest(path.name), "--validate=strict")
        kubectl.run("create", "namespace", "shop")
        for namespace in ("default", "shop"):
            kubectl.run("create", "serviceaccount", "default", "-n", namespace)  # no controllers run here
        kubectl.run("label", "namespace", "default", "triomesh-injection=enabled")
        account = kubectl.as_service_account("triomesh-system", "triomesh-injector")
        with injector(account.kubeconfig, directory / "injector.log") as port:
            proxy.port = port
            yield Cluster(kubectl, proxy, kube.audit_log, directory / "injector.log")
    proxy.close()


def pod(name: str, labels: dict[str, str] | None = None, annotations: dict[str, str] | None = None, **spec: Any) -> str:
    meta = {"name": name, "labels": {"app": name, **(labels or {})}, "annotations": annotations or {}}
    return json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {"containers": [app(name)], **spec}})


def containers(cluster: Cluster, name: str, namespace: str = "default") -> list[str]:
    spec = cluster.kubectl.get("pod", name, "-n", namespace)["spec"]
    return [item["name"] for item in spec.get("initContainers", []) + spec["containers"]]


def until(condition: Callable[[], Any]) -> Any:
    """A watch of kubectl would do for objects; this is for conditions over several of them."""
    deadline = time.monotonic() + 15
    while not (value := condition()):
        assert time.monotonic() < deadline
    return value


def test_pod_of_a_labelled_namespace_is_injected_and_one_of_another_is_not(cluster: Cluster) -> None:
    cluster.kubectl.apply(pod("plain"))
    assert containers(cluster, "plain") == ["triomesh-init", "plain", "triomesh-proxy"]
    tunnels = cluster.proxy.tunnels
    cluster.kubectl.apply(pod("outside"), "-n", "shop")
    assert containers(cluster, "outside", "shop") == ["outside"]
    assert cluster.proxy.tunnels == tunnels, "a pod that nobody wants injected is not even sent"


def test_pod_may_ask_in_a_silent_namespace_and_decline_in_a_labelled_one(cluster: Cluster) -> None:
    cluster.kubectl.apply(pod("asks", {"sidecar.istio.io/inject": "true"}), "-n", "shop")
    assert "triomesh-proxy" in containers(cluster, "asks", "shop")
    cluster.kubectl.apply(pod("declines", {"sidecar.triomesh.io/inject": "false"}))
    assert containers(cluster, "declines") == ["declines"]


def test_native_sidecar_by_annotation(cluster: Cluster) -> None:
    cluster.kubectl.apply(pod("native", annotations={"sidecar.triomesh.io/nativeSidecar": "true"}, initContainers=[{"name": "migrate", "image": "i"}]))
    assert containers(cluster, "native") == ["triomesh-init", "triomesh-proxy", "migrate", "native"]


def test_bad_annotation_is_denied_with_its_name_and_value(cluster: Cluster) -> None:
    done = cluster.kubectl.run("apply", "-f", "-", stdin=pod("bad", annotations={"traffic.sidecar.istio.io/excludeOutboundIPRanges": "10.0.0.0/99"}), check=False)
    assert done.returncode == 1
    assert "annotation traffic.sidecar.istio.io/excludeOutboundIPRanges='10.0.0.0/99': '10.0.0.0/99' is not a CIDR" in done.stderr


def test_host_network_pod_is_skipped_with_an_event(cluster: Cluster) -> None:
    cluster.kubectl.apply(pod("on-host", hostNetwork=True, containers=[{"name": "a", "image": "i"}]))
    assert containers(cluster, "on-host") == ["a"]
    found = until(lambda: [e for e in cluster.kubectl.get("events")["items"] if e["involvedObject"]["name"] == "on-host"])
    assert (found[0]["reason"], "hostNetwork" in found[0]["message"]) == ("InjectionSkipped", True)


def test_injected_pod_applied_again_elsewhere_is_the_same_pod(cluster: Cluster) -> None:
    cluster.kubectl.apply(pod("twice"))
    first = cluster.kubectl.get("pod", "twice")
    copy = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "copy", **{key: first["metadata"][key] for key in ("labels", "annotations")}}, "spec": first["spec"]}
    cluster.kubectl.apply(json.dumps(copy))
    second = cluster.kubectl.get("pod", "copy")
    assert [c["name"] for c in second["spec"]["containers"]] == [c["name"] for c in first["spec"]["containers"]]
    assert second["spec"]["initContainers"] == first["spec"]["initContainers"]


def test_dry_run_is_answered_without_an_event(cluster: Cluster) -> None:
    done = cluster.kubectl.run("apply", "--dry-run=server", "-o", "json", "-f", "-", stdin=pod("dry"))
    assert [c["name"] for c in json.loads(done.stdout)["spec"]["containers"]] == ["dry", "triomesh-proxy"]


def test_object_without_effect_is_stored_with_a_warning(cluster: Cluster) -> None:
    until(lambda: cluster.kubectl.get("validatingwebhookconfiguration", "triomesh-validator")["webhooks"][0]["clientConfig"].get("caBundle"))
    policy = {"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy", "metadata": {"name": "deny-all"}, "spec": {}}
    done = cluster.kubectl.run("apply", "-f", "-", stdin=json.dumps(policy))
    assert "Warning: Triomesh: AuthorizationPolicy deny-all: has no effect" in done.stderr
    assert cluster.kubectl.get("authorizationpolicy", "deny-all")["spec"] == {}
    peers = {"apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication", "metadata": {"name": "open"}, "spec": {"mtls": {"mode": "PERMISSIVE"}}}
    assert "Warning" not in cluster.kubectl.run("apply", "-f", "-", stdin=json.dumps(peers)).stderr


def test_ca_bundle_that_somebody_resets_is_mended(cluster: Cluster) -> None:
    patch = '[{"op": "replace", "path": "/webhooks/0/clientConfig/caBundle", "value": ""}]'
    cluster.kubectl.run("patch", "mutatingwebhookconfiguration", "triomesh-sidecar-injector", "--type=json", "-p", patch)
    until(lambda: bundle(cluster))
    cluster.kubectl.apply(pod("mended"))
    assert "triomesh-proxy" in containers(cluster, "mended")


def test_deleted_secret_starts_an_exchange_of_the_ca_without_a_failed_pod(cluster: Cluster) -> None:
    before = bundle(cluster)
    cluster.kubectl.run("delete", "secret", "-n", "triomesh-system", "triomesh-injector-certs")
    until(lambda: bundle(cluster) != before)
    assert bundle(cluster).count("BEGIN CERTIFICATE") == 2
    assert before in bundle(cluster)
    cluster.kubectl.apply(pod("exchanged"))
    assert "triomesh-proxy" in containers(cluster, "exchanged")


def test_settings_change_without_a_restart(cluster: Cluster) -> None:
    text = manifest("10-config.yaml").replace("triomesh/proxy:0.1.0", "triomesh/proxy:other")
    cluster.kubectl.apply(text)
    until(lambda: cluster.log.read_text().count("settings read") >= 2)
    cluster.kubectl.apply(pod("newer"))
    spec = cluster.kubectl.get("pod", "newer")["spec"]
    assert spec["containers"][1]["image"] == "triomesh/proxy:other"
    cluster.kubectl.apply(manifest("10-config.yaml"))


def test_every_manifest_of_bookinfo_is_valid(cluster: Cluster) -> None:
    for path in sorted((ROOT / "samples/bookinfo").rglob("*.yaml")):
        if "dualstack" in path.name or path.name == "certmanager-gateway.yaml":
            continue  # this cluster has one family; that file's namespace is Istio's
        cluster.kubectl.run("apply", "--dry-run=server", "--validate=strict", "-f", str(path))


def test_injector_never_met_a_forbidden(cluster: Cluster) -> None:
    """Least privilege: exactly the verbs that it uses, and so none of them refused."""
    entries = [json.loads(line) for line in cluster.audit.read_text().splitlines()]
    mine = [entry for entry in entries if entry["user"].get("username", "").endswith(":triomesh-injector")]
    assert mine
    assert [entry for entry in mine if entry.get("responseStatus", {}).get("code") == 403] == []


def bundle(cluster: Cluster) -> str:
    webhooks = cluster.kubectl.get("mutatingwebhookconfiguration", "triomesh-sidecar-injector")["webhooks"]
    texts = {base64.b64decode(item["clientConfig"].get("caBundle", "")).decode() for item in webhooks}
    return texts.pop() if len(texts) == 1 else ""
