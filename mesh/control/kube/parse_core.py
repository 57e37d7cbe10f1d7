"""Parsers of Kubernetes' own kinds."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any

from mesh.control.kube.fields import FieldError, Fields, Reader
from mesh.control.kube.objects import (
    ConfigMap,
    CustomResource,
    EndpointSlice,
    KubeNode,
    KubeSecret,
    Meta,
    Namespace,
    Pod,
    PortProtocol,
    Service,
    ServicePort,
    SliceEndpoint,
)
from mesh.model.endpoint import Locality

# Istio 1.8 "declare by port name": `<protocol>[-suffix]`; mysql and redis are opaque to us (features 1.4).
_NAMED = {
    "http": PortProtocol.HTTP,
    "http2": PortProtocol.HTTP2,
    "grpc": PortProtocol.HTTP2,
    "grpc-web": PortProtocol.HTTP,
    "https": PortProtocol.TLS,
    "tls": PortProtocol.TLS,
    "tcp": PortProtocol.TCP,
    "mongo": PortProtocol.TCP,
    "mysql": PortProtocol.TCP,
    "redis": PortProtocol.TCP,
    "udp": PortProtocol.UDP,
}
_APP_PROTOCOLS = {
    **_NAMED,
    "kubernetes.io/h2c": PortProtocol.HTTP2,
    "kubernetes.io/ws": PortProtocol.HTTP,
    "kubernetes.io/wss": PortProtocol.TLS,
}
# pkg/config/kube/conversion.go: ports whose protocols speak server-first; sniffing them would hang a real Envoy.
_WELL_KNOWN_TCP = frozenset({25, 53, 3306, 27017})
_MESHED_CONTAINERS = frozenset({"triomesh-proxy", "istio-proxy"})
_REPLICA_SET_HASH = re.compile(r"-[bcdfghjklmnpqrstvwxz2456789]{1,10}$")


def meta(item: Mapping[str, Any], kind: str, group: str = "") -> Meta:
    """`metadata` of any object. Never fails: the API server has checked names and types."""
    data = item.get("metadata") or {}
    return Meta(
        kind=kind,
        group=group,
        namespace=data.get("namespace") or "",
        name=data.get("name") or "",
        uid=data.get("uid") or "",
        generation=data.get("generation") or 0,
        created=data.get("creationTimestamp") or "",
        resource_version=data.get("resourceVersion") or "",
        labels=data.get("labels") or {},
        annotations=data.get("annotations") or {},
        is_deleting=bool(data.get("deletionTimestamp")),
    )


def protocol_of(name: str, app_protocol: str, number: int, transport: str = "TCP") -> PortProtocol:
    """appProtocol wins over the port's name; neither known = AUTO, except on server-first ports."""
    if transport != "TCP":
        return PortProtocol.UDP
    if app_protocol:
        declared = _APP_PROTOCOLS.get(app_protocol.lower())
        return declared or (PortProtocol.TCP if "/" in app_protocol else PortProtocol.AUTO)
    if number in _WELL_KNOWN_TCP and not name:
        return PortProtocol.TCP
    lowered = name.lower()
    if lowered == "grpc-web" or lowered.startswith("grpc-web-"):
        return PortProtocol.HTTP
    declared = _NAMED.get(lowered.split("-", 1)[0])
    if declared is None:
        return PortProtocol.TCP if number in _WELL_KNOWN_TCP else PortProtocol.AUTO
    return declared


def namespace(item: Mapping[str, Any]) -> Namespace:
    return Namespace(meta(item, "Namespace"))


def service(item: Mapping[str, Any]) -> Service:
    head = meta(item, "Service")
    reader = Reader(head.ref)
    spec = Fields(item.get("spec") or {}, "spec", reader)
    addresses = spec.texts("clusterIPs") or tuple(filter(None, (spec.text("clusterIP"),)))
    is_external = spec.text("type") == "ExternalName"
    is_headless = not is_external and "None" in addresses
    status = (item.get("status") or {}).get("loadBalancer") or {}
    ingress = tuple(entry.get("ip") or entry.get("hostname") or "" for entry in status.get("ingress") or ())
    return Service(
        meta=head,
        ports=reader.collect(spec.objects("ports"), _service_port),
        cluster_ips=() if is_headless or is_external else addresses,
        selector=spec.text_map("selector"),
        is_headless=is_headless,
        external_name=spec.text("externalName") if is_external else "",
        addresses=tuple(filter(None, ingress)) or spec.texts("externalIPs"),
        problems=tuple(reader.problems),
    )


def _service_port(port: Fields) -> ServicePort:
    number = port.port("port")
    if number is None:
        raise FieldError(port.at("port"), "is required", "Required")
    name = port.text("name")
    target = port.raw("targetPort")
    if not isinstance(target, int | str) or isinstance(target, bool) or target == 0:
        target = number
    protocol = protocol_of(name, port.text("appProtocol"), number, port.text("protocol", "TCP"))
    return ServicePort(number, name, protocol, int(target) if str(target).isdigit() else target)


