"""Virtual hosts of sidecars: the names under which a service is called."""

from __future__ import annotations

from collections.abc import Iterator

from mesh.control.kube.objects import PortProtocol
from mesh.control.kube.parse_match import CLUSTER_DOMAIN
from mesh.control.translate.registry import MeshService, Reach


def domains(service: MeshService, port: int, namespace: str) -> tuple[str, ...]:
    """Every Host that means this service on this port, for a client in `namespace`, each with and without port.

    FQDN (also with the trailing dot), `name.ns.svc`, `name.ns`, within the namespace `name`; the cluster IPs; for headless
    services the pods' own names below all of them.
    """
    found = []
    for name in _names(service, namespace):
        found.append(name)
        found.append(f"{name}:{port}")
    return tuple(dict.fromkeys(found))


def is_http_by_host(service: MeshService, protocol: PortProtocol) -> bool:
    """Is this port told from others of the same number by the Host header alone?"""
    return protocol.is_http or (protocol is PortProtocol.AUTO and not service.vips)


def _names(service: MeshService, namespace: str) -> Iterator[str]:
    yield service.host
    if service.is_kubernetes:
        relative = [f"{service.name}.{service.namespace}.svc", f"{service.name}.{service.namespace}"]
        if service.namespace == namespace:
            relative.append(service.name)
        yield f"{service.host}."
        yield from relative
        if service.reach is Reach.HEADLESS:
            yield f"*.{service.name}.{service.namespace}.svc.{CLUSTER_DOMAIN}"
            yield from (f"*.{name}" for name in relative)
    elif not service.host.startswith("*"):
        yield f"{service.host}."
    for vip in service.vips:
        yield f"[{vip}]" if ":" in vip else vip
