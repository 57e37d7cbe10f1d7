"""Pod: typed looks into a pod (or pod template) object as JSON decodes it.

The object itself stays a plain mapping, because what injection does not know must pass through untouched.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from injector import keys

Json = dict[str, Any]

# Source: Istio GetDeployMetaFromPod: the CronJob controller's names end in the scheduled minute or second.
_CRON_SUFFIX = re.compile(r"-\d{8,10}$")


class BadPod(ValueError):
    """The pod cannot be read or injected as asked; the message names the field or annotation. Denies admission."""


@dataclass(frozen=True, slots=True)
class Workload:
    """What the pod belongs to. `owner` is Istio's "kubernetes://apis/…" form."""

    name: str
    kind: str
    api_version: str
    namespace: str

    @property
    def owner(self) -> str:
        """Source: Istio node metadata OWNER."""
        return f"kubernetes://apis/{self.api_version}/namespaces/{self.namespace}/{self.kind.lower()}s/{self.name}"


def metadata(pod: Mapping[str, Any]) -> Mapping[str, Any]:
    """`metadata`, empty when absent."""
    return _mapping(pod.get("metadata"), "metadata")


def labels(pod: Mapping[str, Any]) -> Mapping[str, str]:
    """`metadata.labels`. Raises: BadPod: a value that is no string."""
    return _strings(metadata(pod).get("labels"), "metadata.labels")


def annotations(pod: Mapping[str, Any]) -> Mapping[str, str]:
    """`metadata.annotations`. Raises: BadPod: a value that is no string."""
    return _strings(metadata(pod).get("annotations"), "metadata.annotations")


def spec(pod: Mapping[str, Any]) -> Mapping[str, Any]:
    """`spec`. Raises: BadPod: absent or no mapping."""
    if "spec" not in pod:
        raise BadPod("spec: is missing")
    return _mapping(pod["spec"], "spec")


def containers(pod: Mapping[str, Any], field: str = "containers") -> list[Json]:
    """`spec.containers` or another list of containers. Raises: BadPod: an element without a name."""
    items = spec(pod).get(field)
    if items is None:
        return []
    if not isinstance(items, list):
        raise BadPod(f"spec.{field}: must be a list")
    for index, item in enumerate(items):
        if not isinstance(item, dict) or not isinstance(item.get("name"), str):
            raise BadPod(f"spec.{field}[{index}].name: is missing")
    return items


def workload(pod: Mapping[str, Any], namespace: str) -> Workload:
    """The Deployment (CronJob, StatefulSet, …) behind the pod, by its controller reference.

    Source: Istio GetDeployMetaFromPod: a ReplicaSet named <deployment>-<pod-template-hash> stands for the Deployment.
    """
    meta = metadata(pod)
    own_name = meta.get("name") or str(meta.get("generateName") or "").rstrip("-")
    for reference in meta.get("ownerReferences") or []:
        if not reference.get("controller"):
            continue
        name, kind, version = reference.get("name", ""), reference.get("kind", ""), reference.get("apiVersion", "")
        template_hash = labels(pod).get("pod-template-hash")
        if kind == "ReplicaSet" and template_hash and name.endswith(f"-{template_hash}"):
            return Workload(name[: -len(template_hash) - 1], "Deployment", version, namespace)
        if kind == "Job" and _CRON_SUFFIX.search(name):
            return Workload(_CRON_SUFFIX.sub("", name), "CronJob", version, namespace)
        return Workload(name, kind, version, namespace)
    return Workload(own_name, "Pod", "v1", namespace)


def canonical_labels(pod: Mapping[str, Any], workload_name: str) -> tuple[str, str]:
    """(canonical-name, canonical-revision) of the pod.

    Source: Istio ExtractCanonicalServiceLabels: explicit label, then app.kubernetes.io, then app/version.
    """
    found = labels(pod)
    names = (keys.CANONICAL_NAME, "app.kubernetes.io/name", "app")
    revisions = (keys.CANONICAL_REVISION, "app.kubernetes.io/version", "version")
    name = next((found[key] for key in names if found.get(key)), workload_name)
    revision = next((found[key] for key in revisions if found.get(key)), "latest")
    # A label's value has at most 63 characters and ends in an alphanumeric one; a Deployment's name may be longer.
    return name[:63].rstrip("-._"), revision


def is_guaranteed(pod: Mapping[str, Any]) -> bool:
    """Whether the pod's class would be Guaranteed: every container has CPU and memory limits equal to its requests.

    Source: Kubernetes v1/qos. A request that is absent takes the limit's value.
    """
    everything = [*containers(pod), *containers(pod, "initContainers")]
    for container in everything:
        resources = container.get("resources") or {}
        limits = resources.get("limits") or {}
        requests = {**limits, **(resources.get("requests") or {})}
        if any(limits.get(key) is None or str(requests[key]) != str(limits[key]) for key in ("cpu", "memory")):
            return False
    return bool(everything)


def _mapping(value: object, path: str) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise BadPod(f"{path}: must be a mapping")
    return value


def _strings(value: object, path: str) -> Mapping[str, str]:
    found = _mapping(value, path)
    for key, text in found.items():
        if not isinstance(text, str):
            raise BadPod(f"{path}.{key}: must be a string, not {text!r}")
    return found
