"""Responses: what was decided to be sent, as discovery messages of both variants."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import envoy.service.discovery.v3.discovery_pb2 as discovery_pb
from google.protobuf.any_pb2 import Any as AnyMessage

from mesh.xds.kind import Kind, Variant
from mesh.xds.resource import Resource
from mesh.xds.version import version_of_set

_MAX_RESPONSE_BYTES = 3 << 20
"""Delta responses are split here: gRPC clients accept messages of 4 MiB unless told otherwise."""

Contents = Mapping[str, Resource | None]
"""Resources by name; None = the client is told that there is no such."""


@dataclass(frozen=True, slots=True)
class Response:
    """A message to write. kind None: the answer to a type that we do not serve."""

    kind: Kind | None
    body: bytes
    resources: int
    removed: int = 0


def delta_response(kind: Kind, contents: Contents, nonce: str, system_version: str) -> Response:
    present = [resource for resource in contents.values() if resource is not None]
    removed = [name for name, resource in contents.items() if resource is None]
    message = discovery_pb.DeltaDiscoveryResponse(
        system_version_info=system_version,
        type_url=kind.value,
        nonce=nonce,
        removed_resources=removed,
        resources=[
            discovery_pb.Resource(
                name=resource.name,
                version=resource.version,
                resource=AnyMessage(type_url=kind.value, value=resource.body),
            )
            for resource in present
        ],
    )
    return Response(kind, message.SerializeToString(), len(present), len(removed))


def sotw_response(kind: Kind, contents: Contents, nonce: str) -> Response:
    """What is None is merely left out: in a full-state type that means "gone"."""
    present = [resource for resource in contents.values() if resource is not None]
    message = discovery_pb.DiscoveryResponse(
        version_info=version_of_set(present),
        type_url=kind.value,
        nonce=nonce,
        resources=[AnyMessage(type_url=kind.value, value=resource.body) for resource in present],
    )
    return Response(kind, message.SerializeToString(), len(present), len(contents) - len(present))


def nothing_response(variant: Variant, type_url: str, nonce: str, names: Collection[str]) -> Response:
    """Of a type that is not served: there is nothing, in particular none of `names`."""
    if variant is Variant.DELTA:
        message = discovery_pb.DeltaDiscoveryResponse(type_url=type_url, nonce=nonce, removed_resources=names)
    else:
        message = discovery_pb.DiscoveryResponse(type_url=type_url, nonce=nonce, version_info="0")
    return Response(None, message.SerializeToString(), 0, len(names))


def split(changed: Contents, alone: Collection[str]) -> Iterator[dict[str, Resource | None]]:
    """Parts of bounded size, and those in `alone` one by one; one (empty) part when there is nothing."""
    singles = [{name: changed[name]} for name in alone if name in changed]
    rest = {name: resource for name, resource in changed.items() if name not in alone} if singles else changed
    yield from singles
    part: dict[str, Resource | None] = {}
    size = 0
    for name, resource in rest.items():
        weight = len(name) + (len(resource.body) if resource is not None else 0)
        if part and size + weight > _MAX_RESPONSE_BYTES:
            yield part
            part, size = {}, 0
        part[name] = resource
        size += weight
    if part or not singles:
        yield part
