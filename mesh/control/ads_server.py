"""The ADS server: ADS in both variants and CSDS on grpc.aio, one `AdsConnection` per stream.

It may listen on two doors: one in plaintext, where nodes have no identity, and one with TLS, where every call shows whose
it is by a bearer token (`Gate`), and where there are services beside ADS (CreateCertificate).
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio

from mesh.control.ads_connection import AdsConnection, AdsLimits, Metrics, Nack, Refused, SnapshotSource
from mesh.control.authenticator import Authenticator
from mesh.control.caller import REFUSALS, Caller
from mesh.control.csds import Csds
from mesh.model.node import Node
from mesh.xds.client_status import FETCH, SERVICE, STREAM
from mesh.xds.encode import Encoder
from mesh.xds.kind import Variant

__all__ = ["AdsLimits", "AdsServer", "Metrics", "Nack", "SnapshotSource"]

_log = logging.getLogger(__name__)
_VERSION_KEYS = ("TRIOMESH_VERSION", "ISTIO_VERSION")


Services = Mapping[str, Mapping[str, Any]]
"""gRPC method handlers by service and method name."""


@dataclass(frozen=True, slots=True)
class Gate:
    """What makes a door a guarded one. services: what is served there besides; they look after themselves."""

    credentials: grpc.ServerCredentials
    authenticator: Authenticator
    services: Services


class AdsServer:
    """Serves ADS (both variants) and CSDS. Build it, `await start(...)`, perhaps once more with a gate, `await stop()`."""

    def __init__(
        self,
        source: SnapshotSource,
        metrics: Metrics | None = None,
        on_nack: Callable[[Nack], None] | None = None,
        limits: AdsLimits = AdsLimits(),
    ) -> None:
        self.source = source
        self.encoder = Encoder()
        self._metrics: Metrics = metrics if metrics is not None else _NoMetrics()
        self._report = on_nack if on_nack is not None else _log_nack
        self._limits = limits
        self._connections: dict[AdsConnection, None] = {}
        self._connected: Counter[str] = Counter()
        self._is_stopping = False
        self._servers: list[grpc.aio.Server] = []

    async def start(self, address: str, gate: Gate | None = None) -> int:
        """Listen on `host:port` (0 = any port; plaintext without a gate) and return the port.

        Raises: OSError: cannot listen.
        """
        server = grpc.aio.server(options=_options(self._limits))
        for name, methods in {**self._services(gate), **(gate.services if gate else {})}.items():
            server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, dict(methods)),))
        try:
            port = server.add_secure_port(address, gate.credentials) if gate else server.add_insecure_port(address)
        except RuntimeError as exc:
            raise OSError(f"cannot listen on {address}: {exc}") from exc
        # Known before it starts: whoever is cancelled here must be able to stop it.
        self._servers.append(server)
        starting = asyncio.create_task(server.start())
        try:
            await asyncio.shield(starting)
        except asyncio.CancelledError:
            # Half started it could never be stopped: gRPC would wait for its main loop for ever.
            await starting
            raise
        return port

    def _services(self, gate: Gate | None) -> Services:
        csds = Csds(self.connections)
        ads, sotw = Variant.SOTW.value.strip("/").split("/")
        delta = Variant.DELTA.value.rpartition("/")[2]
        # Bytes both ways: no (de)serializers; what the bytes mean is the business of mesh.xds.
        return {
            ads: {
                sotw: grpc.stream_stream_rpc_method_handler(self._handler(Variant.SOTW, gate)),
                delta: grpc.stream_stream_rpc_method_handler(self._handler(Variant.DELTA, gate)),
            },
            SERVICE: {
                FETCH: grpc.unary_unary_rpc_method_handler(_guarded(csds.fetch, gate)),
                STREAM: grpc.stream_stream_rpc_method_handler(_guarded(csds.stream, gate)),
            },
        }

    async def stop(self) -> None:
        """Refuse new streams, end the existing ones, wait at most `grace_seconds`."""
        self._is_stopping = True
        for connection in list(self._connections):
            connection.close()
        await asyncio.gather(*(server.stop(self._limits.grace_seconds) for server in self._servers))

    def connections(self) -> Iterator[AdsConnection]:
        """Streams whose node is known; of a node that reconnected, the newest first."""
        return (connection for connection in reversed(list(self._connections)) if connection.node is not None)

    def nodes(self) -> list[Node]:
        """The nodes that are connected, each once."""
        return list({node.id: node for connection in self.connections() if (node := connection.node)}.values())

    def _handler(self, variant: Variant, gate: Gate | None) -> Callable[[Any, Any], Awaitable[None]]:
        async def handle(_requests: Any, context: Any) -> None:
            caller = None if gate is None else await _caller(gate, context)
            await self._serve(variant, context, caller)

        return handle

    async def _serve(self, variant: Variant, context: Any, caller: Caller | None) -> None:
        """The one boundary around a stream."""
        if self._is_stopping or not self.source.ready:
            why = "is shutting down" if self._is_stopping else "has not read the cluster's objects yet"
            await context.abort(grpc.StatusCode.UNAVAILABLE, f"the control plane {why}")
        connection = AdsConnection(
            variant, context, self.source, self.encoder, self._metrics, self._note_nack, self._limits, caller
        )
        self._connections[connection] = None
        self._count()
        try:
            await connection.run()
        except Refused as refused:
            _log.info("stream of %s ended: %s", _name(connection.node), refused.details)
            await context.abort(refused.code, refused.details)
        except Exception:
            # A fault in one node's configuration must not take the others' streams along; it may try again.
            _log.exception("stream of %s", _name(connection.node))
            await context.abort(grpc.StatusCode.INTERNAL, "the control plane failed to serve this node")
        finally:
            del self._connections[connection]
            self._count()

    def _note_nack(self, nack: Nack) -> None:
        try:
            self._report(nack)
        except Exception:
            # Foreign code: whoever is told must not be able to end the stream.
            _log.exception("report of a NACK of %s by %s", nack.resource, nack.node.id)

    def _count(self) -> None:
        """`pilot_xds`: connected nodes by version."""
        versions = Counter(_version(connection.node) for connection in self._connections)
        for version in self._connected.keys() | versions.keys():
            self._metrics.gauge("pilot_xds", versions[version], (("version", version),))
        self._connected = versions


class _NoMetrics:
    """Nobody counts."""

    def count(self, name: str, labels: tuple[tuple[str, str], ...] = (), by: int = 1) -> None:
        pass

    def gauge(self, name: str, value: float, labels: tuple[tuple[str, str], ...] = ()) -> None:
        pass

    def observe(self, name: str, value: float, labels: tuple[tuple[str, str], ...] = ()) -> None:
        pass


async def _caller(gate: Gate, context: Any) -> Caller:
    """Who calls; somebody unknown is turned away."""
    try:
        return await gate.authenticator.caller(context.invocation_metadata() or ())
    except tuple(REFUSALS) as refusal:
        _log.warning("call of %s refused: %s", context.peer(), refusal)
        await context.abort(REFUSALS[type(refusal)], str(refusal))
        raise


def _guarded(handler: Callable[[Any, Any], Awaitable[Any]], gate: Gate | None) -> Callable[[Any, Any], Awaitable[Any]]:
    if gate is None:
        return handler

    async def handle(request: Any, context: Any) -> Any:
        await _caller(gate, context)
        return await handler(request, context)

    return handle


def _options(limits: AdsLimits) -> list[tuple[str, int]]:
    return [
        # gRPC's C core drops calls at random beyond its two thresholds (1,000 and 3,000): raised together.
        ("grpc.server.max_pending_requests", limits.max_pending_requests),
        ("grpc.server.max_pending_requests_hard_limit", limits.max_pending_requests),
        ("grpc.max_concurrent_streams", limits.max_pending_requests),
        ("grpc.max_receive_message_length", limits.max_request_bytes),
        ("grpc.max_send_message_length", -1),
        # A GOAWAY now and then spreads the nodes over all replicas; the C core adds ten percent of jitter.
        ("grpc.max_connection_age_ms", int(limits.max_connection_age_seconds * 1000)),
        ("grpc.max_connection_age_grace_ms", int(limits.grace_seconds * 1000)),
        ("grpc.keepalive_time_ms", int(limits.keepalive_seconds * 1000)),
        ("grpc.keepalive_timeout_ms", 10_000),
        # Clients may ping as often as we do; the default answers the third within five minutes by GOAWAY.
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", int(limits.keepalive_seconds * 500)),
        ("grpc.http2.min_ping_interval_without_data_ms", int(limits.keepalive_seconds * 500)),
        ("grpc.so_reuseport", 0),
    ]


def _log_nack(nack: Nack) -> None:
    _log.warning("%s refuses %s %s: %s", nack.node.id, nack.kind.label, nack.resource, nack.message)


def _name(node: Node | None) -> str:
    return node.id if node is not None else "an unnamed node"


def _version(node: Node | None) -> str:
    if node is None:
        return "unknown"
    return next((str(node.metadata[key]) for key in _VERSION_KEYS if node.metadata.get(key)), "unknown")
