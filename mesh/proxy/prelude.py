"""Prelude: the first bytes on an HTTP chain, which tell HTTP/1 from HTTP/2 with prior knowledge.

They are there already more often than not; if they are not, nothing but the poller's callback waits for them.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from mesh.model.addr import Address
from mesh.proxy.connection import Accepted
from mesh.proxy.downstream_h1 import Downstream
from mesh.proxy.http2 import is_preface, may_be_preface, receive_preface, serve_http2_preface
from mesh.proxy.observe.record import Connection
from mesh.proxy.poller import SMALL_READ
from mesh.proxy.snapshots import HttpTerminal
from mesh.proxy.termination import note_certificate

if TYPE_CHECKING:
    from mesh.proxy.pipeline import Proxy


class Prelude:
    """What a connection says first. `begin` it once; over when something serves the connection."""

    __slots__ = ("_accepted", "_connection", "_destination", "_proxy", "_terminal")

    def __init__(
        self, proxy: Proxy, terminal: HttpTerminal, accepted: Accepted, connection: Connection, destination: Address
    ) -> None:
        self._proxy = proxy
        self._terminal = terminal
        self._accepted = accepted
        self._connection = connection
        self._destination = destination

    def begin(self, data: bytes) -> bool:
        """Args: data: the client's bytes so far. Returns: the connection goes on, in a task or by callbacks."""
        if data:
            self._tell(data)
            return True
        first = self._receive()
        if first is None:
            accepted = self._accepted
            if seconds := self._patience_seconds():
                accepted.limit_silence(seconds)
            accepted.channel.on_idle = partial(accepted.attempt, self._on_bytes)
            return True
        if first:
            self._tell(first)
        return first != b""

    def _receive(self) -> bytes | None:
        try:
            return self._accepted.channel.try_recv(SMALL_READ)
        except OSError:
            return b""

    def _on_bytes(self) -> bool:
        # The poller's callback.
        first = self._receive()
        if first is None:
            return True
        self._accepted.spoke()
        if first:
            self._tell(first)
        return first != b""

    def _tell(self, data: bytes) -> None:
        accepted = self._accepted
        if may_be_preface(data):
            accepted.channel.on_idle = None
            accepted.start(partial(self._serve_preface, data))
        else:
            self._serve_http1(data)

    async def _serve_preface(self, data: bytes) -> bool:
        # It looks like HTTP/2's so far.
        proxy, accepted = self._proxy, self._accepted
        limit = proxy.deadlines.new(accepted.channel.end_recv)
        if seconds := self._patience_seconds():
            limit.arm(proxy.deadlines.now() + seconds)
        try:
            data = await receive_preface(accepted.channel, data)
        except OSError:
            return False
        finally:
            limit.close()
        if not data:
            return False
        if not is_preface(data):
            self._serve_http1(data)
            return True
        await serve_http2_preface(
            proxy, self._terminal, accepted.channel, accepted.parker, self._connection, self._destination, data
        )
        return False

    def _serve_http1(self, first: bytes) -> None:
        accepted, terminal, connection = self._accepted, self._terminal, self._connection
        channel, parker = accepted.channel, accepted.parker
        note_certificate(connection, channel, terminal.manager)
        is_tls = terminal.tls is not None
        down = Downstream(self._proxy, terminal, channel, parker, connection, self._destination, accepted, is_tls)
        accepted.hand_over(down, first)

    def _patience_seconds(self) -> float:
        # For the head of the first request; 0 = for ever.
        manager = self._terminal.manager
        return manager.request_headers_timeout_seconds or manager.idle_timeout_seconds
