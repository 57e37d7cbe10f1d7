"""Worlds for tests: a store filled from YAML, nodes, and the endpoints a cluster would have made for Deployments."""

from __future__ import annotations

import pathlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import yaml

from mesh.control.kube import kinds
from mesh.control.kube.world import World, WorldStore
from mesh.control.translate.build import build
from mesh.control.translate.graph import Graph
from mesh.control.translate.project import project
from mesh.model.node import Node, Role
from mesh.model.snapshot import Snapshot

ROOT = pathlib.Path(__file__).resolve().parents[2]
BOOKINFO = ROOT / "samples" / "bookinfo"
SYSTEM = "triomesh-system"

Manifest = dict[str, Any]

INGRESS_GATEWAY = """
apiVersion: v1
kind: Service
metadata: {name: triomesh-ingressgateway, namespace: triomesh-system}
spec:
  selector: {istio: ingressgateway}
  clusterIP: 198.19.9.9
  ports:
  - {name: http2, port: 80, targetPort: 8080}
  - {name: https, port: 443, targetPort: 8443}
"""


def manifests(text: str, namespace: str = "default") -> list[Manifest]:
    """The documents of a YAML text; those without a namespace get one, as kubectl gives it to them."""
    found = [item for item in yaml.safe_load_all(text) if item]
    for item in found:
        item.setdefault("metadata", {}).setdefault("namespace", namespace)
    return found


def bookinfo(*names: str) -> list[Manifest]:
    """Files of the sample, e.g. `networking/bookinfo-gateway.yaml`."""
    return [item for name in names for item in manifests((BOOKINFO / name).read_text())]


class Cluster:
    """A Kubernetes cluster as far as the translation sees it: applies manifests, fills in what controllers would.

    Services get cluster IPs 198.19.0.x, Deployments one Ready pod each (198.18.0.x) and Services' EndpointSlices follow.
    has_identities: the pods' proxies have mesh certificates, and the nodes of `sidecar` and `gateway` too.
    """

    def __init__(self, has_identities: bool = False) -> None:
        self.has_identities = has_identities
        self.store = WorldStore()
        self.items: dict[tuple[str, str, str, str], Manifest] = {}
        self._created = 0
        self._ips = 0

    def apply(self, items: Iterable[Manifest] | str) -> None:
        for item in manifests(items) if isinstance(items, str) else items:
            self._apply(item)
        self._sync()

    def delete(self, kind: str, name: str, namespace: str = "default") -> None:
        for key in [key for key in self.items if key[1:] == (kind, namespace, name)]:
            del self.items[key]
        self._sync()

    def pod(self, name: str, labels: Mapping[str, str], namespace: str = "default", **metadata: Any) -> Manifest:
        """A Ready, meshed pod."""
        self._ips += 1
        ip = f"198.18.{self._ips >> 8}.{self._ips & 255}"
        identity = {"security.istio.io/tlsMode": "istio"} if self.has_identities else {}
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": name,
                "namespace": namespace,
                "labels": {**labels, **identity},
                "uid": f"uid-{name}",
                **metadata,
            },
            "spec": {"containers": [{"name": "app"}, {"name": "triomesh-proxy"}], "nodeName": "node"},
            "status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}]},
        }

    def world(self) -> World:
        return self.store.take()[0]

    def graph(self) -> Graph:
        return build(self.world(), system_namespace=SYSTEM)

    def sidecar(self, name: str, namespace: str = "default", **labels: str) -> Snapshot:
        return project(self.graph(), replace(sidecar_node(name, namespace, **labels), has_identity=self.has_identities))

    def gateway(self) -> Snapshot:
        return project(self.graph(), replace(gateway_node(), has_identity=self.has_identities))

    def _apply(self, item: Manifest) -> None:
        metadata = item["metadata"]
        group = str(item["apiVersion"]).rpartition("/")[0]
        key = (group, item["kind"], metadata["namespace"], metadata["name"])
        if key not in self.items:
            self._created += 1
        old = self.items.get(key)
        stamp = f"2026-01-01T00:{self._created // 60:02}:{self._created % 60:02}Z"
        metadata.setdefault("creationTimestamp", old["metadata"]["creationTimestamp"] if old else stamp)
        if item["kind"] == "Service" and "clusterIP" not in item["spec"] and item["spec"].get("type") != "ExternalName":
            item["spec"]["clusterIP"] = f"198.19.0.{self._created}"
        self.items[key] = item
        if item["kind"] == "Deployment":
            template = item["spec"]["template"]["metadata"]
            owner = {"kind": "ReplicaSet", "name": f"{metadata['name']}-abc12", "controller": True}
            labels = {**template["labels"], "pod-template-hash": "abc12"}
            pod = self.pod(f"{metadata['name']}-abc12-x", labels, metadata["namespace"], ownerReferences=[owner])
            pod["spec"]["serviceAccountName"] = item["spec"]["template"]["spec"].get("serviceAccountName") or "default"
            self._apply(pod)

    def _sync(self) -> None:
        for kind in kinds.KINDS:
            chosen = [
                item for (group, name, _, _), item in self.items.items() if (group, name) == (kind.group, kind.name)
            ]
            if kind is kinds.ENDPOINT_SLICE:
                chosen += self._slices()
            self.store.replace(kind, chosen)

    def _slices(self) -> list[Manifest]:
        pods = [item for key, item in self.items.items() if key[:2] == ("", "Pod")]
        return [
            slice_of(service, pods)
            for key, service in self.items.items()
            if key[:2] == ("", "Service") and service["spec"].get("selector")
        ]


def slice_of(service: Manifest, pods: Iterable[Manifest]) -> Manifest:
    """The EndpointSlice that a controller makes for a Service and these pods."""
    namespace, name = service["metadata"]["namespace"], service["metadata"]["name"]
    selector = service["spec"]["selector"]
    chosen = [
        pod
        for pod in pods
        if pod["metadata"]["namespace"] == namespace
        and all(pod["metadata"]["labels"].get(key) == value for key, value in selector.items())
    ]
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"{name}-1",
            "namespace": namespace,
            "labels": {"kubernetes.io/service-name": name},
        },
        "addressType": "IPv4",
        "ports": [
            {
                "name": port.get("name") or "",
                "port": port["targetPort"] if isinstance(port.get("targetPort"), int) else port["port"],
            }
            for port in service["spec"]["ports"]
        ],
        "endpoints": [
            {
                "addresses": [pod["status"]["podIP"]],
                "conditions": {"ready": True},
                "nodeName": "node",
                "targetRef": {"kind": "Pod", "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]},
            }
            for pod in chosen
        ],
    }


def sidecar_node(name: str, namespace: str = "default", ip: str = "198.18.0.200", **labels: str) -> Node:
    """The node of a sidecar; labels default to `app: <name>`."""
    chosen = labels or {"app": name}
    node_id = f"sidecar~{ip}~{name}.{namespace}~{namespace}.svc.cluster.local"
    return Node(node_id, Role.SIDECAR, ip, name, namespace, chosen, {"NAMESPACE": namespace, "LABELS": chosen})


def gateway_node(namespace: str = SYSTEM) -> Node:
    labels = {"istio": "ingressgateway"}
    node_id = f"router~198.18.0.100~triomesh-ingressgateway-x.{namespace}~{namespace}.svc.cluster.local"
    name = "triomesh-ingressgateway-x"
    return Node(node_id, Role.ROUTER, "198.18.0.100", name, namespace, labels, {"NAMESPACE": namespace})
