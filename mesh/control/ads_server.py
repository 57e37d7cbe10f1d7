"""The ADS server: grpc.aio shell around `mesh.xds.ads_stream`, one task per connected node."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from mesh.model.node import Node
from mesh.model.snapshot import Snapshot
from mesh.xds.kind import Kind


class SnapshotSource(Protocol):
    """Where configurations come from. Called on the server's event loop; must not block."""

    @property
    def ready(self) -> bool:
        """False until the first full list is translated: streams are answered UNAVAILABLE."""

    def snapshot_for(self, node: Node) -> Snapshot:
        """The whole configuration of a node, as of now. Share unchanged values: encoding is cached by them."""

    def named_listener(self, node: Node, name: str) -> Snapshot | None:
        """For proxyless gRPC: the listener `name` (`host:port`) with routes, clusters and endpoints; None = no such."""

    def subscribe(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` (thread: the loop's) whenever any snapshot may have changed. Returns the unsubscriber."""


@dataclass(frozen=True, slots=True)
class Nack:
    """A node refused a resource (or, resource "", a whole response that names none)."""

    node: Node
    kind: Kind
    resource: str
    message: str


class Metrics(Protocol):
    """Where the `pilot_*` numbers go. `labels` are (name, value) pairs."""

    def count(self, name: str, labels: tuple[tuple[str, str], ...] = (), by: int = 1) -> None: ...

    def gauge(self, name: str, value: float, labels: tuple[tuple[str, str], ...] = ()) -> None: ...

    def observe(self, name: str, value: float, labels: tuple[tuple[str, str], ...] = ()) -> None: ...


@dataclass(frozen=True, slots=True)
class AdsLimits:
    """Bounds of the server. Seconds, messages or bytes."""

    hold_seconds: float = 5.0
    max_connection_age_seconds: float = 1800.0
    keepalive_seconds: float = 30.0
    max_request_bytes: int = 4 << 20
    max_requests_per_second: float = 100.0
    max_pending_requests: int = 100_000
    grace_seconds: float = 5.0


class AdsServer:
    """Serves ADS (both variants) and CSDS. Build it, `await start(...)`, `await stop()`."""

    def __init__(
        self,
        source: SnapshotSource,
        metrics: Metrics | None = None,
        on_nack: Callable[[Nack], None] | None = None,
        limits: AdsLimits = AdsLimits(),
    ) -> None:
        self.source = source

    async def start(self, address: str) -> int:
        """Listen on `host:port` (plaintext; 0 = any port) and return the port."""
        raise NotImplementedError

    async def stop(self) -> None:
        """Refuse new streams, end the existing ones, wait at most `grace_seconds`."""
        raise NotImplementedError
