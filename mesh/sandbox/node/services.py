"""Services and EndpointSlices → ports for the nat rules, and host forwards. Pure.

Source: kube-proxy: ready endpoints; when all are terminating, those that still serve (KEP-1669).
"""

from collections.abc import Iterable
from typing import Any

from mesh.sandbox.network import Backend, ServicePort

Json = dict[str, Any]
SERVICE_NAME_LABEL = "kubernetes.io/service-name"


def service_ports(services: Iterable[Json], slices: Iterable[Json]) -> list[ServicePort]:
    """Every port of every Service that has a cluster IP."""
    by_service: dict[tuple[str, str], list[Json]] = {}
    for item in slices:
        meta = item["metadata"]
        if (owner := (meta.get("labels") or {}).get(SERVICE_NAME_LABEL)) and item.get("addressType") == "IPv4":
            by_service.setdefault((meta["namespace"], owner), []).append(item)
    found = []
    for service in services:
        meta, spec = service["metadata"], service["spec"]
        addresses = virtual_addresses(service)
        if not addresses:
            continue
        for port in spec.get("ports") or ():
            found.append(
                ServicePort(
                    name=f"{meta['namespace']}/{meta['name']}:{port['port']}/{port.get('protocol', 'TCP')}",
                    protocol=port.get("protocol", "TCP").lower(),
                    addresses=addresses,
                    port=int(port["port"]),
                    node_port=int(port.get("nodePort") or 0),
                    backends=backends(by_service.get((meta["namespace"], meta["name"]), ()), port),
                )
            )
    return [port for port in found if port.protocol in ("tcp", "udp")]


def virtual_addresses(service: Json) -> tuple[str, ...]:
    """Cluster IP, load balancer and external addresses (IPv4)."""
    spec = service["spec"]
    if spec.get("clusterIP") in (None, "", "None") or spec.get("type") == "ExternalName":
        return ()
    ingress = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    every = [*(spec.get("clusterIPs") or [spec["clusterIP"]]), *(item["ip"] for item in ingress if "ip" in item), *(spec.get("externalIPs") or ())]
    return tuple(dict.fromkeys(address for address in every if ":" not in address))


def backends(slices: Iterable[Json], port: Json) -> tuple[Backend, ...]:
    """The endpoints that new connections to a Service port may go to, in a fixed order."""
    ready: set[Backend] = set()
    serving: set[Backend] = set()
    for item in slices:
        number = _target_port(item, port)
        if number is None:
            continue
        for endpoint in item.get("endpoints") or ():
            conditions = endpoint.get("conditions") or {}
            found = {Backend(address, number) for address in endpoint.get("addresses") or ()}
            if conditions.get("ready", True):
                ready |= found
            elif conditions.get("serving") and conditions.get("terminating"):
                serving |= found
    return tuple(sorted(ready or serving, key=lambda backend: (backend.ip, backend.port)))


def _target_port(item: Json, port: Json) -> int | None:
    for candidate in item.get("ports") or ():
        same_protocol = candidate.get("protocol", "TCP") == port.get("protocol", "TCP")
        if same_protocol and (candidate.get("name") or "") == (port.get("name") or ""):
            number: int | None = candidate.get("port")
            return number
    return None


def host_forwards(services: Iterable[Json]) -> dict[str, dict[str, str]]:
    """{"<namespace>/<service>": {"<port>": "<cluster IP>:<port>"}} for TCP ports of type LoadBalancer."""
    return {
        f"{service['metadata']['namespace']}/{service['metadata']['name']}": {
            str(port["port"]): f"{service['spec']['clusterIP']}:{port['port']}"
            for port in service["spec"].get("ports") or ()
            if port.get("protocol", "TCP") == "TCP"
        }
        for service in services
        if service["spec"].get("type") == "LoadBalancer" and virtual_addresses(service)
    }
