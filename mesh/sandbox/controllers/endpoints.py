"""Service + pods → EndpointSlice and Endpoints. Pure.

One slice per Service (and per different set of target ports) holds up to a thousand endpoints, as Kubernetes allows.
Source: Kubernetes "EndpointSlices"; KEP-1672 for ready, serving, terminating.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mesh.sandbox.controllers.plan import Create, Delete, Patch, Plan, is_controlled_by, owner_reference, short_hash
from mesh.sandbox.controllers.pods import is_ready
from mesh.sandbox.kubeclient import ENDPOINT_SLICES, ENDPOINTS

Json = dict[str, Any]
SERVICE_NAME = "kubernetes.io/service-name"
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
CONTROLLER = "endpointslice-controller.k8s.io"
_MAX_ENDPOINTS = 1000


def plan(service: Json, pods: Iterable[Json], slices: Sequence[Json], endpoints: Json | None, nodes: Mapping[str, Json]) -> Plan:
    """Make the slices and the Endpoints object say what the pods are. `pods` and `slices` are all of the namespace."""
    result = Plan()
    mine = [item for item in slices if is_controlled_by(item, service) and (item["metadata"].get("labels") or {}).get(MANAGED_BY) == CONTROLLER]
    spec = service["spec"]
    if "deletionTimestamp" in service["metadata"]:
        return result
    if not spec.get("selector") or spec.get("type") == "ExternalName":
        result.actions += [Delete(ENDPOINT_SLICES, item) for item in mine]
        return result
    members = [pod for pod in pods if _is_member(pod, spec["selector"])]
    wanted = _slices(service, members, nodes)
    existing = {item["metadata"]["name"]: item for item in mine}
    for body in wanted:
        old = existing.pop(body["metadata"]["name"], None)
        if old is None:
            result.actions.append(Create(ENDPOINT_SLICES, body))
        elif change := _difference(old, body):
            result.actions.append(Patch(ENDPOINT_SLICES, old, change))
    result.actions += [Delete(ENDPOINT_SLICES, item) for item in existing.values()]
    _endpoints_object(result, service, wanted, endpoints)
    return result


def endpoint(service: Json, pod: Json, nodes: Mapping[str, Json]) -> Json:
    """One endpoint of a slice."""
    meta, spec = pod["metadata"], pod["spec"]
    unready_too = bool(service["spec"].get("publishNotReadyAddresses"))
    serving, terminating = is_ready(pod), "deletionTimestamp" in meta
    value: Json = {
        "addresses": [pod["status"]["podIP"]],
        "conditions": {"ready": unready_too or (serving and not terminating), "serving": serving or unready_too, "terminating": terminating},
        "targetRef": {"kind": "Pod", "namespace": meta["namespace"], "name": meta["name"], "uid": meta["uid"]},
        "nodeName": spec["nodeName"],
    }
    zone = ((nodes.get(spec["nodeName"]) or {}).get("metadata", {}).get("labels") or {}).get("topology.kubernetes.io/zone")
    if zone:
        value["zone"] = zone
    if spec.get("hostname") and spec.get("subdomain") == service["metadata"]["name"]:
        value["hostname"] = spec["hostname"]
    return value


def target_ports(service: Json, pod: Json) -> list[Json]:
    """The ports of a Service as this pod serves them; a name that the pod does not have leaves the port out."""
    found = []
    for port in service["spec"].get("ports") or ():
        target = port.get("targetPort", port["port"])
        number = _named_port(pod, target, port.get("protocol", "TCP")) if isinstance(target, str) else int(target)
        if number is not None:
            item: Json = {"name": port.get("name") or "", "port": number, "protocol": port.get("protocol", "TCP")}
            if port.get("appProtocol"):
                item["appProtocol"] = port["appProtocol"]
            found.append(item)
    return found


def _is_member(pod: Json, selector: Mapping[str, str]) -> bool:
    labels, status = pod["metadata"].get("labels") or {}, pod.get("status") or {}
    if not status.get("podIP") or not pod["spec"].get("nodeName") or status.get("phase") in ("Succeeded", "Failed"):
        return False
    return all(labels.get(key) == value for key, value in selector.items())


def _slices(service: Json, members: list[Json], nodes: Mapping[str, Json]) -> list[Json]:
    groups: dict[str, tuple[list[Json], list[Json]]] = {}
    for pod in sorted(members, key=lambda pod: str(pod["metadata"]["name"])):
        ports = target_ports(service, pod)
        groups.setdefault(short_hash(ports), (ports, []))[1].append(endpoint(service, pod, nodes))
    if not groups:
        groups[short_hash([])] = ([], [])  # a Service without pods has an empty slice: "no endpoints" is known, not awaited
    return [
        _slice(service, f"{key[:5]}{index or ''}", ports, every[start : start + _MAX_ENDPOINTS])
        for key, (ports, every) in groups.items()
        for index, start in enumerate(range(0, max(1, len(every)), _MAX_ENDPOINTS))
    ]


def _slice(service: Json, suffix: str, ports: list[Json], endpoints: list[Json]) -> Json:
    meta, spec = service["metadata"], service["spec"]
    labels = dict(meta.get("labels") or {})
    labels |= {SERVICE_NAME: meta["name"], MANAGED_BY: CONTROLLER}
    if spec.get("clusterIP") == "None":
        labels["service.kubernetes.io/headless"] = ""
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"{meta['name']}-{suffix}",
            "namespace": meta["namespace"],
            "labels": labels,
            "ownerReferences": [owner_reference(service)],
        },
        "addressType": "IPv4",
        "ports": ports,
        "endpoints": endpoints,
    }


def _difference(old: Json, new: Json) -> Json:
    change: Json = {key: new[key] for key in ("ports", "endpoints") if (old.get(key) or []) != new[key]}
    before, after = old["metadata"].get("labels") or {}, new["metadata"]["labels"]
    if before != after:
        change["metadata"] = {"labels": {**dict.fromkeys(before.keys() - after.keys()), **after}}
    if change:
        change.setdefault("metadata", {})["uid"] = old["metadata"]["uid"]
    return change


def _endpoints_object(result: Plan, service: Json, slices: list[Json], old: Json | None) -> None:
    subsets = [subset for item in slices if (subset := _subset(item))]
    meta = service["metadata"]
    labels = dict(meta.get("labels") or {})
    if service["spec"].get("clusterIP") == "None":
        labels["service.kubernetes.io/headless"] = ""
    if old is None:
        body = {
            "apiVersion": "v1",
            "kind": "Endpoints",
            "metadata": {"name": meta["name"], "namespace": meta["namespace"], "labels": labels, "ownerReferences": [owner_reference(service)]},
            "subsets": subsets,
        }
        result.actions.append(Create(ENDPOINTS, body, ignore_existing=True))
    elif (old.get("subsets") or []) != subsets:
        result.actions.append(Patch(ENDPOINTS, old, {"metadata": {"uid": old["metadata"]["uid"]}, "subsets": subsets}))


def _subset(item: Json) -> Json | None:
    addresses: dict[bool, list[Json]] = {True: [], False: []}
    for one in item["endpoints"]:
        if not one["conditions"]["terminating"]:
            entry = {"ip": one["addresses"][0], "nodeName": one["nodeName"], "targetRef": one["targetRef"]}
            if "hostname" in one:
                entry["hostname"] = one["hostname"]
            addresses[one["conditions"]["ready"]].append(entry)
    if not any(addresses.values()):
        return None
    ports = [{key: value for key, value in port.items() if value != ""} for port in item["ports"]]
    subset: Json = {"ports": ports} if ports else {}
    subset |= {"addresses": addresses[True]} if addresses[True] else {}
    subset |= {"notReadyAddresses": addresses[False]} if addresses[False] else {}
    return subset


def _named_port(pod: Json, name: str, protocol: str) -> int | None:
    every = [*pod["spec"]["containers"], *(c for c in pod["spec"].get("initContainers") or () if c.get("restartPolicy") == "Always")]
    for container in every:
        for port in container.get("ports") or ():
            if port.get("name") == name and port.get("protocol", "TCP") == protocol:
                return int(port["containerPort"])
    return None
