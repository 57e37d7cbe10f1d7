"""Make `builtin.json` from the JSON schema that the PyPI package `kubernetes-validate` derives from Kubernetes' OpenAPI document.

Usage: python -m mesh.sandbox.apiserver.schema.generate .../kubernetes-json-schema/v1.32.0-local/_definitions.json

A developer's tool: the server reads only its output. It keeps the facts (fields, types, required, list keys, patch strategies), drops
prose, nulls and what our kinds do not reach, and writes the short form that `definitions` reads.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

PREFIXES = ("io.k8s.apimachinery.pkg.apis.meta.", "io.k8s.apiextensions-apiserver.pkg.apis.", "io.k8s.api.")
ROOTS = """core.v1: Namespace Node Pod PodTemplate Service Endpoints ConfigMap Secret ServiceAccount Event ReplicationController LimitRange ResourceQuota Binding
apps.v1: Deployment ReplicaSet StatefulSet DaemonSet ControllerRevision
batch.v1: Job CronJob
autoscaling.v1: Scale
autoscaling.v2: HorizontalPodAutoscaler
policy.v1: PodDisruptionBudget Eviction
networking.v1: Ingress IngressClass NetworkPolicy
discovery.v1: EndpointSlice
events.v1: Event
coordination.v1: Lease
rbac.v1: Role ClusterRole RoleBinding ClusterRoleBinding
scheduling.v1: PriorityClass
storage.v1: StorageClass
admissionregistration.v1: MutatingWebhookConfiguration ValidatingWebhookConfiguration
authentication.v1: TokenRequest TokenReview SelfSubjectReview
authorization.v1: SubjectAccessReview SelfSubjectAccessReview LocalSubjectAccessReview SelfSubjectRulesReview
apiextensions.v1: CustomResourceDefinition
v1: DeleteOptions"""
# JSON-typed wrappers: their Go types have no fields, so the document says nothing useful about them.
OPAQUE = {"io.k8s.apimachinery.pkg.runtime.RawExtension", "v1.FieldsV1", "apiextensions.v1.JSONSchemaProps", "apiextensions.v1.JSON"}
SPECIAL: dict[str, dict[str, Any]] = {
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": {"x-kubernetes-int-or-string": True},
    "io.k8s.apimachinery.pkg.api.resource.Quantity": {"x-kubernetes-int-or-string": True, "format": "quantity"},
    "v1.Time": {"type": "string", "format": "date-time"},
    "v1.MicroTime": {"type": "string", "format": "date-time"},
}
# The document's v2 form carries no defaults; a list key that may be left out needs one (server-side apply).
DEFAULTS = {("core.v1.ContainerPort", "protocol"): "TCP", ("core.v1.ServicePort", "protocol"): "TCP"}
KEEP = ("format", "required", "x-kubernetes-list-type", "x-kubernetes-list-map-keys", "x-kubernetes-map-type", "x-kubernetes-patch-merge-key", "x-kubernetes-patch-strategy")


def short(name: str) -> str:
    """`io.k8s.api.core.v1.Pod` → `core.v1.Pod`, `…meta.v1.ObjectMeta` → `v1.ObjectMeta`."""
    for prefix in PREFIXES:
        if name.startswith(prefix):
            return name.removeprefix(prefix)
    return name


def simplify(node: dict[str, Any]) -> dict[str, Any]:
    """One schema node without prose and nulls."""
    if "$ref" in node:
        name = short(node["$ref"].rsplit("/", 1)[1])
        inlined = SPECIAL.get(name) or ({"x-kubernetes-preserve-unknown-fields": True} if name in OPAQUE else {"$ref": name})
        return {**inlined, **{k: node[k] for k in KEEP if k in node}}
    out = {key: node[key] for key in KEEP if key in node}
    kind = node.get("type")
    if isinstance(kind, list):
        kind = next(t for t in kind if t != "null")
    if kind:
        out["type"] = kind
    if node.get("properties"):
        out["properties"] = {name: simplify(child) for name, child in node["properties"].items()}
    if "items" in node:
        out["items"] = simplify(node["items"])
    if isinstance(node.get("additionalProperties"), dict):
        out["additionalProperties"] = simplify(node["additionalProperties"])
    return out


def reach(name: str, definitions: dict[str, Any], out: dict[str, Any]) -> None:
    """Copy `name` and everything that it refers to."""
    if name in out:
        return
    out[name] = node = simplify(definitions[name])
    for owner, field in DEFAULTS:
        if owner == name:
            node["properties"][field]["default"] = DEFAULTS[owner, field]
    todo: list[Any] = [node]
    while todo:
        current = todo.pop()
        if isinstance(current, dict):
            if isinstance(current.get("$ref"), str):
                reach(current["$ref"], definitions, out)
            todo.extend(current.values())
        elif isinstance(current, list):
            todo.extend(current)


def main() -> None:
    """Write `builtin.json` beside this file."""
    document = json.loads(Path(sys.argv[1]).read_text())
    definitions = {short(name): node for name, node in document["$defs"].items()}
    out: dict[str, Any] = {}
    for line in ROOTS.splitlines():
        package, names = line.split(":")
        for name in names.split():
            reach(f"{package}.{name}", definitions, out)
    Path(__file__).with_name("builtin.json").write_text(json.dumps(out, separators=(",", ":"), sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
