"""Services of type LoadBalancer get an address of their own that pods and the node reach. Pure.

The host reaches them through the forwarder on 127.0.0.1 (see `forward`); that address is no part of the status.
"""

from collections.abc import Iterable
from typing import Any

from mesh.sandbox.controllers.plan import Note, Patch, Plan
from mesh.sandbox.kubeclient import SERVICES
from mesh.sandbox.network import LOAD_BALANCER_NETWORK

Json = dict[str, Any]


def plan(service: Json, every: Iterable[Json]) -> Plan:
    """Give or take the address. `every` are all Services, so that no address is given twice."""
    result = Plan()
    spec, have = service["spec"], address(service)
    if "deletionTimestamp" in service["metadata"]:
        return result
    if spec.get("type") != "LoadBalancer" or spec.get("loadBalancerClass"):
        if have is not None and spec.get("type") != "LoadBalancer":
            result.actions.append(Patch(SERVICES, service, {"status": {"loadBalancer": {"ingress": None}}}, sub="status"))
        return result
    if have is not None:
        return result
    taken = {address(other) for other in every}
    free = next((str(ip) for ip in LOAD_BALANCER_NETWORK.hosts() if str(ip) not in taken), None)
    asked = spec.get("loadBalancerIP")
    if asked and asked not in taken:
        free = asked
    if free is None:
        result.actions.append(Note(service, "Warning", "SyncLoadBalancerFailed", f"no free address in {LOAD_BALANCER_NETWORK}"))
        return result
    ingress = [{"ip": free, "ipMode": "VIP"}]
    result.actions.append(Patch(SERVICES, service, {"status": {"loadBalancer": {"ingress": ingress}}}, sub="status"))
    result.actions.append(Note(service, "Normal", "EnsuredLoadBalancer", f"Ensured load balancer at {free}"))
    return result


def address(service: Json) -> str | None:
    """The address that a Service has."""
    ingress = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    return next((item["ip"] for item in ingress if "ip" in item), None)
