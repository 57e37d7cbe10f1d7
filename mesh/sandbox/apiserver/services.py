"""Services: cluster IPs and node ports. Pure.

Addresses come from 198.19.0.0/16: the first 256 are for those who ask for one by name (`kubernetes` .0.1, DNS .0.10), as real servers
keep a static band; the rest is given out at random. The sandbox has one family; asking for IPv6 is an error, PreferDualStack gets IPv4.
"""

from __future__ import annotations

import ipaddress
import random
from typing import Any

from mesh.sandbox.apiserver.status import Cause

Obj = dict[str, Any]

NETWORK = ipaddress.ip_network("198.19.0.0/16")
STATIC_BAND = 256
NODE_PORTS = range(30000, 32768)
KUBERNETES_IP, DNS_IP = "198.19.0.1", "198.19.0.10"
RESERVED = {KUBERNETES_IP, DNS_IP}


def carry_over(new: Obj, old: Obj | None) -> None:
    """An update that leaves out what the server chose keeps it, as `kubectl replace` expects."""
    if old is None:
        return
    spec, before = new["spec"], old["spec"]
    if spec["type"] == "ExternalName":
        for name in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"):
            spec.pop(name, None)
        return
    for name in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"):
        if name in before and name not in spec and before.get("type") != "ExternalName":
            spec[name] = before[name]
    if spec["type"] in ("NodePort", "LoadBalancer"):
        known = {(p.get("protocol"), p["port"]): p["nodePort"] for p in before.get("ports") or () if p.get("nodePort")}
        for port in spec.get("ports") or ():
            if not port.get("nodePort") and (port.get("protocol"), port["port"]) in known:
                port["nodePort"] = known[port.get("protocol"), port["port"]]
    elif before["type"] in ("NodePort", "LoadBalancer"):
        for port in spec.get("ports") or ():
            port.pop("nodePort", None)


def allocate(service: Obj, others: list[Obj], rng: random.Random) -> list[Cause]:
    """Fill clusterIP(s), families and node ports, or check those asked for against `others`."""
    spec = service["spec"]
    if spec["type"] == "ExternalName":
        return []
    causes = _families(spec)
    if causes:
        return causes
    causes += _address(service, {ip for other in others for ip in other["spec"].get("clusterIPs") or ()}, rng)
    if spec["type"] in ("NodePort", "LoadBalancer") and not (spec["type"] == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts") is False):
        used = {(p.get("protocol"), p["nodePort"]) for other in others for p in other["spec"].get("ports") or () if p.get("nodePort")}
        causes += _node_ports(spec, used, rng)
    return causes


def _families(spec: Obj) -> list[Cause]:
    families = spec.get("ipFamilies") or ["IPv4"]
    if "IPv6" in families:
        return [Cause("FieldValueInvalid", "spec.ipFamilies", f'Invalid value: "IPv6": not configured on this cluster (families asked for: {families})')]
    if spec.get("ipFamilyPolicy") == "RequireDualStack":
        return [Cause("FieldValueInvalid", "spec.ipFamilyPolicy", 'Invalid value: "RequireDualStack": this cluster is not configured for dual-stack services')]
    spec["ipFamilies"] = ["IPv4"]
    spec.setdefault("ipFamilyPolicy", "SingleStack")
    return []


def _address(service: Obj, used: set[str], rng: random.Random) -> list[Cause]:
    spec = service["spec"]
    asked = spec.get("clusterIP") or (spec.get("clusterIPs") or [""])[0]
    if asked == "None":
        spec["clusterIP"], spec["clusterIPs"] = "None", ["None"]
        return []
    if asked:
        problem = _problem(asked, used)
        if problem:
            return [Cause("FieldValueInvalid", "spec.clusterIPs", f'Invalid value: ["{asked}"]: {problem}')]
        spec["clusterIP"], spec["clusterIPs"] = asked, [asked]
        return []
    size = NETWORK.num_addresses
    start = rng.randrange(STATIC_BAND, size - 1)
    for step in range(size - 1 - STATIC_BAND):
        candidate = str(NETWORK[STATIC_BAND + (start - STATIC_BAND + step) % (size - 1 - STATIC_BAND)])
        if candidate not in used:
            spec["clusterIP"], spec["clusterIPs"] = candidate, [candidate]
            return []
    return [Cause("FieldValueInvalid", "spec.clusterIPs", f"failed to allocate IP: range {NETWORK} is full")]


def _problem(asked: str, used: set[str]) -> str:
    try:
        address = ipaddress.ip_address(asked)
    except ValueError:
        return "must be a valid IP address or None"
    if address not in NETWORK or address in (NETWORK.network_address, NETWORK.broadcast_address):
        return f"failed to allocate IP {asked}: the provided IP is not in the valid range, {NETWORK}"
    return f"failed to allocate IP {asked}: provided IP is already allocated" if asked in used else ""


def _node_ports(spec: Obj, used: set[tuple[Any, int]], rng: random.Random) -> list[Cause]:
    causes = []
    for index, port in enumerate(spec.get("ports") or ()):
        protocol, asked = port.get("protocol"), port.get("nodePort")
        if asked and (asked not in NODE_PORTS or (protocol, asked) in used):
            why = "provided port is already allocated" if asked in NODE_PORTS else f"provided port is not in the valid range. The range of valid ports is {NODE_PORTS[0]}-{NODE_PORTS[-1]}"
            causes.append(Cause("FieldValueInvalid", f"spec.ports[{index}].nodePort", f"Invalid value: {asked}: {why}"))
        elif not asked:
            free = [n for n in NODE_PORTS if (protocol, n) not in used]
            if not free:
                causes.append(Cause("InternalError", f"spec.ports[{index}].nodePort", "no free node port is left"))
                continue
            port["nodePort"] = asked = rng.choice(free)
        used.add((protocol, port.get("nodePort", 0)))
    return causes
