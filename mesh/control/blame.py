"""Blame: which Kubernetes objects a refused xDS resource was made of, so that the refusal reaches their status."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mesh.control.kube import kinds
from mesh.control.kube.objects import Key, KubeSecret, Meta
from mesh.control.kube.world import World
from mesh.model.origin import ObjectRef, Origin
from mesh.model.snapshot import Snapshot

_SECRET = "kubernetes://"
"""How `translate.gateway` names the SDS resource of a Secret: with namespace and name."""
_KINDS = (
    kinds.VIRTUAL_SERVICE,
    kinds.DESTINATION_RULE,
    kinds.ISTIO_GATEWAY,
    kinds.SERVICE_ENTRY,
    kinds.GATEWAY,
    kinds.HTTP_ROUTE,
    kinds.GRPC_ROUTE,
)


def origins(snapshot: Snapshot, resource: str, message: str) -> frozenset[Origin]:
    """Where the resource's parts come from; when the message names some of their objects, only those."""
    found = frozenset(_all(snapshot, resource))
    named = frozenset(origin for origin in found if origin.name in message)
    return named or found


def metas(world: World, origin: Origin) -> Iterator[Meta]:
    """The mesh objects that an origin means (a Gateway may be Istio's or Gateway API's)."""
    for kind in _KINDS:
        if kind.name == origin.kind:
            item = world.of(kind).get((origin.namespace, origin.name))
            if item is not None:
                yield item.meta


def _all(snapshot: Snapshot, resource: str) -> Iterator[Origin]:
    listener = snapshot.listeners.get(resource)
    if listener is not None:
        for chain in (*listener.chains, *filter(None, (listener.default_chain,))):
            if chain.origin is not None:
                yield chain.origin
    for server in snapshot.listeners.values():
        for chain in server.chains:
            if chain.tls is not None and chain.origin is not None and resource in chain.tls.certificate_names:
                yield chain.origin
    routes = snapshot.routes.get(resource)
    for host in routes.virtual_hosts if routes is not None else ():
        yield from (route.origin for route in host.routes if route.origin is not None)
    cluster = snapshot.clusters.get(resource)
    if cluster is not None and cluster.origin is not None:
        yield cluster.origin


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a proxy said about an object of this generation, because of this secret if one was refused."""

    generation: int
    text: str
    secret: tuple[Key, KubeSecret | None] | None = None


class Refusals:
    """The latest refusal of each object; a newer generation of the object clears it."""

    def __init__(self) -> None:
        self._by_object: dict[ObjectRef, Refusal] = {}
        self._by_resource: dict[tuple[str, str, str], str] = {}

    def note(self, world: World, snapshot: Snapshot, node: str, kind: str, resource: str, message: str) -> None:
        self._by_resource[node, kind, resource] = message
        secret = None
        if resource.startswith(_SECRET):
            namespace, _, name = resource.removeprefix(_SECRET).partition("/")
            secret = (namespace, name), world.secrets.get((namespace, name))
        for origin in origins(snapshot, resource, message):
            for meta in metas(world, origin):
                self._by_object[meta.ref] = Refusal(meta.generation, f"{node}: {resource}: {message}", secret)

    def of_objects(self, world: World) -> dict[ObjectRef, str]:
        """By object, for the generation, and the content of the secret, that are in force."""
        current = {item.meta.ref: item.meta.generation for kind in _KINDS for item in world.of(kind).values()}
        self._by_object = {
            ref: refusal
            for ref, refusal in self._by_object.items()
            if current.get(ref) == refusal.generation
            and (refusal.secret is None or world.secrets.get(refusal.secret[0]) == refusal.secret[1])
        }
        return {ref: refusal.text for ref, refusal in self._by_object.items()}

    def view(self) -> list[dict[str, str]]:
        """For /debug/nacks."""
        return [
            {"node": node, "type": kind, "resource": resource, "message": message}
            for (node, kind, resource), message in self._by_resource.items()
        ]
