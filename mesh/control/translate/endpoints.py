"""Endpoints: who serves a host's port now, by subset, from EndpointSlices, Pods and Nodes.

A pod that is being deleted, has ended, or is no longer the one the slice speaks of is left out at once: waiting for
the slice to be updated is what makes rollouts drop requests.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mesh.control.kube.objects import EndpointSlice, Pod, StaticEndpoint
from mesh.control.kube.world import World
from mesh.control.translate.authentication import NO_AUTHENTICATION, Authentication
from mesh.control.translate.peers import MESH_TLS, tls_mode
from mesh.control.translate.policies import Policies
from mesh.control.translate.registry import MeshPort, MeshService, Reach, Registry, selects
from mesh.model.addr import Address
from mesh.model.endpoint import Endpoint, LoadAssignment, Locality, LocalityEndpoints, Workload
from mesh.model.origin import Problem, Severity

_EMPTY: Mapping[str, str] = {}


def cluster_name(port: int, subset: str, host: str) -> str:
    """Istio's name, which people search for."""
    return f"outbound|{port}|{subset}|{host}"


@dataclass(frozen=True, slots=True)
class Instance:
    """One endpoint and the labels that subsets select by."""

    endpoint: Endpoint
    labels: Mapping[str, str]
    locality: Locality


def slices_of(world: World) -> dict[tuple[str, str], list[EndpointSlice]]:
    """By (namespace, name) of their Service."""
    slices: dict[tuple[str, str], list[EndpointSlice]] = {}
    for item in world.slices.values():
        if item.service:
            slices.setdefault((item.meta.namespace, item.service), []).append(item)
    return slices


def assignments(
    world: World,
    registry: Registry,
    policies: Policies,
    demands: Authentication,
    slices: Mapping[tuple[str, str], list[EndpointSlice]],
    previous: Mapping[str, LoadAssignment],
) -> tuple[dict[str, LoadAssignment], tuple[Problem, ...]]:
    """(EDS resources by cluster name, problems). Unchanged assignments are the previous objects themselves."""
    found: dict[str, LoadAssignment] = {}
    problems: list[Problem] = []
    for service in registry.services.values():
        if service.reach in (Reach.DNS, Reach.ORIGINAL):
            continue
        subsets = policies.subsets(service.host)
        is_populated = {subset.name: False for _, subset in subsets}
        for port in service.ports:
            instances = tuple(_instances(service, port, slices, world, demands))
            _put(found, previous, cluster_name(port.number, "", service.host), instances)
            for _, subset in subsets:
                chosen = tuple(i for i in instances if selects(subset.labels, i.labels))
                is_populated[subset.name] |= bool(chosen)
                _put(found, previous, cluster_name(port.number, subset.name, service.host), chosen)
        for meta, subset in subsets:
            if not is_populated[subset.name] and service.ports:
                message = f"subset {subset.name} of {service.host} selects no pods"
                reason = "DestinationRuleSubsetNotSelectPods"
                problems.append(Problem(meta.ref, f"{subset.path}.labels", message, reason, Severity.WARNING))
    return found, tuple(problems)


def static_assignment(
    name: str,
    service: MeshService,
    port: MeshPort,
    labels: Mapping[str, str] = _EMPTY,
    demands: Authentication = NO_AUTHENTICATION,
) -> LoadAssignment:
    """The inline endpoints of a DNS cluster that carry the labels (of a subset)."""
    chosen = (endpoint for endpoint in service.endpoints if selects(labels, endpoint.labels))
    return _assignment(name, tuple(_static(endpoint, port, service, demands) for endpoint in chosen))


def _put(
    found: dict[str, LoadAssignment], previous: Mapping[str, LoadAssignment], name: str, instances: tuple[Instance, ...]
) -> None:
    fresh = _assignment(name, instances)
    old = previous.get(name)
    found[name] = old if old is not None and old == fresh else fresh


