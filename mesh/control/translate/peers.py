"""Peers: who answers at a service's ports, as far as a client must know it before it encrypts.

Identities are those of every pod in the service's slices, ready or not: a pod that becomes ready changes endpoints,
not clusters.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from mesh.control.kube.objects import EndpointSlice, Pod
from mesh.control.kube.parse_peer_authentication import PeerMode
from mesh.control.kube.world import World
from mesh.control.translate.authentication import Authentication, Demand
from mesh.control.translate.registry import MeshPort, MeshService, Registry, selects
from mesh.model.spiffe import SpiffeId

TLS_MODE_LABEL = "security.istio.io/tlsMode"
MESH_TLS = "istio"

Key = tuple[str, int]
"""(host, service port)."""


@dataclass(frozen=True, slots=True)
class Peers:
    """accounts: SPIFFE ids behind the service, sorted. offers_tls: everybody there takes mesh TLS, and somebody is there.

    refuses_plaintext: somebody there takes nothing but mesh TLS.
    """

    accounts: tuple[str, ...] = ()
    offers_tls: bool = False
    refuses_plaintext: bool = False


NOBODY = Peers()


def tls_mode(labels: Mapping[str, str], demand: Demand, port: int) -> str:
    """An endpoint's tls_mode: mesh TLS where its proxy has an identity, and policy does not switch it off."""
    is_offered = labels.get(TLS_MODE_LABEL) == MESH_TLS and demand.at(port) is not PeerMode.DISABLE
    return MESH_TLS if is_offered else ""


def peers(
    world: World,
    registry: Registry,
    demands: Authentication,
    trust_domain: str,
    slices: Mapping[tuple[str, str], list[EndpointSlice]],
) -> dict[Key, Peers]:
    """Of every service port that somebody is behind."""
    found: dict[Key, Peers] = {}
    for service in registry.services.values():
        members = list(_members(service, slices, world))
        accounts = {str(SpiffeId(trust_domain, m.namespace, m.account)) for m in members if m.account}
        if not service.is_kubernetes:
            accounts.update(service.subject_alt_names)
        if not members and not accounts:
            continue
        demanded = [demands.of(member.namespace, member.labels) for member in members]
        for port in service.ports:
            found[service.host, port.number] = _of_port(port, members, demanded, tuple(sorted(accounts)))
    return found


@dataclass(frozen=True, slots=True)
class _Member:
    """One endpoint of a service. ports: by name, of its slice; None = as the service's ports say."""

    namespace: str
    labels: Mapping[str, str]
    account: str
    is_meshed: bool
    ports: Mapping[str, int] | None = None

    def port(self, port: MeshPort) -> int | None:
        if self.ports is not None:
            return self.ports.get(port.name)
        return port.target if isinstance(port.target, int) else port.number


def _of_port(port: MeshPort, members: list[_Member], demanded: list[Demand], accounts: tuple[str, ...]) -> Peers:
    offers, refuses = False, False
    is_first = True
    for member, demand in zip(members, demanded, strict=True):
        number = member.port(port)
        if number is None:
            continue
        offers = (is_first or offers) and bool(tls_mode(member.labels, demand, number))
        refuses |= member.is_meshed and demand.at(number) is PeerMode.STRICT
        is_first = False
    return Peers(accounts, offers, refuses)


def _members(
    service: MeshService, slices: Mapping[tuple[str, str], list[EndpointSlice]], world: World
) -> Iterator[_Member]:
    if not service.is_kubernetes:
        for endpoint in service.endpoints:
            is_meshed = endpoint.labels.get(TLS_MODE_LABEL) == MESH_TLS
            account = endpoint.service_account
            yield _Member(
                service.namespace,
                endpoint.labels,
                account,
                is_meshed,
                {p.name: endpoint.ports.get(p.name, _target(p)) for p in service.ports},
            )
        if service.selector:
            yield from (_of_pod(pod) for pod in world.pods.values() if _is_selected(pod, service))
        return
    for item in slices.get((service.namespace, service.name), ()):
        ports = dict(item.ports)
        for entry in item.endpoints:
            pod = world.pods.get((item.meta.namespace, entry.pod[0])) if entry.pod[0] else None
            if pod is None:
                yield _Member(service.namespace, {}, "", False, ports)
            elif not pod.is_over and entry.pod[1] in ("", pod.meta.uid):
                yield _of_pod(pod, ports)


def _target(port: MeshPort) -> int:
    return port.target if isinstance(port.target, int) else port.number


def _is_selected(pod: Pod, service: MeshService) -> bool:
    return pod.meta.namespace == service.namespace and not pod.is_over and selects(service.selector, pod.meta.labels)


def _of_pod(pod: Pod, ports: Mapping[str, int] | None = None) -> _Member:
    return _Member(pod.meta.namespace, pod.meta.labels, pod.service_account, pod.is_meshed, ports)


def changed_hosts(before: Mapping[Key, Peers], after: Mapping[Key, Peers]) -> list[str]:
    """The hosts whose peers differ."""
    return sorted({key[0] for key in before.keys() | after.keys() if before.get(key) != after.get(key)})
