"""AdsConnection: one ADS stream of one node, between gRPC and `mesh.xds.ads_stream`.

Requests come in through a bounded queue that a reader fills (a client that floods is slowed down by flow control,
then refused). A change of the source only sets a flag: however many changes there were while a write was blocked, the
next push holds the newest snapshot.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import grpc
from grpc.aio import EOF  # type: ignore[attr-defined]

from mesh.control.caller import Caller, Denied, admitted
from mesh.model.node import Node
from mesh.model.snapshot import Snapshot
from mesh.xds.ads_stream import AdsStream
from mesh.xds.encode import Encoder
from mesh.xds.error import LimitError, ProtocolError
from mesh.xds.kind import Kind, Variant
from mesh.xds.resource import Bundle
from mesh.xds.resource_status import ResourceStatus
from mesh.xds.response import Response

_INBOX = 16
_BURST_SECONDS = 10.0
_serial = itertools.count(1)


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
    """A node refused a resource (or, resource "", a whole response that names none).

    Also made for a resource that could not even be encoded for the node; then no node has seen it.
    """

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
    first_request_seconds: float = 15.0
    max_connection_age_seconds: float = 1800.0
    keepalive_seconds: float = 30.0
    max_request_bytes: int = 4 << 20
    max_requests_per_second: float = 100.0
    max_pending_requests: int = 100_000
    grace_seconds: float = 5.0


class Refused(Exception):
    """The stream is to be ended with a status."""

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        super().__init__(details)
        self.code = code
        self.details = details


class AdsConnection:
    """One per stream; `run` lasts as long as the stream. `node` is None until the first request.

    Args: caller: whom the stream was authenticated as; None on the plaintext port, where a node has no identity.
    """

    def __init__(
        self,
        variant: Variant,
        context: Any,
        source: SnapshotSource,
        encoder: Encoder,
        metrics: Metrics,
        on_nack: Callable[[Nack], None],
        limits: AdsLimits,
        caller: Caller | None = None,
    ) -> None:
        self.opened_at = time.monotonic()
        self.stream = AdsStream(variant, f"{next(_serial):x}", self._named, limits.hold_seconds, self._admit)
        self._caller = caller
        self._context = context
        self._source = source
        self._encoder = encoder
        self._metrics = metrics
        self._on_nack = on_nack
        self._limits = limits
        self._inbox: asyncio.Queue[bytes | None] = asyncio.Queue(_INBOX)
        self._wake = asyncio.Event()
        self._is_dirty = False
        self._is_closing = False
        self._changed_at: float | None = None
        self._snapshot: Snapshot | None = None
        self._errors: set[tuple[Kind, str]] = set()

    @property
    def node(self) -> Node | None:
        return self.stream.node

    def on_change(self) -> None:
        """The source has something new, perhaps for this node."""
        if self._changed_at is None:
            self._changed_at = time.monotonic()
        self._is_dirty = True
        self._wake.set()

    def close(self) -> None:
        """End the stream: the server stops."""
        self._is_closing = True
        self._wake.set()

    def status(self, with_bodies: bool) -> list[ResourceStatus]:
        return self.stream.status(with_bodies)

    async def run(self) -> None:
        """Serve until the client ends the stream. Raises: Refused."""
        reader = asyncio.create_task(self._read())
        unsubscribe = self._source.subscribe(self.on_change)
        try:
            await self._serve(reader)
        finally:
            unsubscribe()
            reader.cancel()
            # Its end is awaited, not its result: whatever it was in the middle of is void.
            await asyncio.gather(reader, return_exceptions=True)

    async def _serve(self, reader: asyncio.Task[None]) -> None:
        while True:
            await self._wait()
            if self._is_closing:
                raise Refused(grpc.StatusCode.UNAVAILABLE, "the control plane is shutting down")
            while not self._inbox.empty():
                data = self._inbox.get_nowait()
                if data is None:
                    # The client is done, or the reader refused it.
                    reader.result()
                    return
                await self._on_request(data)
            now = time.monotonic()
            if self.node is None:
                if now - self.opened_at >= self._limits.first_request_seconds:
                    raise Refused(grpc.StatusCode.DEADLINE_EXCEEDED, "no request came")
                continue
            if self._is_dirty:
                self._is_dirty = False
                await self._write(self._refresh(now))
            if now >= self.stream.deadline:
                await self._write(self.stream.on_time(now))
            self._note_convergence()

    async def _wait(self) -> None:
        deadline = self.stream.deadline
        if self.node is None:
            deadline = self.opened_at + self._limits.first_request_seconds
        timeout = None if deadline == float("inf") else max(0.0, deadline - time.monotonic())
        try:
            await asyncio.wait_for(self._wake.wait(), timeout)
        except TimeoutError:
            pass
        self._wake.clear()

    async def _read(self) -> None:
        """Feeds the inbox, then None. Raises: Refused: too many requests."""
        tokens = burst = self._limits.max_requests_per_second * _BURST_SECONDS
        last = time.monotonic()
        try:
            while True:
                data = await self._context.read()
                if data is EOF:
                    return
                now = time.monotonic()
                tokens = min(burst, tokens + (now - last) * self._limits.max_requests_per_second)
                last = now
                if tokens < 1:
                    limit = self._limits.max_requests_per_second
                    raise Refused(grpc.StatusCode.RESOURCE_EXHAUSTED, f"more than {limit:g} requests per second")
                tokens -= 1
                await self._inbox.put(data)
                self._wake.set()
        finally:
            self._end_inbox()

    def _end_inbox(self) -> None:
        # Nothing after the end counts; a full inbox makes room for it.
        if self._inbox.full():
            self._inbox.get_nowait()
        self._inbox.put_nowait(None)
        self._wake.set()

    async def _on_request(self, data: bytes) -> None:
        is_first = self.node is None
        try:
            reaction = self.stream.on_request(data, time.monotonic())
        except LimitError as exc:
            raise Refused(grpc.StatusCode.RESOURCE_EXHAUSTED, str(exc)) from exc
        except ProtocolError as exc:
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, str(exc)) from exc
        except Denied as exc:
            raise Refused(grpc.StatusCode.PERMISSION_DENIED, str(exc)) from exc
        if is_first:
            self._changed_at = self.opened_at
            self._is_dirty = True
            self._wake.set()
        node = self.node
        assert node is not None
        if reaction.is_stale:
            self._metrics.count("pilot_xds_expired_nonce")
        for refusal in reaction.refusals:
            self._metrics.count("pilot_total_xds_rejects")
            self._metrics.count(f"pilot_xds_{refusal.kind.label}_reject")
            self._on_nack(Nack(node, refusal.kind, refusal.resource, refusal.message))
        await self._write(reaction.responses)

    def _admit(self, node: Node) -> Node:
        return node if self._caller is None else admitted(node, self._caller)

    def _refresh(self, now: float) -> tuple[Response, ...]:
        """Ask the source; the very same snapshot needs no second look, unless listeners were made on demand."""
        node = self.node
        assert node is not None
        self._snapshot = self._source.snapshot_for(node)
        return self.stream.on_snapshot(self._encode(self._snapshot), now)

    def _named(self, name: str) -> Bundle | None:
        node = self.node
        assert node is not None
        snapshot = self._source.named_listener(node, name)
        return None if snapshot is None else self._encode(snapshot)

    def _encode(self, snapshot: Snapshot) -> Bundle:
        bundle = self._encoder.bundle(snapshot)
        node = self.node
        assert node is not None
        errors = {(kind, str(error)): error for kind, error in bundle.errors}
        for key in errors.keys() - self._errors:
            kind, error = key[0], errors[key]
            self._metrics.count("pilot_xds_encode_errors", (("type", kind.label),))
            self._on_nack(Nack(node, kind, error.resource, f"{error.field}: {error.message}".removeprefix(": ")))
        self._errors |= errors.keys()
        return bundle

    async def _write(self, responses: tuple[Response, ...]) -> None:
        for response in responses:
            await self._context.write(response.body)
            label = response.kind.label if response.kind is not None else "unknown"
            self._metrics.count("pilot_xds_pushes", (("type", label),))

    def _note_convergence(self) -> None:
        """From the first change that is not yet at the node to the node's last ACK (or NACK)."""
        if self._changed_at is not None and not self._is_dirty and self.stream.is_settled:
            self._metrics.observe("pilot_proxy_convergence_time", time.monotonic() - self._changed_at)
            self._changed_at = None
