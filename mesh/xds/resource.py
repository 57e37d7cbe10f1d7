"""Encoded resources: the bytes that travel, their version by content, and what they refer to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mesh.xds.error import EncodeError
from mesh.xds.kind import Kind

Ref = tuple[Kind, str]


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource. body: the deterministic serialization of the message of `kind`; version: hash of it.

    refs: resources that this one names. Clusters must be at the client before it (make before break); whatever it
    names must stay there as long as it does.
    """

    kind: Kind
    name: str
    version: str
    body: bytes = field(repr=False)
    refs: frozenset[Ref] = frozenset()


@dataclass(frozen=True, slots=True)
class Bundle:
    """A whole Snapshot, encoded. errors: what could not be encoded; it is absent from `resources` (of a route configuration: the bad routes)."""

    resources: Mapping[Kind, Mapping[str, Resource]]
    errors: tuple[tuple[Kind, EncodeError], ...] = ()

    def of(self, kind: Kind) -> Mapping[str, Resource]:
        return self.resources.get(kind, _NONE)


_NONE: Mapping[str, Resource] = {}
EMPTY_BUNDLE = Bundle({})
