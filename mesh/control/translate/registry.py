"""Registry: every host that the mesh knows, from Services and ServiceEntries, in one form."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum

from mesh.control.kube import istio
from mesh.control.kube.objects import Meta, PortProtocol, Service, StaticEndpoint
from mesh.control.kube.parse_match import service_host
from mesh.control.kube.parse_virtual_service import exported
from mesh.control.kube.world import World
from mesh.model.addr import Cidr
from mesh.model.cluster import ServiceRef
from mesh.model.origin import Problem, Severity

EXPORT_ANNOTATION = "networking.istio.io/exportTo"


class Reach(Enum):
    """How the endpoints of a service are found, and so what its cluster is."""

    VIP = "vip"
    HEADLESS = "headless"
    STATIC = "static"
    DNS = "dns"
    ORIGINAL = "original"


@dataclass(frozen=True, slots=True)
class MeshPort:
    """target: port number or container port name."""

    number: int
    name: str
    protocol: PortProtocol
    target: int | str


@dataclass(frozen=True, slots=True)
class MeshService:
    """One host. vips: addresses that mean this service and no other; prefixes: networks (ServiceEntry only).

    dns_targets: for DNS, what is resolved. export_to: namespaces that see it; empty = all.
    """

    host: str
    name: str
    namespace: str
    ports: tuple[MeshPort, ...]
    reach: Reach
    meta: Meta
    vips: tuple[str, ...] = ()
    prefixes: tuple[Cidr, ...] = ()
    selector: Mapping[str, str] = field(default_factory=dict)
    endpoints: tuple[StaticEndpoint, ...] = ()
    export_to: frozenset[str] = frozenset()
    is_kubernetes: bool = True
    is_external: bool = False
    subject_alt_names: tuple[str, ...] = ()

    def port(self, number: int) -> MeshPort | None:
        return next((port for port in self.ports if port.number == number), None)

    def is_visible_to(self, namespace: str) -> bool:
        return not self.export_to or namespace in self.export_to

    @property
    def service_ref(self) -> ServiceRef:
        return ServiceRef(self.host, self.name, self.namespace)


@dataclass(frozen=True, slots=True)
class Registry:
    """services: by host, oldest object first where two claim one host. wildcards: hosts that start with `*`."""

    services: Mapping[str, MeshService] = field(default_factory=dict)
    selecting: Mapping[str, tuple[MeshService, ...]] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()

    def get(self, host: str) -> MeshService | None:
        """The service of a host, by name or by the longest wildcard that covers it."""
        found = self.services.get(host)
        if found is not None:
            return found
        return next((self.services[name] for name in wildcards_of(host) if name in self.services), None)

    def behind(self, namespace: str, labels: Mapping[str, str]) -> tuple[MeshService, ...]:
        """The services whose selector picks a pod with these labels."""
        return tuple(s for s in self.selecting.get(namespace, ()) if selects(s.selector, labels))


def wildcards_of(host: str) -> Iterable[str]:
    """`a.b.c` → `*.b.c`, `*.c`, `*`: longest first."""
    parts = host.removeprefix("*.").split(".")
    for index in range(1 if not host.startswith("*.") else 0, len(parts)):
        yield "*." + ".".join(parts[index:])
    yield "*"


def covers(pattern: str, host: str) -> bool:
    """Does the pattern (`*`, `*.x`, exact) cover every name that `host` stands for?"""
    if pattern in ("*", host):
        return True
    return pattern.startswith("*.") and host.removeprefix("*").endswith(pattern[1:])


def selects(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    return all(labels.get(key) == value for key, value in selector.items())


def registry(world: World) -> Registry:
    """Deterministic: a Service beats a ServiceEntry, an older object a younger one; the loser gets a Problem."""
    found: dict[str, MeshService] = {}
    problems: list[Problem] = []
    candidates = [of_service(service) for service in world.services.values()]
    entries = sorted(world.service_entries.values(), key=lambda entry: entry.meta.age_order)
    candidates += [service for entry in entries for service in of_entry(entry)]
    for service in candidates:
        if service is None:
            continue
        winner = found.setdefault(service.host, service)
        if winner is not service:
            message = f"{service.host} already belongs to {winner.meta.ref}; this one has no effect"
            problems.append(Problem(service.meta.ref, "spec.hosts", message, "DuplicateHost"))
        elif service.reach is Reach.VIP and any(p.protocol is PortProtocol.AUTO for p in service.ports):
            names = ", ".join(str(p.number) for p in service.ports if p.protocol is PortProtocol.AUTO)
            problems.append(
                Problem(
                    service.meta.ref,
                    "spec.ports",
                    f"port {names} declares no protocol (appProtocol, or a name such as http-…): it is detected",
                    "PortNameIsNotUnderNamingConvention",
                    Severity.WARNING,
                )
            )
    selecting: dict[str, list[MeshService]] = {}
    for service in found.values():
        if service.selector:
            selecting.setdefault(service.namespace, []).append(service)
    return Registry(found, {ns: tuple(items) for ns, items in selecting.items()}, tuple(problems))


def of_service(service: Service) -> MeshService:
    meta = service.meta
    reach = Reach.DNS if service.external_name else Reach.HEADLESS if service.is_headless else Reach.VIP
    ports = tuple(
        MeshPort(port.number, port.name, port.protocol, port.target)
        for port in service.ports
        if port.protocol is not PortProtocol.UDP
    )
    names = tuple(filter(None, re.split(r"\s*,\s*", meta.annotations.get(EXPORT_ANNOTATION, ""))))
    return MeshService(
        host=service_host(meta.name, meta.namespace),
        name=meta.name,
        namespace=meta.namespace,
        ports=ports,
        reach=reach,
        meta=meta,
        vips=service.cluster_ips,
        selector=service.selector,
        endpoints=(StaticEndpoint(service.external_name),) if service.external_name else (),
        export_to=exported(names, meta.namespace),
    )


_REACH = {
    istio.Resolution.NONE: Reach.ORIGINAL,
    istio.Resolution.STATIC: Reach.STATIC,
    istio.Resolution.DNS: Reach.DNS,
    istio.Resolution.DNS_ROUND_ROBIN: Reach.DNS,
}


def of_entry(entry: istio.ServiceEntry) -> Iterable[MeshService]:
    full = tuple(a for a in entry.addresses if a.prefix_length == (128 if ":" in a.host else 32))
    for host in entry.hosts:
        endpoints = entry.endpoints
        if not endpoints and _REACH[entry.resolution] is Reach.DNS:
            endpoints = (StaticEndpoint(host),)
        yield MeshService(
            host=host,
            name=host,
            namespace=entry.meta.namespace,
            ports=tuple(MeshPort(p.number, p.name, p.protocol, p.target) for p in entry.ports),
            reach=_REACH[entry.resolution],
            meta=entry.meta,
            vips=tuple(address.host for address in full),
            prefixes=tuple(address for address in entry.addresses if address not in full),
            selector=entry.selector,
            endpoints=endpoints,
            export_to=entry.export_to,
            is_kubernetes=False,
            is_external=entry.is_external,
            subject_alt_names=entry.subject_alt_names,
        )
