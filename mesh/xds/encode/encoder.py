"""Encoder: snapshots to bundles, remembering what was encoded before."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from mesh.model.cluster import Cluster, Discovery
from mesh.model.endpoint import LoadAssignment
from mesh.model.listener import Listener
from mesh.model.route import RouteConfig
from mesh.model.secret import Secret
from mesh.model.snapshot import Snapshot
from mesh.xds.error import EncodeError
from mesh.xds.kind import Kind
from mesh.xds.references import Model, assignment_name, references
from mesh.xds.resource import Bundle, Resource
from mesh.xds.version import version_of


def encode_message(value: Model) -> Any:
    """The protobuf message of one value. Raises: EncodeError."""
    # Imported when needed: whoever never encodes listeners does not pay for thirty protobuf modules.
    match value:
        case Cluster():
            from mesh.xds.encode.cluster import encode_cluster

            return encode_cluster(value)
        case LoadAssignment():
            from mesh.xds.encode.endpoint import encode_assignment

            return encode_assignment(value)
        case Listener():
            from mesh.xds.encode.listener import encode_listener

            return encode_listener(value)
        case RouteConfig():
            from mesh.xds.encode.route import encode_route_config

            return encode_route_config(value)
        case Secret():
            from mesh.xds.encode.tls import encode_secret

            return encode_secret(value)


def encode_resource(kind: Kind, name: str, value: Model) -> Resource:
    """One value, serialized deterministically. Raises: EncodeError: also when it calls itself other than `name`."""
    own_name = value.cluster_name if isinstance(value, LoadAssignment) else value.name
    if own_name != name:
        raise EncodeError(name, "name", f"the {kind.label} resource under this name calls itself {own_name!r}")
    try:
        body = encode_message(value).SerializeToString(deterministic=True)
    except (TypeError, ValueError) as exc:
        if isinstance(exc, EncodeError):
            raise
        # protobuf's own refusal: a string that is not UTF-8, a number out of range.
        raise EncodeError(name, "", str(exc)) from exc
    return Resource(kind, name, version_of(body), body, references(value))


@dataclass(frozen=True, slots=True)
class _Result:
    """resource: None when nothing of the value can be sent."""

    resource: Resource | None
    errors: tuple[EncodeError, ...] = ()


class Encoder:
    """Encodes snapshots and remembers what it encoded, so that N sidecars do not cost N encodings.

    A value is found again by identity (cheap; a control plane that shares unchanged values pays nothing more), then by
    content. Concurrency: one caller at a time.
    """

    def __init__(self, max_entries: int = 60_000) -> None:
        self._max_entries = max_entries
        self.encoded = 0
        """How often something really was encoded, for metrics and tests."""
        # The value is kept beside its result: an id is only a key as long as its object lives.
        self._by_identity: OrderedDict[int, tuple[Model, _Result]] = OrderedDict()
        self._by_content: OrderedDict[Model, _Result] = OrderedDict()

    def bundle(self, snapshot: Snapshot) -> Bundle:
        """Never raises for a bad resource: it is left out and listed in `Bundle.errors`; all others are there.

        Of a bad route configuration only its bad routes are (see salvage): it is everybody's who uses that port.

        An EDS cluster without assignment gets an empty one, so that no client waits for it until it times out.
        """
        errors: list[tuple[Kind, EncodeError]] = []
        resources: dict[Kind, Mapping[str, Resource]] = {}
        for kind, values in _by_kind(snapshot):
            encoded: dict[str, Resource] = {}
            for name, value in values.items():
                result = self._encode(kind, name, value)
                errors += ((kind, error) for error in result.errors)
                if result.resource is not None:
                    encoded[name] = result.resource
            resources[kind] = encoded
        return Bundle(resources, tuple(errors))

    def _encode(self, kind: Kind, name: str, value: Model) -> _Result:
        known = self._by_identity.get(id(value))
        if known is not None and (known[1].resource is None or known[1].resource.name == name):
            self._by_identity.move_to_end(id(value))
            return known[1]
        result = self._by_content.get(value)
        if result is None or (result.resource is not None and result.resource.name != name):
            self.encoded += 1
            result = _encode(kind, name, value)
            self._by_content[value] = result
            if len(self._by_content) > self._max_entries:
                self._by_content.popitem(last=False)
        else:
            self._by_content.move_to_end(value)
        self._by_identity[id(value)] = (value, result)
        if len(self._by_identity) > self._max_entries:
            self._by_identity.popitem(last=False)
        return result


def _encode(kind: Kind, name: str, value: Model) -> _Result:
    try:
        return _Result(encode_resource(kind, name, value))
    except EncodeError as error:
        if not isinstance(value, RouteConfig):
            return _Result(None, (error,))
    from mesh.xds.encode.salvage import salvage

    rest, errors = salvage(value)
    try:
        return _Result(encode_resource(kind, name, rest), errors)
    except EncodeError as error:
        return _Result(None, (*errors, error))


def _by_kind(snapshot: Snapshot) -> Iterator[tuple[Kind, Mapping[str, Model]]]:
    yield Kind.CLUSTER, snapshot.clusters
    yield Kind.ENDPOINT, {**_empty_assignments(snapshot), **snapshot.endpoints}
    yield Kind.LISTENER, snapshot.listeners
    yield Kind.ROUTE, snapshot.routes
    yield Kind.SECRET, snapshot.secrets


def _empty_assignments(snapshot: Snapshot) -> dict[str, Model]:
    missing: dict[str, Model] = {}
    for cluster in snapshot.clusters.values():
        if cluster.discovery is Discovery.EDS:
            name = assignment_name(cluster)
            if name not in snapshot.endpoints:
                missing[name] = _empty_assignment(name)
    return missing


@lru_cache(maxsize=16_384)
def _empty_assignment(name: str) -> LoadAssignment:
    """The same object each time, so that it is found by identity."""
    return LoadAssignment(name)
