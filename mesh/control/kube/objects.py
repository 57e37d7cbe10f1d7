"""The kinds of Kubernetes proper that the mesh reads, parsed and frozen: only what somebody uses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from mesh.model.addr import Address
from mesh.model.endpoint import Locality
from mesh.model.origin import ObjectRef, Origin, Problem

NOWHERE = Locality()
Key = tuple[str, str]
"""(namespace, name); namespace "" for cluster-scoped kinds."""


@dataclass(frozen=True, slots=True)
class Meta:
    """`metadata`. created: RFC 3339 as sent, which sorts as time does ("" sorts first)."""

    kind: str
    namespace: str
    name: str
    group: str = ""
    uid: str = ""
    generation: int = 0
    created: str = ""
    resource_version: str = field(default="", compare=False)
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    is_deleting: bool = False

    @property
    def key(self) -> Key:
        return (self.namespace, self.name)

    @property
    def ref(self) -> ObjectRef:
        return ObjectRef(self.kind, self.namespace, self.name, self.group)

    @property
    def age_order(self) -> tuple[str, str, str]:
        """Oldest first, then by namespace and name: who wins when two objects want the same thing."""
        return (self.created, self.namespace, self.name)

    def origin(self, rule: str = "") -> Origin:
        return Origin(self.kind, self.namespace, self.name, rule)


class Parsed(Protocol):
    """What every parsed object has. problems: what its parser found wrong with it."""

    @property
    def meta(self) -> Meta: ...

    @property
    def problems(self) -> tuple[Problem, ...]: ...


class PortProtocol(Enum):
    """What a port is declared to speak. AUTO: nothing declared, so sniff."""

    HTTP = "http"
    HTTP2 = "http2"
    TLS = "tls"
    TCP = "tcp"
    UDP = "udp"
    AUTO = "auto"

    @property
    def is_http(self) -> bool:
        return self in (PortProtocol.HTTP, PortProtocol.HTTP2)


@dataclass(frozen=True, slots=True)
class Namespace:
    meta: Meta
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class ServicePort:
    """target: a port number or the name of a container's port."""

    number: int
    name: str
    protocol: PortProtocol
    target: int | str


@dataclass(frozen=True, slots=True)
class Service:
    """cluster_ips: () for headless and ExternalName services. addresses: where the world reaches it (status)."""

    meta: Meta
    ports: tuple[ServicePort, ...]
    cluster_ips: tuple[str, ...] = ()
    selector: Mapping[str, str] = field(default_factory=dict)
    is_headless: bool = False
    external_name: str = ""
    addresses: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class SliceEndpoint:
    """pod: (name, uid) of the Pod behind it; ("", "") when there is none."""

    addresses: tuple[str, ...]
    is_ready: bool
    pod: tuple[str, str] = ("", "")
    node: str = ""
    zone: str = ""


@dataclass(frozen=True, slots=True)
class EndpointSlice:
    """ports: (service port name, number or None, protocol is TCP)."""

    meta: Meta
    service: str
    ports: tuple[tuple[str, int], ...]
    endpoints: tuple[SliceEndpoint, ...]
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class Pod:
    """ports: the containers' named ports. workload: name of the Deployment (or other top owner) it belongs to.

    is_over: phase Succeeded or Failed: its address may already be another pod's.
    """

    meta: Meta
    ips: tuple[str, ...] = ()
    node: str = ""
    ports: Mapping[str, int] = field(default_factory=dict)
    workload: str = ""
    service_account: str = ""
    is_meshed: bool = False
    is_over: bool = False
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class KubeNode:
    meta: Meta
    locality: Locality = NOWHERE
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class ConfigMap:
    meta: Meta
    data: Mapping[str, str] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class KubeSecret:
    """A Secret; data is decoded and never shown."""

    meta: Meta
    type: str = ""
    data: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class CustomResource:
    """A CustomResourceDefinition: which kind and versions the API server serves."""

    meta: Meta
    group: str = ""
    plural: str = ""
    versions: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class StaticEndpoint:
    """An endpoint written in an object (ServiceEntry). ports: service port name → number. service_account: "" = none."""

    host: str
    ports: Mapping[str, int] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    weight: int = 1
    locality: Locality = NOWHERE
    service_account: str = ""

    def address(self, port_name: str, target: int) -> Address:
        return Address(self.host, self.ports.get(port_name, target))