def endpoint_slice(item: Mapping[str, Any]) -> EndpointSlice:
    """Only the TCP ports; an FQDN slice has no endpoints for us and says so."""
    head = meta(item, "EndpointSlice", "discovery.k8s.io")
    reader = Reader(head.ref)
    root = Fields(item, "", reader)
    endpoints: tuple[SliceEndpoint, ...] = ()
    if root.text("addressType") == "FQDN":
        reader.warn("addressType", "FQDN slices are not supported; its endpoints are left out")
    else:
        endpoints = reader.collect(root.objects("endpoints"), _slice_endpoint)
    ports = tuple(
        (port.get("name") or "", port["port"])
        for port in item.get("ports") or ()
        if port.get("port") and (port.get("protocol") or "TCP") == "TCP"
    )
    service_name = head.labels.get("kubernetes.io/service-name", "")
    return EndpointSlice(head, service_name, ports, endpoints, tuple(reader.problems))


def _slice_endpoint(endpoint: Fields) -> SliceEndpoint:
    conditions = endpoint.object("conditions")
    # discovery.k8s.io/v1: an unset `ready` means ready.
    is_ready = conditions is None or not conditions.has("ready") or conditions.boolean("ready")
    target = endpoint.object("targetRef")
    pod = ("", "")
    if target is not None and target.text("kind") == "Pod":
        pod = (target.text("name"), target.text("uid"))
    return SliceEndpoint(endpoint.texts("addresses"), is_ready, pod, endpoint.text("nodeName"), endpoint.text("zone"))


def pod(item: Mapping[str, Any]) -> Pod:
    head = meta(item, "Pod")
    spec = item.get("spec") or {}
    status = item.get("status") or {}
    containers = [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]
    ips = tuple(entry["ip"] for entry in status.get("podIPs") or () if entry.get("ip"))
    return Pod(
        meta=head,
        ips=ips or tuple(filter(None, (status.get("podIP"),))),
        node=spec.get("nodeName") or "",
        ports={
            port["name"]: port["containerPort"]
            for container in containers
            for port in container.get("ports") or ()
            if port.get("name") and port.get("containerPort")
        },
        workload=_workload(item.get("metadata") or {}, head),
        service_account=spec.get("serviceAccountName") or "default",
        is_meshed=any(container.get("name") in _MESHED_CONTAINERS for container in containers),
        is_over=status.get("phase") in ("Succeeded", "Failed"),
    )


def _workload(metadata: Mapping[str, Any], head: Meta) -> str:
    """The name users know: `reviews-v1`, not the ReplicaSet's or the pod's (Istio: GetDeployMetaFromPod)."""
    owner = next((entry for entry in metadata.get("ownerReferences") or () if entry.get("controller")), None)
    if owner is None:
        return head.name
    name = str(owner.get("name") or head.name)
    if owner.get("kind") == "ReplicaSet":
        template_hash = head.labels.get("pod-template-hash", "")
        if template_hash and name.endswith(f"-{template_hash}"):
            return name[: -len(template_hash) - 1]
        return _REPLICA_SET_HASH.sub("", name)
    return name


def node(item: Mapping[str, Any]) -> KubeNode:
    head = meta(item, "Node")
    labels = head.labels
    return KubeNode(
        head,
        Locality(
            labels.get("topology.kubernetes.io/region", ""),
            labels.get("topology.kubernetes.io/zone", ""),
            labels.get("topology.istio.io/subzone", ""),
        ),
    )


def config_map(item: Mapping[str, Any]) -> ConfigMap:
    return ConfigMap(meta(item, "ConfigMap"), item.get("data") or {})


_TLS_KEYS = frozenset(("tls.crt", "tls.key", "ca.crt", "cert", "key", "cacert"))


def secret(item: Mapping[str, Any]) -> KubeSecret:
    head = meta(item, "Secret")
    reader = Reader(head.ref)
    data: dict[str, bytes] = {}
    for key, value in (item.get("data") or {}).items():
        if key not in _TLS_KEYS:
            continue  # none of our business, and not to be kept in memory
        try:
            data[key] = base64.b64decode(value, validate=True)
        except (binascii.Error, TypeError, ValueError):
            reader.error(f"data[{key}]", "is not base64")
    return KubeSecret(head, item.get("type") or "", data, tuple(reader.problems))


def custom_resource(item: Mapping[str, Any]) -> CustomResource:
    spec = item.get("spec") or {}
    versions = tuple(entry["name"] for entry in spec.get("versions") or () if entry.get("served"))
    established = any(
        condition.get("type") == "Established" and condition.get("status") == "True"
        for condition in (item.get("status") or {}).get("conditions") or ()
    )
    names = spec.get("names") or {}
    return CustomResource(
        meta(item, "CustomResourceDefinition", "apiextensions.k8s.io"),
        spec.get("group") or "",
        names.get("plural") or "",
        versions if established else (),
    )
