"""Gateway API kinds, parsed and frozen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from mesh.control.kube.objects import Meta
from mesh.control.kube.rules import HttpRule
from mesh.model.origin import Problem

GROUP = "gateway.networking.k8s.io"


@dataclass(frozen=True, slots=True)
class GatewayClass:
    meta: Meta
    controller: str
    conditions: tuple[Mapping[str, object], ...] = ()
    problems: tuple[Problem, ...] = ()


class AllowedFrom(Enum):
    SAME = "Same"
    ALL = "All"
    SELECTOR = "Selector"
    NONE = "None"


@dataclass(frozen=True, slots=True)
class ListenerTls:
    """passthrough False = terminate with the certificates named by `ns/name`."""

    passthrough: bool = False
    certificates: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class GatewayListener:
    """kinds: allowedRoutes.kinds ((group, kind)); () = what the protocol allows."""

    path: str
    name: str
    port: int
    protocol: str
    hostname: str = ""
    tls: ListenerTls | None = None
    allowed_from: AllowedFrom = AllowedFrom.SAME
    namespace_labels: Mapping[str, str] = field(default_factory=dict)
    kinds: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Gateway:
    meta: Meta
    class_name: str
    listeners: tuple[GatewayListener, ...]
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class ParentRef:
    """Who a route hangs on. section "" and port None = all listeners or ports. raw: as written, echoed in status."""

    path: str
    group: str
    kind: str
    namespace: str
    name: str
    section: str = ""
    port: int | None = None
    raw: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HttpRoute:
    """An HTTPRoute or a GRPCRoute (its rules have become HTTP rules)."""

    meta: Meta
    parents: tuple[ParentRef, ...]
    hostnames: tuple[str, ...] = ()
    rules: tuple[HttpRule, ...] = ()
    is_grpc: bool = False
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class ReferenceGrant:
    """sources: (group, kind, namespace). targets: (group, kind, name or "" for any)."""

    meta: Meta
    sources: frozenset[tuple[str, str, str]]
    targets: frozenset[tuple[str, str, str]]
    problems: tuple[Problem, ...] = ()
