"""Least privilege, by the audit log of a real kube-apiserver: nothing is refused, and nothing is granted that a walk does not use."""

import pytest

from mesh.cli.install import CHARTS, documents
from tests.support.kube_stage import ACCOUNT, KubeStage, audited, denied, granted, used
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
ON_HOST = """
apiVersion: v1
kind: Pod
metadata: {name: on-host}
spec: {hostNetwork: true, terminationGracePeriodSeconds: 0, containers: [{name: a, image: pause}]}
"""
# Granted and rightly not used by a walk, with the reason.
SPARE = {
    "triomesh-control": {("create", "coordination.k8s.io", "leases")},  # once in the life of a cluster: seen in the log of the installation only
    "triomesh-injector": set(),
}


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
    mesh.cluster.apply(ON_HOST, NAMESPACE)
    until(lambda: any(event["reason"] == "InjectionSkipped" for event in mesh.kube.list("v1", "Event", NAMESPACE)), "the event of the skipped pod")
    mesh.kubectl("delete", "pod/on-host", "--wait=false", namespace=NAMESPACE)
    before = mesh.cluster.get("secret", SYSTEM, "triomesh-injector-certs")["metadata"]["uid"]
    mesh.kubectl("delete", "secret", "triomesh-injector-certs", namespace=SYSTEM)
    until(lambda: mesh.cluster.run("get", "secret", "triomesh-injector-certs", "-o", "jsonpath={.metadata.uid}", namespace=SYSTEM, check=False).stdout not in ("", before), "a new Secret")
    mesh.kubectl("rollout", "restart", "deployment/ratings-v1", namespace=NAMESPACE)
    mesh.kubectl("rollout", "status", "deployment/ratings-v1", "--timeout=50s", namespace=NAMESPACE)
    mesh.cluster.exec("deploy/productpage-v1", ["curl", "-sS", "-o", "/dev/null", "http://reviews:9080/reviews/0"], NAMESPACE, "productpage")
    return stage


def test_nothing_is_refused_and_nothing_is_granted_in_vain(walked: KubeStage) -> None:
    entries = audited(walked.kube.audit_log)
    assert denied(entries) == []
    does = used(entries)
    roles = [item for item in documents(CHARTS / "triomesh/manifests", {"VERSION": "x"}) if item["kind"] in ("Role", "ClusterRole")]
    for name, spare in SPARE.items():
        may = granted([role for role in roles if role["metadata"]["name"] == name])
        assert may - does[ACCOUNT + name] - spare == set(), f"{name} is granted what it does not use"
    node = [item for item in documents(CHARTS / "triomesh/attach/rbac.yaml") if item["kind"] in ("Role", "ClusterRole")]
    by_user = {"triomesh:sandbox-node": "triomesh:sandbox-node", "triomesh:sandbox-controllers": "triomesh:sandbox-loadbalancers"}
    for user, role in by_user.items():
        assert granted([item for item in node if item["metadata"]["name"] == role]) - does[user] == set(), f"{user} is granted what it does not use"


def test_daemons_act_under_their_own_names(walked: KubeStage) -> None:
    """Admin's credentials are meshctl's and Kubernetes' alone."""
    agents = {entry.get("userAgent", "") for entry in audited(walked.kube.audit_log) if entry["user"].get("username") == "kubernetes-admin"}
    assert {agent for agent in agents if agent.startswith("triomesh")} == set()
