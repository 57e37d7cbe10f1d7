"""Peer: the workload at the other end, and the headers by which meshed proxies tell each other who they are.

`x-envoy-peer-metadata-id` is the node id; `x-envoy-peer-metadata` a base64 `google.protobuf.Struct` with Istio's keys.
They go to meshed endpoints only, and the server's proxy strips them. What a client claims is used for labels and nothing
else; parsed values are cached by the header's bytes, so that a keep-alive peer is decoded once.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from google.protobuf.message import DecodeError
from google.protobuf.struct_pb2 import Struct

from mesh.model.endpoint import Workload

VERSION = "TRIOMESH_VERSION"
"""Key of the metadata that only our own proxies have."""
METADATA = b"x-envoy-peer-metadata"
METADATA_ID = b"x-envoy-peer-metadata-id"
HEADERS = (METADATA, METADATA_ID)

_MAX_CACHED = 512
_MAX_HEADER_BYTES = 16 << 10
_MAX_LABEL_CHARS = 128


@dataclass(frozen=True, slots=True, eq=False)
class Peer:
    """Labels of one side of a call; "unknown" where nothing is known, as Istio prints it.

    Compared by identity: a peer is part of the key of every request's series, and its eight strings are not to be hashed.
    """

    workload: str = "unknown"
    namespace: str = "unknown"
    app: str = "unknown"
    version: str = "unknown"
    canonical_service: str = "unknown"
    canonical_revision: str = "latest"
    cluster: str = "unknown"
    principal: str = "unknown"
    is_ours: bool = False
    """It is a proxy of this product, and knows what such proxies tell each other."""


UNKNOWN = Peer()


def peer_of_workload(workload: Workload | None) -> Peer:
    """The destination's labels from its endpoint's metadata."""
    if workload is None:
        return UNKNOWN
    canonical = workload.canonical_name or workload.name
    return Peer(
        workload=workload.name or "unknown",
        namespace=workload.namespace or "unknown",
        app=canonical or "unknown",
        version=workload.canonical_revision or "latest",
        canonical_service=canonical or "unknown",
        canonical_revision=workload.canonical_revision or "latest",
        cluster=workload.cluster_id or "unknown",
    )


@lru_cache(maxsize=_MAX_CACHED)
def peer_of_principal(principal: str) -> Peer:
    """What a SPIFFE id alone says: the namespace. All there is of clients whose bytes nobody looks into."""
    parts = principal.split("/")
    return Peer(namespace=parts[4]) if len(parts) == 7 and parts[3] == "ns" else UNKNOWN


def peer_of_metadata(metadata: Mapping[str, Any]) -> Peer:
    """Labels from node metadata in Istio's keys (our own from TRIOMESH_METADATA, a peer's from its header)."""
    labels = metadata.get("LABELS")
    labels = labels if isinstance(labels, Mapping) else {}
    name = _text(metadata, "WORKLOAD_NAME") or _text(metadata, "NAME")
    app = _text(labels, "app") or _text(labels, "app.kubernetes.io/name")
    version = _text(labels, "version") or _text(labels, "app.kubernetes.io/version")
    canonical = _text(labels, "service.istio.io/canonical-name") or app or name
    revision = _text(labels, "service.istio.io/canonical-revision") or version or "latest"
    return Peer(
        workload=name or "unknown",
        namespace=_text(metadata, "NAMESPACE") or "unknown",
        app=app or canonical or "unknown",
        version=version or "unknown",
        canonical_service=canonical or "unknown",
        canonical_revision=revision,
        cluster=_text(metadata, "CLUSTER_ID") or "unknown",
        is_ours=VERSION in metadata,
    )


def _text(values: Mapping[str, Any], key: str) -> str:
    value = values.get(key, "")
    return value[:_MAX_LABEL_CHARS] if isinstance(value, str) else ""


def encode_headers(node_id: str, metadata: Mapping[str, Any]) -> bytes:
    """The two header lines a proxy adds to requests to meshed endpoints; constant for its life."""
    labels = metadata.get("LABELS")
    struct = Struct()
    struct.update({key: metadata[key] for key in _SENT if isinstance(metadata.get(key), str)})
    if isinstance(labels, Mapping):
        struct.update({"LABELS": {key: value for key, value in labels.items() if key in _SENT_LABELS}})
    value = base64.b64encode(struct.SerializeToString(deterministic=True))
    return b"%b: %b\r\n%b: %b\r\n" % (METADATA_ID, node_id.encode(), METADATA, value)


# What the other side needs for its labels; the rest of the metadata is nobody's business.
_SENT = ("NAME", "NAMESPACE", "WORKLOAD_NAME", "OWNER", "CLUSTER_ID", "MESH_ID", VERSION)
_SENT_LABELS = frozenset(
    (
        "app",
        "version",
        "app.kubernetes.io/name",
        "app.kubernetes.io/version",
        "service.istio.io/canonical-name",
        "service.istio.io/canonical-revision",
    )
)


class PeerCache:
    """Header value to Peer, bounded. `malformed` counts values that could not be read (their peer is unknown)."""

    __slots__ = ("_peers", "malformed")

    def __init__(self) -> None:
        self._peers: dict[bytes, Peer] = {}
        self.malformed = 0

    def peer(self, value: bytes | None) -> Peer:
        """Args: value: of `x-envoy-peer-metadata`, None when the client sent none."""
        if value is None:
            return UNKNOWN
        found = self._peers.get(value)
        if found is not None:
            return found
        peer = self._parse(value)
        if len(value) <= _MAX_HEADER_BYTES:
            if len(self._peers) >= _MAX_CACHED:
                self._peers.clear()
            self._peers[value] = peer
        return peer

    def _parse(self, value: bytes) -> Peer:
        if len(value) > _MAX_HEADER_BYTES:
            self.malformed += 1
            return UNKNOWN
        try:
            struct = Struct.FromString(base64.b64decode(value, validate=True))
        except (binascii.Error, ValueError, DecodeError):
            self.malformed += 1
            return UNKNOWN
        fields: dict[str, Any] = {
            key: field.string_value for key, field in struct.fields.items() if field.HasField("string_value")
        }
        if "LABELS" in struct.fields:
            fields["LABELS"] = {
                key: field.string_value for key, field in struct.fields["LABELS"].struct_value.fields.items()
            }
        return peer_of_metadata(fields)
