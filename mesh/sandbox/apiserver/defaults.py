"""Defaults of the built-in kinds: what a real server writes into fields that were left out. Pure; changes the object in place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Obj = dict[str, Any]


def fill(obj: Obj, key: str) -> None:
    """Set the defaults of an object of the resource with storage name `key`."""
    function = DEFAULTS.get(key)
    if function:
        function(obj)


def put(obj: Obj, **values: Any) -> None:
    """Set those that are absent."""
    for name, value in values.items():
        obj.setdefault(name, value)


def pod_spec(spec: Obj) -> None:
    """PodSpec. Source: k8s.io/kubernetes/pkg/apis/core/v1 defaults."""
    put(spec, restartPolicy="Always", dnsPolicy="ClusterFirst", schedulerName="default-scheduler", terminationGracePeriodSeconds=30, securityContext={})
    if "serviceAccountName" not in spec and spec.get("serviceAccount"):
        spec["serviceAccountName"] = spec["serviceAccount"]
    if spec.get("serviceAccountName"):
        spec["serviceAccount"] = spec["serviceAccountName"]
    for container in [*(spec.get("initContainers") or ()), *(spec.get("containers") or ()), *(spec.get("ephemeralContainers") or ())]:
        _container(container)
        if spec.get("hostNetwork"):
            for port in container.get("ports") or ():
                put(port, hostPort=port.get("containerPort"))
    for volume in spec.get("volumes") or ():
        _volume(volume)


def _container(container: Obj) -> None:
    put(container, terminationMessagePath="/dev/termination-log", terminationMessagePolicy="File", resources={})
    image = container.get("image", "")
    last = image.rsplit("/", 1)[-1]
    latest = "@" not in image and (":" not in last or last.endswith(":latest"))
    put(container, imagePullPolicy="Always" if latest else "IfNotPresent")
    for port in container.get("ports") or ():
        put(port, protocol="TCP")
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        if container.get(name):
            _probe(container[name])
    for hook in (container.get("lifecycle") or {}).values():
        if isinstance(hook, dict) and hook.get("httpGet"):
            put(hook["httpGet"], path="/", scheme="HTTP")
    for variable in container.get("env") or ():
        reference = (variable.get("valueFrom") or {}).get("fieldRef")
        if reference:
            put(reference, apiVersion="v1")
        if of_resource := (variable.get("valueFrom") or {}).get("resourceFieldRef"):
            put(of_resource, divisor="0")
    resources = container["resources"]
    if resources.get("limits"):
        requests = resources.setdefault("requests", {})
        for name, amount in resources["limits"].items():
            requests.setdefault(name, amount)


def _probe(probe: Obj) -> None:
    put(probe, timeoutSeconds=1, periodSeconds=10, successThreshold=1, failureThreshold=3)
    if probe.get("httpGet"):
        put(probe["httpGet"], path="/", scheme="HTTP")
    if "grpc" in probe:
        put(probe["grpc"], service="")


def _volume(volume: Obj) -> None:
    if len(volume) == 1:
        volume["emptyDir"] = {}
    for name in ("secret", "configMap", "projected", "downwardAPI"):
        if isinstance(volume.get(name), dict):
            put(volume[name], defaultMode=0o644)
    if isinstance(volume.get("hostPath"), dict):
        put(volume["hostPath"], type="")
    for source in (volume.get("projected") or {}).get("sources") or ():
        if isinstance(source.get("serviceAccountToken"), dict):
            put(source["serviceAccountToken"], expirationSeconds=3600)
        _fields(source.get("downwardAPI") or {})
    _fields(volume.get("downwardAPI") or {})


def _fields(source: Obj) -> None:
    for item in source.get("items") or ():
        if item.get("fieldRef"):
            put(item["fieldRef"], apiVersion="v1")


def _template(obj: Obj) -> None:
    template = obj.get("spec", {}).get("template")
    _pod_template(template)


def _pod_template(template: Any) -> None:
    if isinstance(template, dict) and isinstance(template.get("spec"), dict):
        put(template, metadata={})
        pod_spec(template["spec"])


def _pod(obj: Obj) -> None:
    spec = obj.setdefault("spec", {})
    pod_spec(spec)
    put(spec, enableServiceLinks=True)
    obj.setdefault("status", {}).setdefault("phase", "Pending")
    obj["status"].setdefault("qosClass", qos_class(spec))


def qos_class(spec: Obj) -> str:
    """Guaranteed, Burstable or BestEffort."""
    containers = [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]
    resources = [c.get("resources") or {} for c in containers]
    if not any(r.get("requests") or r.get("limits") for r in resources):
        return "BestEffort"
    same = all((r.get("limits") or {}).keys() >= {"cpu", "memory"} and all((r.get("requests") or {}).get(n, v) == v for n, v in r["limits"].items()) for r in resources)
    return "Guaranteed" if same else "Burstable"


def _deployment(obj: Obj) -> None:
    spec = obj.setdefault("spec", {})
    put(spec, replicas=1, revisionHistoryLimit=10, progressDeadlineSeconds=600, strategy={})
    put(spec["strategy"], type="RollingUpdate")
    if spec["strategy"]["type"] == "RollingUpdate":
        put(spec["strategy"].setdefault("rollingUpdate", {}), maxUnavailable="25%", maxSurge="25%")
    _template(obj)


def _replica_set(obj: Obj) -> None:
    put(obj.setdefault("spec", {}), replicas=1)
    _template(obj)


def _stateful_set(obj: Obj) -> None:
    spec = obj.setdefault("spec", {})
    put(spec, replicas=1, podManagementPolicy="OrderedReady", revisionHistoryLimit=10, updateStrategy={},
        persistentVolumeClaimRetentionPolicy={"whenDeleted": "Retain", "whenScaled": "Retain"})  # fmt: skip
    put(spec["updateStrategy"], type="RollingUpdate")
    if spec["updateStrategy"]["type"] == "RollingUpdate":
        put(spec["updateStrategy"].setdefault("rollingUpdate", {}), partition=0)
    _template(obj)
    put(obj.setdefault("status", {}), replicas=0, availableReplicas=0)


def _daemon_set(obj: Obj) -> None:
    spec = obj.setdefault("spec", {})
    put(spec, revisionHistoryLimit=10, updateStrategy={})
    put(spec["updateStrategy"], type="RollingUpdate")
    if spec["updateStrategy"]["type"] == "RollingUpdate":
        put(spec["updateStrategy"].setdefault("rollingUpdate", {}), maxUnavailable=1, maxSurge=0)
    _template(obj)


def _job_spec(spec: Obj) -> None:
    if "completions" not in spec and "parallelism" not in spec:
        put(spec, completions=1)
    put(spec, parallelism=1, backoffLimit=6, completionMode="NonIndexed", suspend=False, manualSelector=False, podReplacementPolicy="TerminatingOrFailed")
    template = spec.get("template")
    if isinstance(template, dict) and isinstance(template.get("spec"), dict):
        pod_spec(template["spec"])


def _job(obj: Obj) -> None:
    spec = obj.setdefault("spec", {})
    _job_spec(spec)
    uid, name = obj["metadata"].get("uid"), obj["metadata"].get("name")
    if not spec["manualSelector"] and uid and isinstance(spec.get("template"), dict):
        # Strategy of batch/v1: the server makes the selector and labels the template with the job's own uid.
        labels = spec["template"].setdefault("metadata", {}).setdefault("labels", {})
        put(labels, **{"batch.kubernetes.io/controller-uid": uid, "batch.kubernetes.io/job-name": name, "controller-uid": uid, "job-name": name})
        put(spec, selector={"matchLabels": {"batch.kubernetes.io/controller-uid": uid}})
        put(obj["metadata"], labels=dict(labels))


def _cron_job(obj: Obj) -> None:
    spec = obj.setdefault("spec", {})
    put(spec, concurrencyPolicy="Allow", suspend=False, successfulJobsHistoryLimit=3, failedJobsHistoryLimit=1)
    if isinstance(spec.get("jobTemplate"), dict):
        put(spec["jobTemplate"], metadata={})
        _pod_template((spec["jobTemplate"].get("spec") or {}).get("template"))


def _service(obj: Obj) -> None:
    spec = obj.setdefault("spec", {})
    put(spec, type="ClusterIP", sessionAffinity="None")
    if spec["type"] != "ExternalName":
        put(spec, internalTrafficPolicy="Cluster")
    if spec["type"] in ("NodePort", "LoadBalancer"):
        put(spec, externalTrafficPolicy="Cluster")
    if spec["type"] == "LoadBalancer":
        put(spec, allocateLoadBalancerNodePorts=True)
    if spec["sessionAffinity"] == "ClientIP":
        put(spec.setdefault("sessionAffinityConfig", {}).setdefault("clientIP", {}), timeoutSeconds=10800)
    for port in spec.get("ports") or ():
        put(port, protocol="TCP")
        if port.get("targetPort") in (None, "", 0):
            port["targetPort"] = port.get("port")
    obj.setdefault("status", {}).setdefault("loadBalancer", {})


def _secret(obj: Obj) -> None:
    put(obj, type="Opaque")


def _namespace(obj: Obj) -> None:
    obj.setdefault("spec", {})
    if not obj["metadata"].get("deletionTimestamp"):
        put(obj.setdefault("status", {}), phase="Active")
    obj["metadata"].setdefault("labels", {})["kubernetes.io/metadata.name"] = obj["metadata"].get("name", "")


def _endpoint_slice(obj: Obj) -> None:
    for port in obj.get("ports") or ():
        put(port, protocol="TCP", name="")
    for endpoint in obj.get("endpoints") or ():
        put(endpoint, conditions={})


def _endpoints(obj: Obj) -> None:
    for subset in obj.get("subsets") or ():
        for port in subset.get("ports") or ():
            put(port, protocol="TCP")


def _event(obj: Obj) -> None:
    if obj.get("apiVersion", "v1") == "v1":
        put(obj, source={}, reportingComponent="", reportingInstance="")


def _ingress(obj: Obj) -> None:
    put(obj.setdefault("status", {}), loadBalancer={})


def _network_policy(obj: Obj) -> None:
    spec = obj.setdefault("spec", {})
    put(spec, policyTypes=["Ingress", *(["Egress"] if "egress" in spec else [])])
    for rule in [*(spec.get("ingress") or ()), *(spec.get("egress") or ())]:
        for port in rule.get("ports") or ():
            put(port, protocol="TCP")


def _binding(obj: Obj) -> None:
    group = "rbac.authorization.k8s.io"
    put(obj.get("roleRef") or {}, apiGroup=group)
    for subject in obj.get("subjects") or ():
        put(subject, apiGroup="" if subject.get("kind") == "ServiceAccount" else group)
        if not subject["apiGroup"]:
            del subject["apiGroup"]


def _hooks(obj: Obj) -> None:
    for hook in obj.get("webhooks") or ():
        put(hook, failurePolicy="Fail", matchPolicy="Equivalent", timeoutSeconds=10, namespaceSelector={}, objectSelector={})
        if obj["kind"].startswith("Mutating"):
            put(hook, reinvocationPolicy="Never")
        for rule in hook.get("rules") or ():
            put(rule, scope="*")
        service = (hook.get("clientConfig") or {}).get("service")
        if service:
            put(service, port=443)


def _definition(obj: Obj) -> None:
    spec = obj.setdefault("spec", {})
    names = spec.setdefault("names", {})
    if names.get("kind"):
        put(names, singular=names["kind"].lower(), listKind=f"{names['kind']}List")
    put(spec, conversion={"strategy": "None"})


def _priority_class(obj: Obj) -> None:
    put(obj, preemptionPolicy="PreemptLowerPriority")


def _storage_class(obj: Obj) -> None:
    put(obj, reclaimPolicy="Delete", volumeBindingMode="Immediate")


def _autoscaler(obj: Obj) -> None:
    put(obj.setdefault("spec", {}), minReplicas=1)


DEFAULTS: dict[str, Callable[[Obj], None]] = {
    "events": _event, "ingresses.networking.k8s.io": _ingress,
    "pods": _pod, "services": _service, "secrets": _secret, "namespaces": _namespace, "endpoints": _endpoints,
    "deployments.apps": _deployment, "replicasets.apps": _replica_set, "statefulsets.apps": _stateful_set, "daemonsets.apps": _daemon_set,
    "jobs.batch": _job, "cronjobs.batch": _cron_job, "endpointslices.discovery.k8s.io": _endpoint_slice,
    "networkpolicies.networking.k8s.io": _network_policy,
    "rolebindings.rbac.authorization.k8s.io": _binding, "clusterrolebindings.rbac.authorization.k8s.io": _binding,
    "mutatingwebhookconfigurations.admissionregistration.k8s.io": _hooks, "validatingwebhookconfigurations.admissionregistration.k8s.io": _hooks,
    "customresourcedefinitions.apiextensions.k8s.io": _definition, "priorityclasses.scheduling.k8s.io": _priority_class,
    "storageclasses.storage.k8s.io": _storage_class, "horizontalpodautoscalers.autoscaling": _autoscaler,
}  # fmt: skip
