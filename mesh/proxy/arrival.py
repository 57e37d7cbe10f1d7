"""Arrival: the way of a connection from accept to what serves it.

    where did the client want to go -> whose chains serve that -> which chain -> TLS, if it ends here -> HTTP (prelude) or opaque

Which listener's chains it is decides the destination; which chain, that again and, if need be, what the client's first bytes say.
Every step returns whether the connection goes on: by the next step, in a task that was started, or by callbacks.
"""

from __future__ import annotations

import logging
import socket
from functools import partial
from typing import TYPE_CHECKING, Any

from mesh.codec.events import ProtocolError
from mesh.model.addr import Address
from mesh.model.failure import Flag
from mesh.model.listener import FilterChain, ListenerFilter
from mesh.proxy.chains import NOTHING, needs_inspection
from mesh.proxy.connection import Accepted
from mesh.proxy.destination import Loop, address_of, destination_of, told_by
from mesh.proxy.detect import Detected
from mesh.proxy.inspection import inspect_client
from mesh.proxy.observe.record import Connection
from mesh.proxy.opaque import Dialled, serve_opaque
from mesh.proxy.prelude import Prelude
from mesh.proxy.proxy_header import receive_proxy_header
from mesh.proxy.snapshots import HttpTerminal, ListenerRuntime, TcpTerminal, Terminal
from mesh.proxy.termination import SECRET_NOT_READY, begin_tls, shake_hands
from mesh.proxy.tls import TlsError

if TYPE_CHECKING:
    from mesh.proxy.pipeline import Proxy

_log = logging.getLogger(__name__)
_UNKNOWN = Connection()
_UNSEEN = Detected(NOTHING)


