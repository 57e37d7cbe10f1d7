"""The ADS server: a grpc.aio server with ADS in both variants and CSDS, one `AdsConnection` per stream."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import grpc
import grpc.aio

from mesh.control.ads_connection import AdsConnection, AdsLimits, Metrics, Nack, Refused, SnapshotSource
from mesh.control.csds import Csds
from mesh.model.node import Node
from mesh.xds.client_status import FETCH, SERVICE, STREAM
from mesh.xds.encode import Encoder
from mesh.xds.kind import Variant

__all__ = ["AdsLimits", "AdsServer", "Metrics", "Nack", "SnapshotSource"]

_log = logging.getLogger(__name__)
_VERSION_KEYS = ("TRIOMESH_VERSION", "ISTIO_VERSION")


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
        self.encoder = Encoder()
        self._metrics: Metrics = metrics if metrics is not None else _NoMetrics()
        self._report = on_nack if on_nack is not None else _log_nack
        self._limits = limits
        self._connections: dict[AdsConnection, None] = {}
        self._connected: Counter[str] = Counter()
        self._is_stopping = False
        self._server: grpc.aio.Server | None = None

    async def start(self, address: str) -> int:
        """Listen on `host:port` (plaintext; 0 = any port) and return the port. Raises: OSError: cannot listen."""
        self._server = grpc.aio.server(options=_options(self._limits))
        csds = Csds(self.connections)
        ads, sotw = Variant.SOTW.value.strip("/").split("/")
        delta = Variant.DELTA.value.rpartition("/")[2]
        # Bytes both ways: no (de)serializers; what the bytes mean is the business of mesh.xds.
        ads_methods = {
            sotw: grpc.stream_stream_rpc_method_handler(self._handler(Variant.SOTW)),
            delta: grpc.stream_stream_rpc_method_handler(self._handler(Variant.DELTA)),
        }
        csds_methods = {
            FETCH: grpc.unary_unary_rpc_method_handler(csds.fetch),
            STREAM: grpc.stream_stream_rpc_method_handler(csds.stream),
        }
        self._server.add_generic_rpc_handlers(
            (
                grpc.method_handlers_generic_handler(ads, ads_methods),
                grpc.method_handlers_generic_handler(SERVICE, csds_methods),
            )
        )
        try:
            port = self._server.add_insecure_port(address)
        except RuntimeError as exc:
            raise OSError(f"cannot listen on {address}: {exc}") from exc
        await self._server.start()
        return port

    async def stop(self) -> None:
        """Refuse new streams, end the existing ones, wait at most `grace_seconds`."""
        self._is_stopping = True
        for connection in list(self._connections):
            connection.close()
        if self._server is not None:
            await self._server.stop(self._limits.grace_seconds)

    def connections(self) -> Iterator[AdsConnection]:
        """Streams whose node is known; of a node that reconnected, the newest first."""
        return (connection for connection in reversed(list(self._connections)) if connection.node is not None)

    def nodes(self) -> list[Node]:
        """The nodes that are connected, each once."""
        return list({node.id: node for connection in self.connections() if (node := connection.node)}.values())

    def _handler(self, variant: Variant) -> Callable[[Any, Any], Awaitable[None]]:
        async def handle(_requests: Any, context: Any) -> None:
            await self._serve(variant, context)

        return handle

    async def _serve(self, variant: Variant, context: Any) -> None:
        """The one boundary around a stream."""
        if self._is_stopping or not self.source.ready:
            why = "is shutting down" if self._is_stopping else "has not read the cluster's objects yet"
            await context.abort(grpc.StatusCode.UNAVAILABLE, f"the control plane {why}")
        connection = AdsConnection(
            variant, context, self.source, self.encoder, self._metrics, self._note_nack, self._limits
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
