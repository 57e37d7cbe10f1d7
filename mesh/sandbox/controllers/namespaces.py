"""Namespaces: what each must contain, and how one is emptied before it goes. Pure.

Source: Kubernetes "Namespaces"; kube-controller-manager serviceaccounts, root-ca-cert-publisher and namespace controllers.
"""

from collections.abc import Sequence
from typing import Any

from mesh.sandbox.controllers.plan import Create, Delete, Patch, Plan
from mesh.sandbox.kubeclient import CONFIGMAPS, PODS, SERVICE_ACCOUNTS, Resource

Json = dict[str, Any]
ROOT_CA = "kube-root-ca.crt"


def contents(namespace: Json, account: Json | None, root_ca: Json | None, ca_pem: str) -> Plan:
    """The default ServiceAccount and the cluster's CA certificate."""
    result = Plan()
    if "deletionTimestamp" in namespace["metadata"]:
        return result
    name = namespace["metadata"]["name"]
    if account is None:
        body: Json = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": name}}
        result.actions.append(Create(SERVICE_ACCOUNTS, body, ignore_existing=True))
    data = {"ca.crt": ca_pem}
    if root_ca is None:
        note = {"kubernetes.io/description": "The CA certificate of the sandbox's API server."}
        meta = {"name": ROOT_CA, "namespace": name, "annotations": note}
        result.actions.append(
            Create(CONFIGMAPS, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data}, ignore_existing=True)
        )
    elif root_ca.get("data") != data:
        result.actions.append(Patch(CONFIGMAPS, root_ca, {"data": data}))
    return result


def empty(left: Sequence[tuple[Resource, Json]]) -> Plan:
    """Delete what a namespace that is going still contains; its pods first, as they take longest."""
    result = Plan()
    for resource, item in sorted(left, key=lambda pair: pair[0] is not PODS):
        if "deletionTimestamp" not in item["metadata"]:
            result.actions.append(Delete(resource, item, propagation="Background"))
    return result
