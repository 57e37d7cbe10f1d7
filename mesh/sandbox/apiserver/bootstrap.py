"""What a cluster holds before anybody has asked for anything: namespaces, roles, the Services `kubernetes` and `kube-dns`."""

from __future__ import annotations

import uuid
from typing import Any

from mesh.sandbox import addons
from mesh.sandbox.apiserver import defaults, objects, rbac, services
from mesh.sandbox.apiserver.cluster import Cluster
from mesh.sandbox.apiserver.kubeconfig import Addresses
from mesh.sandbox.apiserver.storage import Key

Obj = dict[str, Any]

NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")


async def fill(cluster: Cluster, addresses: Addresses) -> None:
    """Create what is missing; bring the addresses of `kubernetes` up to date."""
    for name in NAMESPACES:
        await _ensure(cluster, Key("namespaces", "", name), {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}, "spec": {"finalizers": ["kubernetes"]}})
    for obj in rbac.bootstrap():
        key = rbac.CLUSTER_ROLES if obj["kind"] == "ClusterRole" else rbac.CLUSTER_BINDINGS
        await _ensure(cluster, Key(key, "", obj["metadata"]["name"]), obj)
    for obj in _kubernetes(addresses):
        plural = {"Service": "services", "Endpoints": "endpoints", "EndpointSlice": "endpointslices.discovery.k8s.io"}[obj["kind"]]
        await _ensure(cluster, Key(plural, "default", "kubernetes"), obj, refresh=True)
    for resource, obj in addons.dns_objects():
        plural = f"{resource.plural}.{resource.group}" if resource.group else resource.plural
        defaults.fill(obj, plural)
        if obj["kind"] == "Service":
            services.allocate(obj, [], cluster.rng)
        await _ensure(cluster, Key(plural, "kube-system", obj["metadata"]["name"]), obj)


def _kubernetes(addresses: Addresses) -> list[Obj]:
    meta: Obj = {"name": "kubernetes", "namespace": "default"}
    labels = {"component": "apiserver", "provider": "kubernetes"}
    node = addresses.node
    port = {"name": "https", "port": 443, "protocol": "TCP", "targetPort": node.port}
    spec = {"type": "ClusterIP", "clusterIP": services.KUBERNETES_IP, "clusterIPs": [services.KUBERNETES_IP], "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack",
            "ports": [port], "sessionAffinity": "None"}  # fmt: skip
    target = {"name": "https", "port": node.port, "protocol": "TCP"}
    return [
        {"apiVersion": "v1", "kind": "Service", "metadata": {**meta, "labels": labels}, "spec": spec},
        {"apiVersion": "v1", "kind": "Endpoints", "metadata": {**meta, "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}},
         "subsets": [{"addresses": [{"ip": node.host}], "ports": [target]}]},
        {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {**meta, "labels": {"kubernetes.io/service-name": "kubernetes"}},
         "addressType": "IPv4", "endpoints": [{"addresses": [node.host], "conditions": {"ready": True}}], "ports": [target]},
    ]  # fmt: skip


async def _ensure(cluster: Cluster, key: Key, obj: Obj, refresh: bool = False) -> None:
    defaults.fill(obj, key.resource)
    expected = cluster.store.head(key)
    if expected is not None:
        if refresh and {k: v for k, v in expected.obj.items() if k != "metadata"} != {k: v for k, v in obj.items() if k != "metadata"}:
            await cluster.store.put(key, {**obj, "metadata": {**expected.obj["metadata"], **obj["metadata"]}}, expected)
        return
    obj["metadata"] |= {"uid": str(uuid.uuid4()), "creationTimestamp": objects.timestamp(cluster.clock())}
    await cluster.store.put(key, obj, None)
