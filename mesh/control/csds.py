"""CSDS: what each connected node was sent, accepted and refused (`meshctl proxy-status`)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

import grpc
from grpc.aio import EOF  # type: ignore[attr-defined]

from mesh.control.ads_connection import AdsConnection
from mesh.xds.client_status import Query, client_config, read_query, write_response
from mesh.xds.error import ProtocolError


class Csds:
    """Handlers of the ClientStatusDiscoveryService, as seen by the server of `connections`."""

    def __init__(self, connections: Callable[[], Iterable[AdsConnection]]) -> None:
        self._connections = connections

    async def fetch(self, data: bytes, context: Any) -> bytes:
        """One answer."""
        try:
            return self.answer(data)
        except ProtocolError as exc:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(exc))
            raise

    async def stream(self, _requests: Any, context: Any) -> None:
        """One answer per request."""
        while (data := await context.read()) is not EOF:
            try:
                answer = self.answer(data)
            except ProtocolError as exc:
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(exc))
                raise
            await context.write(answer)

    def answer(self, data: bytes) -> bytes:
        """A ClientStatusResponse. Raises: ProtocolError."""
        query = read_query(data)
        wall_offset = time.time() - time.monotonic()
        return write_response(
            client_config(
                connection.stream.node_body, connection.status(query.with_bodies), wall_offset, query.with_bodies
            )
            for connection in self._selected(query)
        )

    def _selected(self, query: Query) -> Iterable[AdsConnection]:
        """A node that has just reconnected may have an old stream dying: its newest counts."""
        seen: set[str] = set()
        for connection in self._connections():
            node = connection.node
            if node is not None and node.id not in seen and query.selects(node.id):
                seen.add(node.id)
                yield connection