def _assignment(name: str, instances: tuple[Instance, ...]) -> LoadAssignment:
    if not instances:
        return LoadAssignment(name)
    by_locality: dict[Locality, dict[Address, Endpoint]] = {}
    for instance in instances:
        by_locality.setdefault(instance.locality, {}).setdefault(instance.endpoint.address, instance.endpoint)
    return LoadAssignment(
        name,
        tuple(
            LocalityEndpoints(tuple(by_locality[place][address] for address in sorted(by_locality[place])), place)
            for place in sorted(by_locality)
        ),
    )


def _instances(
    service: MeshService,
    port: MeshPort,
    slices: Mapping[tuple[str, str], list[EndpointSlice]],
    world: World,
    demands: Authentication,
) -> Iterable[Instance]:
    if not service.is_kubernetes:
        for static in service.endpoints:
            yield _static(static, port, service, demands)
        if service.selector:
            yield from _selected(service, port, world, demands)
        return
    for item in slices.get((service.namespace, service.name), ()):
        number = next((number for name, number in item.ports if name == port.name), None)
        if number is None:
            continue
        for entry in item.endpoints:
            if not entry.is_ready:
                continue
            pod = world.pods.get((item.meta.namespace, entry.pod[0])) if entry.pod[0] else None
            if pod is not None and not _is_serving(pod, entry.pod[1]):
                continue
            locality = _locality(world, entry.node, entry.zone)
            for address in entry.addresses:
                yield _of_pod(Address(address, number), pod, locality, demands)


def _selected(service: MeshService, port: MeshPort, world: World, demands: Authentication) -> Iterable[Instance]:
    """Pods picked by a ServiceEntry's workloadSelector."""
    for pod in world.pods.values():
        if pod.meta.namespace != service.namespace or not selects(service.selector, pod.meta.labels):
            continue
        if _is_serving(pod, "") and pod.ips and isinstance(port.target, int):
            yield _of_pod(Address(pod.ips[0], port.target), pod, _locality(world, pod.node, ""), demands)


def _is_serving(pod: Pod, uid: str) -> bool:
    # uid: a new pod of the same name (StatefulSet) is not the one the slice means.
    return not pod.meta.is_deleting and not pod.is_over and (not uid or not pod.meta.uid or uid == pod.meta.uid)


def _of_pod(address: Address, pod: Pod | None, locality: Locality, demands: Authentication) -> Instance:
    if pod is None:
        return Instance(Endpoint(address), _EMPTY, locality)
    labels = pod.meta.labels
    mode = tls_mode(labels, demands.of(pod.meta.namespace, labels), address.port)
    endpoint = Endpoint(address, workload=workload_of(pod), is_meshed=pod.is_meshed or mode == MESH_TLS, tls_mode=mode)
    return Instance(endpoint, labels, locality)


def workload_of(pod: Pod) -> Workload:
    """Istio's canonical service: the label, `app.kubernetes.io/name`, `app`, or the workload's name; revision likewise."""
    labels = pod.meta.labels
    canonical = (
        labels.get("service.istio.io/canonical-name")
        or labels.get("app.kubernetes.io/name")
        or labels.get("app")
        or pod.workload
    )
    revision = (
        labels.get("service.istio.io/canonical-revision")
        or labels.get("app.kubernetes.io/version")
        or labels.get("version")
        or "latest"
    )
    return Workload(pod.workload, pod.meta.namespace, canonical, revision)


def _locality(world: World, node: str, zone: str) -> Locality:
    known = world.nodes.get(("", node))
    if known is not None and known.locality != Locality():
        return known.locality
    return Locality(zone=zone)


def _static(endpoint: StaticEndpoint, port: MeshPort, service: MeshService, demands: Authentication) -> Instance:
    target = port.target if isinstance(port.target, int) else port.number
    is_name = any(char.isalpha() for char in endpoint.host) and ":" not in endpoint.host
    address = endpoint.address(port.name, target)
    mode = (
        ""
        if service.is_external
        else tls_mode(endpoint.labels, demands.of(service.namespace, endpoint.labels), address.port)
    )
    return Instance(
        Endpoint(
            address,
            weight=endpoint.weight,
            is_meshed=mode == MESH_TLS,
            tls_mode=mode,
            host_name=endpoint.host if is_name else "",
        ),
        endpoint.labels,
        endpoint.locality,
    )
