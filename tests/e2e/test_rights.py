"""Least privilege, by the audit log of a real kube-apiserver: nothing is refused, and nothing is granted that a walk does not use."""

import pytest

from mesh.cli.install import CHARTS, apply_all, documents
from mesh.sandbox.attachment import CONTROLLERS, SCHEDULER
from tests.support.kube_stage import ACCOUNT, DAEMONS, KubeStage, Permission, audited, denied, granted, used
from tests.support.mesh_sandbox import NAMESPACE, SYSTEM, Mesh, until

pytestmark = [pytest.mark.root, pytest.mark.e2e, pytest.mark.real_kube]

GATEWAY_API = "gateway-api/bookinfo-gateway.yaml", "gateway-api/route-reviews-90-10.yaml"
OBJECTS = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: outside}
spec: {hosts: [outside.example.com], ports: [{number: 80, name: http, protocol: HTTP}], resolution: STATIC, endpoints: [{address: 198.18.0.1}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {name: by-grpc}
spec:
  parentRefs: [{name: bookinfo-gateway}]
  hostnames: [grpc.example.com]
  rules: [{backendRefs: [{name: ratings, port: 9080}]}]
"""
# Kinds of Istio of which the control plane only says that they have no effect; in a namespace where nothing runs.
INERT = {
    "networking.istio.io/v1 Sidecar": {"egress": [{"hosts": ["./*"]}]},
    "networking.istio.io/v1 WorkloadEntry": {"address": "198.18.0.1"},
    "networking.istio.io/v1 WorkloadGroup": {"template": {"serviceAccount": "default"}},
    "networking.istio.io/v1alpha3 EnvoyFilter": {},
    "networking.istio.io/v1beta1 ProxyConfig": {"concurrency": 1},
    "security.istio.io/v1 AuthorizationPolicy": {"action": "DENY"},
    "security.istio.io/v1 PeerAuthentication": {"mtls": {"mode": "STRICT"}},
    "security.istio.io/v1 RequestAuthentication": {"jwtRules": [{"issuer": "https://issuer.example.com"}]},
    "telemetry.istio.io/v1 Telemetry": {"metrics": [{"providers": [{"name": "prometheus"}]}]},
    "extensions.istio.io/v1alpha1 WasmPlugin": {"url": "oci://example.com/plugin:1"},
}
ON_HOST = """
apiVersion: v1
kind: Pod
metadata: {name: on-host}
spec: {hostNetwork: true, terminationGracePeriodSeconds: 1, containers: [{name: a, image: pause}]}
"""
ROOTS, RECORD = "triomesh-ca-root-cert", "triomesh-ca-roots"
SECRET, BROKEN = "triomesh-injector-certs", "bm9uZQ=="
# Granted and rightly not used by a walk: what repairs, and what a race needs.
SPARE: dict[str, set[Permission]] = {
    "triomesh-control": set(),
    "triomesh-injector": {
        ("get", "", "namespaces"),  # a pod in a namespace of which the watch has not told yet
        ("get", "", "secrets"),  # an exchange of certificates that another replica, or somebody's hand, got in the way of
        ("get", "admissionregistration.k8s.io", "mutatingwebhookconfigurations"),  # the same, of the caBundle
        ("get", "admissionregistration.k8s.io", "validatingwebhookconfigurations"),
    },
    "loadbalancers": set(),
    "nodes": set(),
    "events": {("create", "", "events"), ("patch", "", "events")},  # what they have to say seldom, and the count when it comes again
    "endpoints": {("delete", "discovery.k8s.io", "endpointslices")},  # of a Service that has lost its selector, and of one with more than 1,000 endpoints
    # Bookinfo has Deployments alone. What the others do with their pods is the same; their own status is theirs.
    "workloads": {
        *(("patch", "apps", kind) for kind in ("statefulsets", "daemonsets")),
        *(("patch", "apps", f"{kind}/status") for kind in ("statefulsets", "daemonsets")),
        *((verb, "apps", "controllerrevisions") for verb in ("list", "watch", "create", "delete")),
        *((verb, "batch", "jobs") for verb in ("create", "patch", "delete")),
        *(("patch", "batch", kind) for kind in ("jobs/status", "cronjobs/status")),
        ("patch", "", "pods"),  # an orphan is adopted
        ("delete", "apps", "replicasets"),  # more old ones than revisionHistoryLimit
    },
}
WHOLE = ("namespaces", "garbage")
"""Controllers that concern every kind: their `*` is not compared."""


@pytest.fixture
def walked(bookinfo: Mesh, stage: KubeStage) -> KubeStage:
    """Every kind of object, with a status each; certificates exchanged; a pod that is skipped with an event; a pod made afresh."""
    mesh = bookinfo
    mesh.apply_file("networking/virtual-service-reviews-90-10.yaml", *GATEWAY_API)
    mesh.await_weights("reviews", [90, 10])
    mesh.cluster.apply(OBJECTS, NAMESPACE)
    for kind, name in (("serviceentries.networking.istio.io", "outside"), ("grpcroutes.gateway.networking.k8s.io", "by-grpc"), ("httproutes.gateway.networking.k8s.io", "reviews"),
                       ("gateways.gateway.networking.k8s.io", "bookinfo-gateway"), ("virtualservices.networking.istio.io", "reviews")):  # fmt: skip
        until(lambda kind=kind, name=name: mesh.cluster.get(kind, NAMESPACE, name).get("status"), f"{kind} {name} has a status")  # type: ignore[misc]
    _apply_inert(mesh, stage)
    mesh.cluster.apply(ON_HOST, NAMESPACE)
    until(lambda: any(event["reason"] == "InjectionSkipped" for event in mesh.kube.list("v1", "Event", NAMESPACE)), "the event of the skipped pod")
    mesh.kubectl("delete", "pod/on-host", "--timeout=40s", namespace=NAMESPACE)  # the node says when it has ended
    mesh.kube.merge("v1", "Secret", SECRET, {"data": {"tls.crt": BROKEN}}, SYSTEM)
    until(lambda: mesh.kube.get("v1", "Secret", SECRET, SYSTEM)["data"]["tls.crt"] != BROKEN, "the injector mends its Secret")
    _spoil_trust(mesh)
    mesh.kubectl("rollout", "restart", "deployment/ratings-v1", namespace=NAMESPACE)
    mesh.kubectl("rollout", "status", "deployment/ratings-v1", "--timeout=50s", namespace=NAMESPACE)
    until(lambda: len(mesh.kube.list("v1", "Pod", NAMESPACE, "app=ratings")) == 1, "the former ratings pod is gone")
    mesh.cluster.exec("deploy/productpage-v1", ["curl", "-sS", "-o", "/dev/null", "http://reviews:9080/reviews/0"], NAMESPACE, "productpage")
    return stage


def _spoil_trust(mesh: Mesh) -> None:
    """What the control plane keeps of the CA, changed by somebody's hand, is put right."""
    mesh.kube.merge("v1", "ConfigMap", ROOTS, {"data": {"root-cert.pem": "none"}}, NAMESPACE)
    until(lambda: mesh.kube.get("v1", "ConfigMap", ROOTS, NAMESPACE)["data"]["root-cert.pem"] != "none", "the control plane mends its ConfigMap")
    mesh.kube.merge("v1", "Secret", RECORD, {"data": {"record.json": BROKEN}}, SYSTEM)
    until(lambda: mesh.kube.get("v1", "Secret", RECORD, SYSTEM)["data"]["record.json"] != BROKEN, "the control plane mends its Secret")


def _apply_inert(mesh: Mesh, stage: KubeStage) -> None:
    """One of each, by Istio's own CRDs where we ship none; each gets its status."""
    ours = {item["metadata"]["name"] for item in mesh.kube.list("apiextensions.k8s.io/v1", "CustomResourceDefinition")}
    theirs = [item for item in documents(stage.kube.binaries.istio_crds) if item["metadata"]["name"] not in ours]
    apply_all(mesh.kube, theirs)
    mesh.kubectl("wait", "--for=condition=Established", "--timeout=30s", "crd", "--all")
    mesh.kubectl("create", "namespace", "inert")
    kinds = [(*name.split(), spec) for name, spec in INERT.items()]
    apply_all(mesh.kube, [{"apiVersion": version, "kind": kind, "metadata": {"name": "inert"}, "spec": spec} for version, kind, spec in kinds], "inert")
    for version, kind, _ in kinds:
        until(lambda version=version, kind=kind: mesh.kube.get(version, kind, "inert", "inert").get("status"), f"{kind} has a status")  # type: ignore[misc]


def test_nothing_is_refused_and_nothing_is_granted_in_vain(walked: KubeStage) -> None:
    entries = audited(walked.kube.audit_log)
    assert denied(entries, walked.outages) == []
    does = used(entries)
    roles = [item for item in documents(CHARTS / "triomesh/manifests", {"VERSION": "x"}) if item["kind"] in ("Role", "ClusterRole")]
    for name in ("triomesh-control", "triomesh-injector"):
        may = granted([role for role in roles if role["metadata"]["name"] == name])
        assert sorted(may - does[ACCOUNT + name] - SPARE[name]) == [], f"{name} is granted what it does not use"
    # Node, service proxy and scheduler have Kubernetes' own rights, and nothing of ours.
    assert set(DAEMONS) <= does.keys()
    ran = ("loadbalancers",) if walked.has_controller_manager else tuple(name for name in CONTROLLERS if name != SCHEDULER)
    by_name = {role["metadata"]["name"].removeprefix("triomesh:sandbox-"): role for role in walked.roles()}
    assert by_name.keys() == {*ran, "events"}
    for name, role in by_name.items():
        if name not in WHOLE:
            assert sorted(granted([role]) - does["triomesh:sandbox-controllers"] - SPARE[name]) == [], f"controller {name} is granted what it does not use"


def test_daemons_act_under_their_own_names(mesh: Mesh, stage: KubeStage) -> None:
    """Admin's credentials are meshctl's and Kubernetes' alone."""
    mesh.await_pods()
    agents = {entry.get("userAgent", "") for entry in audited(stage.kube.audit_log) if entry["user"].get("username") == "kubernetes-admin"}
    assert {agent for agent in agents if agent.startswith("triomesh")} == set()
