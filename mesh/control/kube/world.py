"""World: everything the API server has said, as one immutable value; WorldStore: where watches put it.

A change that alters nothing a parser keeps (a status write, a heartbeat) is no change. Replacing a kind costs one
dict copy per build, not per event.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, TypeVar, cast

from mesh.control.kube import gateway_api, istio, kinds, objects
from mesh.control.kube.kinds import Kind
from mesh.control.kube.objects import Key, Parsed
from mesh.model.origin import ObjectRef, Problem

T = TypeVar("T")
_EMPTY: Mapping[Key, Any] = MappingProxyType({})
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class World:
    """Objects by kind and (namespace, name). Never mutated; iteration is in (namespace, name) order."""

    parts: Mapping[Kind, Mapping[Key, Any]] = field(default_factory=dict)
    broken: tuple[Problem, ...] = ()
    """Objects that their parser could not survive; they are in no part."""

    def of(self, kind: Kind) -> Mapping[Key, Any]:
        return self.parts.get(kind, _EMPTY)

    @property
    def namespaces(self) -> Mapping[Key, objects.Namespace]:
        return self.of(kinds.NAMESPACE)

    @property
    def services(self) -> Mapping[Key, objects.Service]:
        return self.of(kinds.SERVICE)

    @property
    def slices(self) -> Mapping[Key, objects.EndpointSlice]:
        return self.of(kinds.ENDPOINT_SLICE)

    @property
    def pods(self) -> Mapping[Key, objects.Pod]:
        return self.of(kinds.POD)

    @property
    def nodes(self) -> Mapping[Key, objects.KubeNode]:
        return self.of(kinds.NODE)

    @property
    def config_maps(self) -> Mapping[Key, objects.ConfigMap]:
        return self.of(kinds.CONFIG_MAP)

    @property
    def secrets(self) -> Mapping[Key, objects.KubeSecret]:
        return self.of(kinds.SECRET)

    @property
    def virtual_services(self) -> Mapping[Key, istio.VirtualService]:
        return self.of(kinds.VIRTUAL_SERVICE)

    @property
    def destination_rules(self) -> Mapping[Key, istio.DestinationRule]:
        return self.of(kinds.DESTINATION_RULE)

    @property
    def istio_gateways(self) -> Mapping[Key, istio.IstioGateway]:
        return self.of(kinds.ISTIO_GATEWAY)

    @property
    def service_entries(self) -> Mapping[Key, istio.ServiceEntry]:
        return self.of(kinds.SERVICE_ENTRY)

    @property
    def gateway_classes(self) -> Mapping[Key, gateway_api.GatewayClass]:
        return self.of(kinds.GATEWAY_CLASS)

    @property
    def gateways(self) -> Mapping[Key, gateway_api.Gateway]:
        return self.of(kinds.GATEWAY)

    @property
    def routes(self) -> tuple[gateway_api.HttpRoute, ...]:
        """HTTPRoutes and GRPCRoutes."""
        return (*self.of(kinds.HTTP_ROUTE).values(), *self.of(kinds.GRPC_ROUTE).values())

    @property
    def reference_grants(self) -> Mapping[Key, gateway_api.ReferenceGrant]:
        return self.of(kinds.REFERENCE_GRANT)

    def problems(self) -> tuple[Problem, ...]:
        """What the parsers found wrong, in a stable order."""
        return self.broken + tuple(
            problem for part in self.parts.values() for item in part.values() for problem in cast(Parsed, item).problems
        )


@dataclass(frozen=True, slots=True)
class Changes:
    """What differs from the world before. endpoints_only: nothing but slices, pods and nodes."""

    kinds: frozenset[str] = frozenset()
    has_deletion: bool = False

    def __bool__(self) -> bool:
        return bool(self.kinds)

    @property
    def endpoints_only(self) -> bool:
        return bool(self.kinds) and self.kinds <= _ENDPOINT_KINDS


_ENDPOINT_KINDS = frozenset(str(kind) for kind in kinds.KINDS if kind.touches_endpoints)


class WorldStore:
    """Parses and keeps objects. Concurrency: one thread; every method is synchronous."""

    def __init__(self) -> None:
        self._parts: dict[Kind, dict[Key, Any]] = {kind: {} for kind in kinds.KINDS}
        self._frozen: dict[Kind, Mapping[Key, Any]] = {}
        self._changed: set[Kind] = set()
        self._has_deletion = False
        self._status: dict[ObjectRef, Mapping[str, Any]] = {}
        self._versions: dict[ObjectRef, str] = {}
        self._broken: dict[ObjectRef, Problem] = {}

    def put(self, kind: Kind, item: Mapping[str, Any]) -> bool:
        """Adds or replaces one object as the API server sent it. Returns whether anything that matters changed."""
        parsed = self._parse(kind, item)
        if parsed is None:
            return True
        meta = parsed.meta
        self._remember_status(kind, item, parsed)
        old = self._parts[kind].get(meta.key)
        if old == parsed:
            return False
        self._parts[kind][meta.key] = parsed
        self._mark(kind)
        if meta.is_deleting:
            self._has_deletion = True
        return True

    def remove(self, kind: Kind, key: Key) -> bool:
        self._broken.pop(ObjectRef(kind.name, *key, kind.group), None)
        old = self._parts[kind].pop(key, None)
        if old is None:
            return False
        self._status.pop(old.meta.ref, None)
        self._versions.pop(old.meta.ref, None)
        self._mark(kind)
        self._has_deletion = True
        return True

    def replace(self, kind: Kind, items: Iterable[Mapping[str, Any]]) -> int:
        """What a full list says: objects that are not in it are gone. Returns how many differed."""
        seen, differing = set(), 0
        for item in items:
            metadata = item.get("metadata") or {}
            seen.add((metadata.get("namespace") or "", metadata.get("name") or ""))
            differing += self.put(kind, item)
        for key in [key for key in self._parts[kind] if key not in seen]:
            differing += self.remove(kind, key)
        return differing

    def take(self) -> tuple[World, Changes]:
        """The world now, and what changed since the last call."""
        changes = Changes(frozenset(str(kind) for kind in self._changed), self._has_deletion)
        for kind in self._changed:
            # Sorted, so that the result cannot depend on the order of arrival.
            self._frozen[kind] = MappingProxyType(dict(sorted(self._parts[kind].items())))
        self._changed = set()
        self._has_deletion = False
        parts = {kind: self._frozen[kind] for kind in kinds.KINDS if kind in self._frozen}
        return World(MappingProxyType(parts), tuple(self._broken[ref] for ref in sorted(self._broken))), changes

    def pending(self) -> Changes:
        """What `take` would report."""
        return Changes(frozenset(str(kind) for kind in self._changed), self._has_deletion)

    def status(self, ref: ObjectRef) -> tuple[str, Mapping[str, Any]]:
        """(resourceVersion, `status` as last seen) of a mesh object; ("", {}) when unknown."""
        return self._versions.get(ref, ""), self._status.get(ref, {})

    def count(self, kind: Kind) -> int:
        return len(self._parts[kind])

    def _mark(self, kind: Kind) -> None:
        # CRDs tell the watchers what is served; no configuration depends on them.
        if kind is not kinds.CRD:
            self._changed.add(kind)

    def _remember_status(self, kind: Kind, item: Mapping[str, Any], parsed: Parsed) -> None:
        # Kinds of CRDs are the mesh's own; nobody here writes the others' statuses.
        if kind.is_optional:
            self._status[parsed.meta.ref] = item.get("status") or {}
            self._versions[parsed.meta.ref] = parsed.meta.resource_version

    def _parse(self, kind: Kind, item: Mapping[str, Any]) -> Parsed | None:
        metadata = item.get("metadata") or {}
        ref = ObjectRef(kind.name, metadata.get("namespace") or "", metadata.get("name") or "", kind.group)
        try:
            parsed = kind.parse(item)
        except Exception as error:
            # The boundary: whatever a hostile object does to its parser, all other objects go on.
            _log.exception("cannot parse %s; it has no effect", ref)
            self._broken[ref] = Problem(ref, "", f"cannot be read: {error}", "Malformed")
            self._parts[kind].pop((ref.namespace, ref.name), None)
            self._changed.add(kind)
            return None
        self._broken.pop(ref, None)
        return parsed
