"""ResourceStatus: where each resource stands at a client, for CSDS."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from mesh.xds.kind import Kind
from mesh.xds.resource import Resource
from mesh.xds.subscription import Status, Subscription


@dataclass(frozen=True, slots=True)
class ResourceStatus:
    """One line of CSDS. version: of what was sent last. sent_at: on the caller's clock, 0 = not sent."""

    kind: Kind
    name: str
    version: str
    status: Status
    sent_at: float
    error: str = ""
    refused_version: str = ""
    refused_at: float = 0.0
    body: bytes = b""


def not_sent(kind: Kind, names: Iterable[str]) -> Iterator[ResourceStatus]:
    """Of a type that the client has not asked for."""
    return (ResourceStatus(kind, name, "", Status.NOT_SENT, 0.0) for name in names)


def resource_status(sub: Subscription, target: Mapping[str, Resource], with_bodies: bool) -> Iterator[ResourceStatus]:
    """What the client is to have (`target`) and what it has besides, by name."""
    for name in sorted({*target, *(name for name, resource in sub.sent.items() if resource is not None)}):
        wanted, sent, rejection = target.get(name), sub.sent.get(name), sub.rejected.get(name)
        yield ResourceStatus(
            kind=sub.kind,
            name=name,
            version=sent.version if sent is not None else "",
            status=sub.status(name, wanted.version if wanted is not None else None),
            sent_at=sub.sent_at.get(name, 0.0),
            error=rejection.message if rejection is not None else "",
            refused_version=rejection.version if rejection is not None else "",
            refused_at=rejection.at if rejection is not None else 0.0,
            # A secret's body is a private key: whoever asks what a node has is told that it has it.
            body=sent.body if with_bodies and sent is not None and sub.kind is not Kind.SECRET else b"",
        )
