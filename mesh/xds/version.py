"""Versions by content: equal content has equal versions, whoever encoded it and whenever."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import blake2b

from mesh.xds.resource import Resource

_BYTES = 8
"""64 bits: a clash within one resource's history is what would hurt, not one between resources."""


def version_of(body: bytes) -> str:
    """Version of one resource: hash of its deterministic serialization, 16 hex digits."""
    return blake2b(body, digest_size=_BYTES).hexdigest()


def version_of_set(resources: Iterable[Resource] | Mapping[str, str]) -> str:
    """Version of everything of one type (SotW `version_info`, delta `system_version_info`); order does not matter."""
    if isinstance(resources, Mapping):
        pairs = sorted(resources.items())
    else:
        pairs = sorted((resource.name, resource.version) for resource in resources)
    digest = blake2b(digest_size=_BYTES)
    for name, version in pairs:
        digest.update(name.encode() + b"\0" + version.encode() + b"\0")
    return digest.hexdigest()
