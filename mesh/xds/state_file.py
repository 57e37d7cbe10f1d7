"""State file: the accepted resources of a client as bytes, so that a restarted proxy carries on from disk.

Layout: a magic line with the format's number, the SHA-256 of the rest, the node's id, then one length-prefixed
`DeltaDiscoveryResponse` per resource type: names, versions and bodies as they came.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256

import envoy.service.discovery.v3.discovery_pb2 as discovery_pb
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError as ProtobufError

from mesh.xds.kind import BY_URL, Kind

_MAGIC = b"triomesh-xds-state 1\n"
_DIGEST = 32

Stored = tuple[str, str, bytes]
"""Name, version, body."""


class StateError(ValueError):
    """A state file cannot be used; start without it."""


def pack_state(node_id: str, resources: Mapping[Kind, list[Stored]]) -> bytes:
    chunks = [node_id.encode()]
    for kind, stored in resources.items():
        message = discovery_pb.DeltaDiscoveryResponse(type_url=kind.value)
        for name, version, body in stored:
            message.resources.add(name=name, version=version, resource=AnyMessage(type_url=kind.value, value=body))
        chunks.append(message.SerializeToString(deterministic=True))
    payload = b"".join(len(chunk).to_bytes(4, "big") + chunk for chunk in chunks)
    return _MAGIC + sha256(payload).digest() + payload


def unpack_state(node_id: str, data: bytes) -> dict[Kind, list[Stored]]:
    """Raises: StateError: damaged, of another format, or of another node."""
    if not data.startswith(_MAGIC):
        raise StateError("not a state file of this format")
    digest, payload = data[len(_MAGIC) :][:_DIGEST], data[len(_MAGIC) + _DIGEST :]
    if sha256(payload).digest() != digest:
        raise StateError("damaged: the checksum does not match")
    owner, *messages = _chunks(payload)
    if owner.decode() != node_id:
        raise StateError(f"written for node {owner.decode()!r}, not {node_id!r}")
    result: dict[Kind, list[Stored]] = {}
    for chunk in messages:
        try:
            message = discovery_pb.DeltaDiscoveryResponse.FromString(chunk)
        except ProtobufError as exc:
            raise StateError(f"damaged: {exc}") from exc
        kind = BY_URL.get(message.type_url)
        if kind is None:
            raise StateError(f"holds resources of unknown type {message.type_url}")
        result[kind] = [(item.name, item.version, item.resource.value) for item in message.resources]
    return result


def _chunks(payload: bytes) -> list[bytes]:
    chunks, at = [], 0
    while at < len(payload):
        end = at + 4 + int.from_bytes(payload[at : at + 4], "big")
        if end > len(payload):
            raise StateError("damaged: cut off")
        chunks.append(payload[at + 4 : end])
        at = end
    if not chunks:
        raise StateError("damaged: empty")
    return chunks
