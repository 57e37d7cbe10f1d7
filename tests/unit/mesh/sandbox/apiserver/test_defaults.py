from __future__ import annotations

from typing import Any

from mesh.sandbox.apiserver import defaults


def filled(key: str, **obj: Any) -> dict[str, Any]:
    made = {"kind": "X", "metadata": {"name": "n", "uid": "u"}, **obj}
    defaults.fill(made, key)
    return made


def test_pod() -> None:
    probe = {"httpGet": {"port": 80}}
    made = filled("pods", spec={"containers": [{"name": "a", "image": "r/a", "ports": [{"containerPort": 1}], "readinessProbe": probe, "env": [{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]}],
                                "volumes": [{"name": "v"}, {"name": "c", "configMap": {"name": "x"}}]})  # fmt: skip
    spec = made["spec"]
    container = spec["containers"][0]
    assert (spec["restartPolicy"], spec["dnsPolicy"], spec["terminationGracePeriodSeconds"], spec["enableServiceLinks"]) == ("Always", "ClusterFirst", 30, True)
    assert container["imagePullPolicy"] == "Always" and container["ports"] == [{"containerPort": 1, "protocol": "TCP"}]
    assert container["readinessProbe"] == {"httpGet": {"port": 80, "path": "/", "scheme": "HTTP"}, "timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}
    assert container["env"][0]["valueFrom"]["fieldRef"]["apiVersion"] == "v1"
    assert spec["volumes"] == [{"name": "v", "emptyDir": {}}, {"name": "c", "configMap": {"name": "x", "defaultMode": 420}}]
    assert made["status"] == {"phase": "Pending", "qosClass": "BestEffort"}


def test_pull_policy_by_tag() -> None:
    images = {"a": "Always", "a:latest": "Always", "reg:5000/a": "Always", "a:1": "IfNotPresent", "a@sha256:x": "IfNotPresent"}
    assert {image: filled("pods", spec={"containers": [{"image": image}]})["spec"]["containers"][0]["imagePullPolicy"] for image in images} == images


def test_limits_become_requests_and_decide_quality() -> None:
    full = filled("pods", spec={"containers": [{"image": "a:1", "resources": {"limits": {"cpu": "1", "memory": "1Gi"}}}]})
    assert full["spec"]["containers"][0]["resources"]["requests"] == {"cpu": "1", "memory": "1Gi"} and full["status"]["qosClass"] == "Guaranteed"
    assert defaults.qos_class({"containers": [{"resources": {"requests": {"cpu": "1"}}}]}) == "Burstable"


def test_workloads() -> None:
    assert filled("deployments.apps", spec={})["spec"] == {
        "replicas": 1, "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600, "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}}}  # fmt: skip
    assert filled("deployments.apps", spec={"strategy": {"type": "Recreate"}})["spec"]["strategy"] == {"type": "Recreate"}
    assert filled("replicasets.apps", spec={"template": {"spec": {"containers": []}}})["spec"]["template"]["metadata"] == {}
    job = filled("jobs.batch", spec={"template": {"spec": {"containers": []}}})
    assert job["spec"]["completions"] == 1 and job["spec"]["selector"] == {"matchLabels": {"batch.kubernetes.io/controller-uid": "u"}}
    assert job["spec"]["template"]["metadata"]["labels"]["job-name"] == "n"


def test_services_and_hooks() -> None:
    service = filled("services", spec={"ports": [{"port": 80}]})
    assert service["spec"] == {"ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}], "type": "ClusterIP", "sessionAffinity": "None", "internalTrafficPolicy": "Cluster"}
    hook = filled("mutatingwebhookconfigurations.admissionregistration.k8s.io", kind="MutatingWebhookConfiguration", webhooks=[{"rules": [{}], "clientConfig": {"service": {"name": "s"}}}])["webhooks"][0]
    assert (hook["failurePolicy"], hook["timeoutSeconds"], hook["reinvocationPolicy"], hook["rules"][0]["scope"], hook["clientConfig"]["service"]["port"]) == ("Fail", 10, "Never", "*", 443)


def test_filling_twice_changes_nothing_more() -> None:
    once = filled("pods", spec={"containers": [{"name": "a", "image": "a"}]})
    twice = {**once}
    defaults.fill(twice, "pods")
    assert twice == once


def test_namespace_and_binding() -> None:
    namespace = filled("namespaces")
    assert namespace["status"] == {"phase": "Active"} and namespace["metadata"]["labels"] == {"kubernetes.io/metadata.name": "n"}
    binding = filled("rolebindings.rbac.authorization.k8s.io", roleRef={}, subjects=[{"kind": "User"}, {"kind": "ServiceAccount"}])
    assert binding["subjects"] == [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io"}, {"kind": "ServiceAccount"}]
