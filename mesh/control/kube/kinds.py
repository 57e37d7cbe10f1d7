"""The table of kinds that the control plane watches: where the API server serves them and who parses them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mesh.control.kube import gateway_api, istio, parse_core
from mesh.control.kube.objects import Parsed
from mesh.control.kube.parse_destination_rule import destination_rule
from mesh.control.kube.parse_gateway import gateway, gateway_class, reference_grant
from mesh.control.kube.parse_http_route import grpc_route, http_route
from mesh.control.kube.parse_inert import inert
from mesh.control.kube.parse_istio_gateway import istio_gateway
from mesh.control.kube.parse_peer_authentication import peer_authentication
from mesh.control.kube.parse_service_entry import service_entry
from mesh.control.kube.parse_sidecar import sidecar
from mesh.control.kube.parse_virtual_service import virtual_service
from mesh.model.inert import INERT_KINDS, SECURITY


@dataclass(frozen=True, slots=True)
class Kind:
    """One watched kind. versions: best first; a CRD may serve only some of them.

    is_optional: its CRD may be absent, and may come later. touches_endpoints: its changes move endpoints only.
    """

    name: str
    group: str
    versions: tuple[str, ...]
    plural: str
    parse: Callable[[Mapping[str, Any]], Parsed]
    is_namespaced: bool = True
    is_optional: bool = False
    touches_endpoints: bool = False

    def path(self, version: str, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """The REST path of the collection, of a namespace's part of it, or of one object."""
        root = f"/apis/{self.group}/{version}" if self.group else f"/api/{version}"
        scope = f"/namespaces/{namespace}" if self.is_namespaced and namespace else ""
        tail = f"/{name}" if name else ""
        return f"{root}{scope}/{self.plural}{tail}{f'/{subresource}' if subresource else ''}"

    def __str__(self) -> str:
        return f"{self.plural}.{self.group}" if self.group else self.plural


NAMESPACE = Kind("Namespace", "", ("v1",), "namespaces", parse_core.namespace, is_namespaced=False)
SERVICE = Kind("Service", "", ("v1",), "services", parse_core.service)
ENDPOINT_SLICE = Kind(
    "EndpointSlice", "discovery.k8s.io", ("v1",), "endpointslices", parse_core.endpoint_slice, touches_endpoints=True
)
POD = Kind("Pod", "", ("v1",), "pods", parse_core.pod, touches_endpoints=True)
NODE = Kind("Node", "", ("v1",), "nodes", parse_core.node, is_namespaced=False, touches_endpoints=True)
CONFIG_MAP = Kind("ConfigMap", "", ("v1",), "configmaps", parse_core.config_map)
SECRET = Kind("Secret", "", ("v1",), "secrets", parse_core.secret)
CRD = Kind(
    "CustomResourceDefinition",
    "apiextensions.k8s.io",
    ("v1",),
    "customresourcedefinitions",
    parse_core.custom_resource,
    is_namespaced=False,
)
_ISTIO = ("v1", "v1beta1", "v1alpha3")
VIRTUAL_SERVICE = Kind("VirtualService", istio.GROUP, _ISTIO, "virtualservices", virtual_service, is_optional=True)
DESTINATION_RULE = Kind("DestinationRule", istio.GROUP, _ISTIO, "destinationrules", destination_rule, is_optional=True)
ISTIO_GATEWAY = Kind("Gateway", istio.GROUP, _ISTIO, "gateways", istio_gateway, is_optional=True)
SERVICE_ENTRY = Kind("ServiceEntry", istio.GROUP, _ISTIO, "serviceentries", service_entry, is_optional=True)
SIDECAR = Kind("Sidecar", istio.GROUP, _ISTIO, "sidecars", sidecar, is_optional=True)
PEER_AUTHENTICATION = Kind(
    "PeerAuthentication", SECURITY, ("v1", "v1beta1"), "peerauthentications", peer_authentication, is_optional=True
)
_GATEWAY_API = ("v1", "v1beta1")
GATEWAY_CLASS = Kind(
    "GatewayClass",
    gateway_api.GROUP,
    _GATEWAY_API,
    "gatewayclasses",
    gateway_class,
    is_namespaced=False,
    is_optional=True,
)
GATEWAY = Kind("Gateway", gateway_api.GROUP, _GATEWAY_API, "gateways", gateway, is_optional=True)
HTTP_ROUTE = Kind("HTTPRoute", gateway_api.GROUP, _GATEWAY_API, "httproutes", http_route, is_optional=True)
GRPC_ROUTE = Kind("GRPCRoute", gateway_api.GROUP, ("v1",), "grpcroutes", grpc_route, is_optional=True)
REFERENCE_GRANT = Kind(
    "ReferenceGrant", gateway_api.GROUP, ("v1", "v1beta1"), "referencegrants", reference_grant, is_optional=True
)
# Watched to say that they have no effect.
UNENFORCED: tuple[Kind, ...] = tuple(
    Kind(i.kind, i.group, i.versions, i.plural, inert(i.group, i.kind, i.is_security), is_optional=True)
    for i in INERT_KINDS
)

KINDS: tuple[Kind, ...] = (
    NAMESPACE,
    SERVICE,
    ENDPOINT_SLICE,
    POD,
    NODE,
    CONFIG_MAP,
    SECRET,
    CRD,
    VIRTUAL_SERVICE,
    DESTINATION_RULE,
    ISTIO_GATEWAY,
    SERVICE_ENTRY,
    SIDECAR,
    PEER_AUTHENTICATION,
    GATEWAY_CLASS,
    GATEWAY,
    HTTP_ROUTE,
    GRPC_ROUTE,
    REFERENCE_GRANT,
    *UNENFORCED,
)


def kind_of(item: Mapping[str, Any]) -> Kind | None:
    """The kind of a manifest by its apiVersion and kind; None when the mesh does not read it."""
    group, _, _version = str(item.get("apiVersion") or "").rpartition("/")
    name = item.get("kind")
    return next((kind for kind in KINDS if kind.name == name and kind.group == group), None)
