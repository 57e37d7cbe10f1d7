"""The client's side of an ADS stream, sans I/O: bytes of responses in, bytes of requests and Snapshots out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mesh.model.node import Node
from mesh.model.snapshot import EMPTY_SNAPSHOT, Snapshot
from mesh.xds.error import DecodeError
from mesh.xds.kind import Variant
from mesh.xds.resource import Ref


@dataclass(frozen=True, slots=True)
class Update:
    """What came of one event.

    requests: serialized messages to write, in order.
    snapshot: the new warm configuration, None when it did not change. It never holds a listener whose routes are
    missing or a cluster whose endpoints are: those keep their last warm version, or stay out until they are warm.
    complete: nothing is missing and CDS and LDS have both answered: a starting proxy may become ready.
    rejected: resources of this response that were NACKed.
    """

    requests: tuple[bytes, ...] = ()
    snapshot: Snapshot | None = None
    complete: bool = False
    rejected: tuple[DecodeError, ...] = ()


class AdsClient:
    """One per proxy, for life: it survives streams. Concurrency: one caller at a time."""

    def __init__(self, node: Node, variant: Variant = Variant.DELTA) -> None:
        self.variant = variant
        self.snapshot: Snapshot = EMPTY_SNAPSHOT
        self.complete = False

    @property
    def method(self) -> str:
        """gRPC method to call (stream-stream; both sides' messages are passed as bytes)."""
        return self.variant.value

    @property
    def missing(self) -> frozenset[Ref]:
        """Resources that are referred to and have not come yet."""
        raise NotImplementedError

    @property
    def rejections(self) -> Mapping[Ref, DecodeError]:
        """Resources whose newest version was refused (an older one may be in use)."""
        raise NotImplementedError

    def on_open(self) -> tuple[bytes, ...]:
        """A stream was opened (again): the first requests, with the versions we have."""
        raise NotImplementedError

    def on_response(self, data: bytes) -> Update:
        """A message arrived. Raises: ProtocolError: not a discovery response; the caller closes the stream."""
        raise NotImplementedError

    def give_up_waiting(self) -> Update:
        """Envoy's initial_fetch_timeout (15 s): go on without what is missing (no endpoints, no routes)."""
        raise NotImplementedError

    def dump(self) -> bytes:
        """The accepted resources, as the content of a state file."""
        raise NotImplementedError

    def restore(self, data: bytes) -> Update:
        """Take over a dump, before `on_open`. Raises: StateError: damaged or of another format."""
        raise NotImplementedError


class StateError(ValueError):
    """A state file cannot be used; start without it."""
