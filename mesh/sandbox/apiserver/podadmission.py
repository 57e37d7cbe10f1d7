"""Pod admission: service account, its token volume, and the usual tolerations. Pure but for reading the store; changes the pod in place.

Source: admission controllers "ServiceAccount", "DefaultTolerationSeconds", "Priority" of Kubernetes.
"""

from __future__ import annotations

import random
from typing import Any

from mesh.sandbox.apiserver import status
from mesh.sandbox.apiserver.objects import NAME_CHARS
from mesh.sandbox.apiserver.storage import Key, Store

Obj = dict[str, Any]

TOKEN_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
VOLUME_PREFIX = "kube-api-access-"
TOKEN_SECONDS = 3607  # real servers add 7 to tell their own volumes apart
NOT_READY, UNREACHABLE = "node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"


def admit(pod: Obj, store: Store, namespace: str) -> None:
    """Raises: ApiError 403: the service account or priority class does not exist."""
    spec = pod["spec"]
    _service_account(pod, spec, store, namespace)
    _priority(pod, spec, store)
    tolerations = spec.setdefault("tolerations", [])
    for key in (NOT_READY, UNREACHABLE):
        if not any(t.get("key") in (key, None, "") and t.get("effect") in ("NoExecute", None, "") for t in tolerations):
            tolerations.append({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300})


def _service_account(pod: Obj, spec: Obj, store: Store, namespace: str) -> None:
    if (pod["metadata"].get("annotations") or {}).get("kubernetes.io/config.mirror"):
        return
    name = spec.setdefault("serviceAccountName", "default")
    spec["serviceAccount"] = name
    account = store.get(Key("serviceaccounts", namespace, name))
    if account is None:
        where = f"error looking up service account {namespace}/{name}"
        raise status.forbidden(f'pods "{pod["metadata"].get("name", "")}" is forbidden: {where}: serviceaccount "{name}" not found', "", "pods", pod["metadata"].get("name", ""))
    if not spec.get("imagePullSecrets") and account.obj.get("imagePullSecrets"):
        spec["imagePullSecrets"] = account.obj["imagePullSecrets"]
    automount = spec.get("automountServiceAccountToken", account.obj.get("automountServiceAccountToken", True))
    containers = [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]
    bare = [c for c in containers if not any(m.get("mountPath") == TOKEN_PATH for m in c.get("volumeMounts") or ())]
    if not automount or not bare:
        return
    known = next((v["name"] for v in spec.get("volumes") or () if v["name"].startswith(VOLUME_PREFIX) and "projected" in v), None)
    suffix = "".join(random.Random(pod["metadata"].get("uid", "")).choices(NAME_CHARS, k=5))
    volume = known or f"{VOLUME_PREFIX}{suffix}"
    if known is None:
        spec.setdefault("volumes", []).append(_token_volume(volume))
    for container in bare:
        container.setdefault("volumeMounts", []).append({"name": volume, "readOnly": True, "mountPath": TOKEN_PATH})


def _token_volume(name: str) -> Obj:
    return {"name": name, "projected": {"defaultMode": 0o644, "sources": [
        {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}},
    ]}}  # fmt: skip


def _priority(pod: Obj, spec: Obj, store: Store) -> None:
    name = spec.get("priorityClassName")
    system = {"system-cluster-critical": 2_000_000_000, "system-node-critical": 2_000_001_000}
    if not name or name in system:
        spec["priority"] = system.get(name or "", 0)
    else:
        found = store.get(Key("priorityclasses.scheduling.k8s.io", "", name))
        if found is None:
            raise status.forbidden(f'pods "{pod["metadata"].get("name", "")}" is forbidden: no PriorityClass with name {name} was found', "", "pods", pod["metadata"].get("name", ""))
        spec["priority"] = found.obj["value"]
    spec.setdefault("preemptionPolicy", "PreemptLowerPriority")