class Arrival:
    """One connection that has just been accepted. `begin` it once; it is done with when something serves the connection."""

    __slots__ = ("_accepted", "_bound", "_connection", "_destination", "_direct_remote", "_proxy", "_remote", "_runtime")

    def __init__(
        self, proxy: Proxy, runtime: ListenerRuntime, sock: socket.socket, remote: tuple[Any, ...], bound: Address
    ) -> None:
        """Args: sock: not blocking. remote, bound: of accept, and of the listening socket. Raises: OSError: no room for it."""
        self._proxy = proxy
        self._runtime = runtime
        self._remote = self._direct_remote = address_of(*remote)
        self._bound = self._destination = bound
        self._connection = _UNKNOWN
        self._accepted = Accepted(proxy, runtime.model, sock, self._remote)

    def begin(self) -> None:
        """Serve it, as far as that goes without waiting; tasks and callbacks do the rest. Raises: nothing."""
        self._accepted.attempt(self._arrive)

    def _arrive(self) -> bool:
        # Where did the client want to go?
        accepted, listener = self._accepted, self._runtime.model
        try:
            self._destination = destination_of(accepted.channel.socket, listener, self._bound, self._remote)
        except Loop:
            self._proxy.loops += 1
            return False
        if ListenerFilter.PROXY_PROTOCOL in listener.filters:
            accepted.start(self._arrive_by_header)
            return True
        return self._enter()

    async def _arrive_by_header(self) -> bool:
        # A load balancer says it, and who the client really is.
        try:
            header = await receive_proxy_header(self._accepted.channel)
        except (ProtocolError, OSError) as exc:
            self._proxy.protocol_errors += 1
            _log.info("%s: PROXY header from %s: %s", self._runtime.model.name, self._direct_remote, exc)
            return False
        told = told_by(header)
        if told is not None:
            self._remote, self._destination = told
            self._accepted.remote = self._remote
        return self._enter()

    def _enter(self) -> bool:
        # Whose chains serve that?
        proxy, destination, accepted = self._proxy, self._destination, self._accepted
        if self._runtime.model.use_original_dst:
            self._runtime = proxy.current.virtual.find(destination) or self._runtime
        runtime = self._runtime
        accepted.listener = runtime.model
        remote = str(self._remote)
        direct_remote = remote if self._direct_remote is self._remote else str(self._direct_remote)
        self._connection = Connection(remote, str(destination), direct_remote)
        if runtime.loggers:
            accepted.log.open(runtime.loggers, self._connection, proxy.deadlines.now())
        candidates = runtime.table.candidates(destination)
        if needs_inspection(candidates):
            accepted.start(partial(self._inspect, candidates))
            return True
        return self._choose(candidates, _UNSEEN, None)

    async def _inspect(self, candidates: tuple[FilterChain, ...]) -> bool:
        # The first bytes decide.
        accepted = self._accepted
        try:
            detected, dialled = await inspect_client(
                self._proxy,
                self._runtime,
                candidates,
                accepted.channel,
                accepted.parker,
                self._remote,
                self._destination,
            )
        except OSError:
            return False  # gone before it said anything
        return self._choose(candidates, detected, dialled)

    def _choose(self, candidates: tuple[FilterChain, ...], detected: Detected, dialled: Dialled | None) -> bool:
        # Which chain? dialled: where opaque bytes would go, if that is known already.
        runtime = self._runtime
        self._connection.server_name = detected.inspected.server_name
        chain = runtime.table.choose(candidates, detected.inspected, self._remote)
        if chain is None:
            if dialled is not None:
                dialled.close()
            if detected is not _UNSEEN and not detected.data:
                return False  # gone without a word: a mesh client that found out in time that it speaks something else
            self._proxy.no_filter_chain += 1
            self._refuse("filter_chain_not_found", Flag.NO_ROUTE)
            return False
        self._accepted.chain = chain
        terminal = runtime.terminal(chain)
        if dialled is not None and not (isinstance(terminal, TcpTerminal) and dialled.is_for(terminal)):
            dialled.close()
            dialled = None
        if terminal.tls is None and isinstance(terminal, HttpTerminal):
            return self._begin_http(terminal, detected.data)
        self._accepted.start(partial(self._serve_chain, terminal, detected, dialled))
        return True

    async def _serve_chain(self, terminal: Terminal, detected: Detected, dialled: Dialled | None) -> bool:
        # TLS, if it ends here. What was dialled for plaintext will do for the same server's bytes out of TLS.
        accepted, data = self._accepted, detected.data
        if terminal.tls is not None:
            is_encrypted = False
            try:
                is_encrypted = await self._terminate_tls(terminal, detected)
            finally:
                if dialled is not None and not is_encrypted:
                    dialled.close()
            if not is_encrypted:
                return False
            data = b""
        if isinstance(terminal, HttpTerminal):
            return self._begin_http(terminal, data)
        await serve_opaque(
            self._proxy,
            terminal,
            accepted.channel,
            accepted.parker,
            self._connection,
            self._destination,
            data,
            dialled,
        )
        return False

    async def _terminate_tls(self, terminal: Terminal, detected: Detected) -> bool:
        # Returns: done; otherwise the connection cannot be served, and the reason is logged.
        assert terminal.tls is not None
        proxy, accepted, name = self._proxy, self._accepted, self._runtime.model.name
        context = proxy.current.tls.get(terminal.tls)
        if context is None:
            proxy.tls_failures += 1
            self._refuse(SECRET_NOT_READY)
            _log.warning("%s: no usable certificate for a connection from %s", name, self._remote)
            return False
        accepted.channel = channel = begin_tls(accepted.channel, context, detected)
        try:
            await shake_hands(channel, context, detected.data, self._connection, proxy.deadlines)
        except OSError as exc:
            proxy.tls_failures += 1
            self._refuse(str(exc.strerror))
            if isinstance(exc, TlsError):
                _log.info("%s: %s from %s", name, exc.strerror, self._remote)
            return False
        return True

    def _begin_http(self, terminal: HttpTerminal, data: bytes) -> bool:
        return Prelude(self._proxy, terminal, self._accepted, self._connection, self._destination).begin(data)

    def _refuse(self, why: str, *flags: Flag) -> None:
        # No chain can serve the connection: its listener's log, or else the default one, is to say so.
        accepted = self._accepted
        accepted.log.open(self._runtime.refusal_loggers, self._connection, self._proxy.deadlines.now())
        accepted.log.refused(why, *flags)
