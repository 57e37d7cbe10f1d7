"""The table of built-in kinds."""

from __future__ import annotations

from mesh.sandbox.apiserver.registry import ALL_VERBS, Resource, Scale
from mesh.sandbox.apiserver.schema.definitions import definitions

REPLICAS = Scale(".spec.replicas", ".status.replicas")
POD_SUBRESOURCES = ("attach", "binding", "ephemeralcontainers", "eviction", "exec", "log", "portforward", "proxy", "resize")
NO_COLLECTION = tuple(verb for verb in ALL_VERBS if verb != "deletecollection")


def builtin() -> list[Resource]:
    """Every resource the server has from the start."""
    return [*_core(), *_apps(), *_policy(), *_machinery(), *_reviews()]


def _row(definition: str, group: str, version: str, plural: str, **more: object) -> Resource:
    kind = definition.rsplit(".", 1)[1]
    if definition not in definitions():
        raise KeyError(definition)
    return Resource(group, version, plural, kind, **{"namespaced": True, "singular": kind.lower(), "schema": {"$ref": definition}, **more})  # type: ignore[arg-type]


def _core() -> list[Resource]:
    def row(kind: str, plural: str, **more: object) -> Resource:
        return _row(f"core.v1.{kind}", "", "v1", plural, **more)

    def unacted(what: str) -> str:
        return f"the sandbox stores {what} but nothing enforces them"

    return [
        row("ConfigMap", "configmaps", short_names=("cm",)),
        row("Endpoints", "endpoints", short_names=("ep",)),
        row("Event", "events", short_names=("ev",)),
        row("LimitRange", "limitranges", short_names=("limits",), unacted=unacted("LimitRanges")),
        row("Namespace", "namespaces", namespaced=False, short_names=("ns",), has_status=True, subresources=("finalize",), verbs=NO_COLLECTION),
        row("Node", "nodes", namespaced=False, short_names=("no",), has_status=True, subresources=("proxy",)),
        row("Pod", "pods", short_names=("po",), categories=("all",), has_status=True, subresources=POD_SUBRESOURCES),
        row("ResourceQuota", "resourcequotas", short_names=("quota",), has_status=True, unacted=unacted("ResourceQuotas")),
        row("Secret", "secrets"),
        row("ServiceAccount", "serviceaccounts", short_names=("sa",), subresources=("token",)),
        row("Service", "services", short_names=("svc",), categories=("all",), has_status=True, subresources=("proxy",)),
    ]


def _apps() -> list[Resource]:
    def row(kind: str, plural: str, short: tuple[str, ...], **more: object) -> Resource:
        return _row(f"apps.v1.{kind}", "apps", "v1", plural, short_names=short, categories=("all",), has_status=True, **more)

    return [
        _row("apps.v1.ControllerRevision", "apps", "v1", "controllerrevisions"),
        row("DaemonSet", "daemonsets", ("ds",)),
        row("Deployment", "deployments", ("deploy",), scale=REPLICAS),
        row("ReplicaSet", "replicasets", ("rs",), scale=REPLICAS),
        row("StatefulSet", "statefulsets", ("sts",), scale=REPLICAS),
        _row("batch.v1.CronJob", "batch", "v1", "cronjobs", short_names=("cj",), categories=("all",), has_status=True),
        _row("batch.v1.Job", "batch", "v1", "jobs", categories=("all",), has_status=True),
        _row("autoscaling.v2.HorizontalPodAutoscaler", "autoscaling", "v2", "horizontalpodautoscalers", short_names=("hpa",), categories=("all",), has_status=True,
             unacted="the sandbox stores HorizontalPodAutoscalers but has no autoscaler"),
    ]  # fmt: skip


def _policy() -> list[Resource]:
    def rbac(kind: str, plural: str, namespaced: bool) -> Resource:
        return _row(f"rbac.v1.{kind}", "rbac.authorization.k8s.io", "v1", plural, namespaced=namespaced)

    net = "networking.k8s.io"
    return [
        _row("policy.v1.PodDisruptionBudget", "policy", "v1", "poddisruptionbudgets", short_names=("pdb",), has_status=True),
        rbac("ClusterRoleBinding", "clusterrolebindings", False),
        rbac("ClusterRole", "clusterroles", False),
        rbac("RoleBinding", "rolebindings", True),
        rbac("Role", "roles", True),
        _row("networking.v1.IngressClass", net, "v1", "ingressclasses", namespaced=False),
        _row("networking.v1.Ingress", net, "v1", "ingresses", short_names=("ing",), has_status=True),
        _row("networking.v1.NetworkPolicy", net, "v1", "networkpolicies", short_names=("netpol",),
             unacted="the sandbox stores NetworkPolicies but does not enforce them"),
        _row("scheduling.v1.PriorityClass", "scheduling.k8s.io", "v1", "priorityclasses", namespaced=False, short_names=("pc",)),
        _row("storage.v1.StorageClass", "storage.k8s.io", "v1", "storageclasses", namespaced=False, short_names=("sc",),
             unacted="the sandbox stores StorageClasses but has no volume provisioner"),
    ]  # fmt: skip


def _machinery() -> list[Resource]:
    def hook(kind: str, plural: str) -> Resource:
        return _row(f"admissionregistration.v1.{kind}", "admissionregistration.k8s.io", "v1", plural, namespaced=False, categories=("api-extensions",))

    return [
        _row("discovery.v1.EndpointSlice", "discovery.k8s.io", "v1", "endpointslices"),
        _row("events.v1.Event", "events.k8s.io", "v1", "events", short_names=("ev",), storage_key="events", storage_version="v1"),
        _row("coordination.v1.Lease", "coordination.k8s.io", "v1", "leases"),
        hook("MutatingWebhookConfiguration", "mutatingwebhookconfigurations"),
        hook("ValidatingWebhookConfiguration", "validatingwebhookconfigurations"),
        _row("apiextensions.v1.CustomResourceDefinition", "apiextensions.k8s.io", "v1", "customresourcedefinitions", namespaced=False,
             short_names=("crd", "crds"), categories=("api-extensions",), has_status=True),
    ]  # fmt: skip


def _reviews() -> list[Resource]:
    def row(package: str, kind: str, plural: str, namespaced: bool = False) -> Resource:
        return _row(f"{package}.v1.{kind}", f"{package}.k8s.io", "v1", plural, namespaced=namespaced, verbs=("create",), create_only=True)

    return [
        row("authentication", "SelfSubjectReview", "selfsubjectreviews"),
        row("authentication", "TokenReview", "tokenreviews"),
        row("authorization", "LocalSubjectAccessReview", "localsubjectaccessreviews", True),
        row("authorization", "SelfSubjectAccessReview", "selfsubjectaccessreviews"),
        row("authorization", "SelfSubjectRulesReview", "selfsubjectrulesreviews"),
        row("authorization", "SubjectAccessReview", "subjectaccessreviews"),
    ]
