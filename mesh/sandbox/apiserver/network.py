"""The network as the API server sees it from inside the node namespace: how to reach kubelets, pods and Services."""

from __future__ import annotations

import random
import ssl
from dataclasses import dataclass
from typing import Any

from mesh.sandbox.apiserver import status
from mesh.sandbox.apiserver.storage import Key, Store
from mesh.sandbox.pki import Pki

Obj = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Address:
    """Host and port to connect to."""

    host: str
    port: int


class Network:
    """Resolves names by the objects in the store. `kubelet_tls` is our client certificate towards kubelets."""

    def __init__(self, store: Store, pki: Pki, rng: random.Random) -> None:
        self._store = store
        self._rng = rng
        self.kubelet_tls = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=str(pki.ca))
        self.kubelet_tls.load_cert_chain(pki.cert("apiserver-kubelet-client"), pki.key("apiserver-kubelet-client"))

    def kubelet(self, node_name: str) -> Address:
        """A node's kubelet API. Raises: ApiError 404, 503."""
        found = self._store.get(Key("nodes", "", node_name))
        if found is None:
            raise status.not_found("", "nodes", node_name)
        state = found.obj.get("status", {})
        host = next((a["address"] for a in state.get("addresses") or () if a["type"] == "InternalIP"), "")
        port = ((state.get("daemonEndpoints") or {}).get("kubeletEndpoint") or {}).get("Port", 0)
        if not host or not port:
            raise status.unavailable(f'node "{node_name}" has no InternalIP or kubelet port in its status yet')
        return Address(host, port)

    def service(self, namespace: str, name: str, port: int | str) -> Address:
        """A ready endpoint of a Service's port (number or name). Raises: ApiError 404, 503.

        Endpoints rather than the cluster IP: it works as soon as the slice is there, whatever the state of the node's rules.
        """
        found = self._store.get(Key("services", namespace, name))
        if found is None:
            raise status.not_found("", "services", name)
        spec = found.obj["spec"]
        if spec["type"] == "ExternalName":
            return Address(spec["externalName"], int(port))
        wanted = next((p for p in spec.get("ports") or () if p["port"] == port or p.get("name") == port or str(p["port"]) == port), None)
        if wanted is None:
            raise status.unavailable(f'service "{name}" has no port {port}')
        addresses = self._endpoints(namespace, name, wanted.get("name", ""))
        if not addresses:
            raise status.unavailable(f'no endpoints available for service "{name}"')
        return self._rng.choice(addresses)

    def _endpoints(self, namespace: str, name: str, port_name: str) -> list[Address]:
        addresses = []
        for _, stored in self._store.items("endpointslices.discovery.k8s.io", namespace):
            piece = stored.obj
            if (piece["metadata"].get("labels") or {}).get("kubernetes.io/service-name") != name:
                continue
            port = next((p["port"] for p in piece.get("ports") or () if (p.get("name") or "") == port_name), None)
            for endpoint in piece.get("endpoints") or () if port else ():
                if (endpoint.get("conditions") or {}).get("ready") is not False:
                    addresses += [Address(a, int(port or 0)) for a in endpoint["addresses"]]
        return addresses

    def pod(self, pod: Obj) -> str:
        """A pod's address. Raises: ApiError 503."""
        ip = pod.get("status", {}).get("podIP")
        if not ip:
            raise status.unavailable(f'pod "{pod["metadata"]["name"]}" has no address yet')
        return str(ip)
