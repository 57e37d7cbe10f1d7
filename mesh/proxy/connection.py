"""Connection: from accept to close, and the one exception boundary around it.

Which listener's chains serve it is decided by where the client wanted to go; which chain, by that and, if need be, by
what the client's first bytes say. Whatever goes wrong with one connection ends here.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import trio

from mesh.codec.events import ProtocolError
from mesh.codec.sock import original_dst
from mesh.model.addr import Address
from mesh.model.failure import Flag
from mesh.model.listener import FilterChain, HttpManager, ListenerFilter
from mesh.proxy.chains import NOTHING, Inspected, needs_http, needs_inspection
from mesh.proxy.connect import Opening, set_nodelay
from mesh.proxy.detect import HEAD_START_SECONDS, Detected, Patience, detect, hello_seconds, inspect, inspect_tls
from mesh.proxy.downstream_h1 import Downstream
from mesh.proxy.http2 import serve_http2_preface
from mesh.proxy.observe.record import Connection, TcpRecord
from mesh.proxy.opaque import Dialled, begin_opaque, serve_opaque
from mesh.proxy.poller import READ, SMALL_READ, Channel, Parker
from mesh.proxy.proxy_header import receive_proxy_header
from mesh.proxy.snapshots import HttpTerminal, ListenerRuntime, TcpTerminal
from mesh.proxy.tls import NO_TLS, TlsChannel, TlsError
from mesh.proxy.xfcc import client_certificate, rule_of

if TYPE_CHECKING:
    from mesh.proxy.observe.access_log import AccessLogger
    from mesh.proxy.pipeline import Proxy

_log = logging.getLogger(__name__)
_SERVED: tuple[None, bytes] = (None, b"")
# Istio's transport_socket_connect_timeout.
_HANDSHAKE_SECONDS = 15.0
# Envoy's listener_filters_timeout.
_INSPECTION_SECONDS = 15.0
_PREFACE_START = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


async def serve_connection(
    proxy: Proxy, runtime: ListenerRuntime, sock: socket.socket, remote: tuple[Any, ...], bound: Address
) -> None:
    """Serve one accepted connection to its end. Closes: the socket. Raises: nothing but cancellation."""
    parker = Parker()
    log: ConnectionLog | None = None
    is_outbound = runtime.model.direction.value == "outbound"
    proxy.drain.opened(is_outbound)
    try:
        channel = proxy.poller.open(sock, parker)
        try:
            # HTTP is served from here and not from within: an idle connection keeps every frame on the way to it.
            accepted = _Accepted(proxy, runtime, channel, parker, Address(remote[0], remote[1]), bound)
            try:
                down, first = await accepted.serve()
            finally:
                channel = accepted.channel
                log = accepted.log
            del accepted
            if down is not None:
                await down.serve(first)
        finally:
            channel.close()
    except trio.Cancelled:
        raise
    except Exception:
        proxy.crashes += 1
        _log.exception("connection from %s on listener %s", remote[:2], runtime.model.name)
    finally:
        sock.close()
        if log is not None:
            log.end(proxy.deadlines.now())
        proxy.drain.closed(is_outbound)


class ConnectionLog:
    """The line of one connection in its listener's own access log."""

    __slots__ = ("_loggers", "record")

    def __init__(self, loggers: tuple[AccessLogger, ...], record: TcpRecord) -> None:
        self._loggers = loggers
        self.record = record

    def end(self, now: float) -> None:
        self.record.finished_at = now
        for logger in self._loggers:
            logger.log(self.record)


class _Accepted:
    """channel: the client's side; TLS replaces it. log: None = the listener keeps none of this connection."""

    __slots__ = ("_bound", "_direct_remote", "_parker", "_proxy", "_remote", "_runtime", "channel", "log")

    def __init__(
        self, proxy: Proxy, runtime: ListenerRuntime, channel: Channel, parker: Parker, remote: Address, bound: Address
    ) -> None:
        self._proxy = proxy
        self._runtime = runtime
        self.channel = channel
        self._parker = parker
        self._remote = self._direct_remote = _unmapped(remote)
        self._bound = bound
        self.log: ConnectionLog | None = None

    async def serve(self) -> tuple[Downstream | None, bytes]:
        """Serve what is not HTTP/1 to its end. Returns: what is, and its first bytes."""
        channel, proxy, runtime = self.channel, self._proxy, self._runtime
        set_nodelay(channel.socket)
        destination = self._destination()
        if destination is None:
            return _SERVED
        if ListenerFilter.PROXY_PROTOCOL in runtime.model.filters:
            told = await self._told_destination(destination)
            if told is None:
                return _SERVED
            destination = told
        if runtime.model.use_original_dst:
            virtual = proxy.current.virtual.find(destination)
            if virtual is not None:
                runtime = virtual
        candidates = runtime.table.candidates(destination)
        connection = Connection(str(self._remote), str(destination), str(self._direct_remote))
        if runtime.loggers:
            self.log = ConnectionLog(runtime.loggers, TcpRecord(connection, proxy.deadlines.now()))
        detected = Detected(NOTHING)
        dialled: Dialled | None = None
        if needs_inspection(candidates):
            inspector = inspect if needs_http(candidates) else inspect_tls
            opaque = runtime.table.opaque(candidates, self._remote)
            terminal = runtime.terminal(opaque) if opaque is not None else None
            try:
                if isinstance(terminal, TcpTerminal):
                    may_be_tls = any(chain.tls is not None for chain in candidates)
                    detected, dialled = await self._race(terminal, destination, inspector, may_be_tls)
                else:
                    silent = runtime.table.choose(candidates, NOTHING, self._remote)
                    detected = await self._detect(runtime, inspector, silent)
            except OSError:
                return _SERVED  # gone before it said anything
            proxy.telemetry.detected(runtime.model.direction, _verdict(detected), proxy.deadlines.now())
        connection.server_name = detected.inspected.server_name
        chain = runtime.table.choose(candidates, detected.inspected, self._remote)
        if chain is None:
            if dialled is not None:
                dialled.close()
            if not detected.data:
                return _SERVED  # gone without a word: a mesh client that found out in time that it speaks something else
            proxy.no_filter_chain += 1
            self._refused(runtime, connection, "filter_chain_not_found", Flag.NO_ROUTE)
            return _SERVED
        return await self._serve_chain(runtime, chain, connection, destination, detected, dialled)

    async def _detect(
        self, runtime: ListenerRuntime, inspector: Callable[[bytes], Inspected | None], silent: FilterChain | None
    ) -> Detected:
        # No server can be first here, so that a client that says nothing is only taking room: as long as the chain that
        # would have it (silent: for plaintext without a word) lets a client do that.
        seconds = runtime.model.filters_timeout_seconds or _INSPECTION_SECONDS
        if silent is not None and isinstance(silent.filter, HttpManager):
            seconds = max(seconds, silent.filter.request_headers_timeout_seconds or silent.filter.idle_timeout_seconds)
        limit = self._proxy.deadlines.new(self.channel.end_recv)
        limit.arm(self._proxy.deadlines.now() + seconds)
        try:
            detected, _ = await detect(self._parker, self.channel, None, inspector)
        finally:
            limit.close()
        return detected

    async def _race(
        self,
        terminal: TcpTerminal,
        destination: Address,
        inspector: Callable[[bytes], Inspected | None],
        may_be_tls: bool,
    ) -> tuple[Detected, Dialled | None]:
        dialled: list[Dialled] = []
        deadlines, parker, channel = self._proxy.deadlines, self._parker, self.channel
        patience = Patience(deadlines, parker, hello_seconds(channel.socket)) if may_be_tls else None
        head_start = Patience(deadlines, parker, HEAD_START_SECONDS)

        def dial(failed: OSError | None) -> Opening | None:
            # Once; and once more when the server greeted before it had heard that we want TLS.
            if failed is not None and (len(dialled) > 1 or NO_TLS not in str(failed.strerror)):
                return None
            begun = begin_opaque(self._proxy, terminal, parker, destination)
            if begun is None:
                return None
            dialled.append(begun)
            return begun.opening

        used: Dialled | None = None
        try:
            detected, opening = await detect(parker, channel, dial, inspector, patience, head_start)
            used = next((begun for begun in dialled if begun.opening is opening), None)
        finally:
            head_start.close()
            if patience is not None:
                patience.close()
            for begun in dialled:
                if begun is not used:
                    begun.close()
        return detected, used

    async def _serve_chain(
        self,
        runtime: ListenerRuntime,
        chain: FilterChain,
        connection: Connection,
        destination: Address,
        detected: Detected,
        dialled: Dialled | None,
    ) -> tuple[Downstream | None, bytes]:
        proxy, parker = self._proxy, self._parker
        terminal = runtime.terminal(chain)
        data = detected.data
        if terminal.tls is not None:
            # What was dialled for plaintext will do for the same server's bytes out of TLS.
            if dialled is not None and not (isinstance(terminal, TcpTerminal) and dialled.is_for(terminal)):
                dialled.close()
                dialled = None
            try:
                is_encrypted = await self._terminate_tls(runtime, terminal, connection, detected)
            except BaseException:
                if dialled is not None:
                    dialled.close()
                raise
            if not is_encrypted:
                if dialled is not None:
                    dialled.close()
                return _SERVED
            data = b""
        channel = self.channel
        if isinstance(terminal, TcpTerminal):
            await serve_opaque(proxy, terminal, channel, parker, connection, destination, data, dialled)
            return _SERVED
        if dialled is not None:
            dialled.close()
        self._note_certificate(connection, terminal.manager)
        first = data or await self._first_bytes(terminal)
        if first is None:
            return _SERVED
        if first.startswith(_PREFACE_START[:16]):
            await serve_http2_preface(proxy, terminal, channel, parker, connection, destination, first)
            return _SERVED
        return Downstream(
            proxy, terminal, channel, parker, connection, destination, is_tls=terminal.tls is not None
        ), first

    async def _terminate_tls(
        self, runtime: ListenerRuntime, terminal: HttpTerminal | TcpTerminal, connection: Connection, detected: Detected
    ) -> bool:
        # Shake hands. Returns: done; otherwise the connection cannot be served, and the reason is logged.
        assert terminal.tls is not None
        proxy, name = self._proxy, runtime.model.name
        context = proxy.current.tls.get(terminal.tls)
        if context is None:
            proxy.tls_failures += 1
            self._refused(runtime, connection, "TLS_error:|SECRET_NOT_READY:TLS_error_end")
            _log.warning("%s: no usable certificate for a connection from %s", name, self._remote)
            return False
        channel = TlsChannel(self.channel, context.to_answer(detected.inspected.protocols), server_side=True)
        self.channel = channel
        limit = proxy.deadlines.new(channel.end_recv)
        limit.arm(proxy.deadlines.now() + _HANDSHAKE_SECONDS)
        try:
            await channel.handshake(detected.data)
            security = context.verify_peer(channel)
        except OSError as exc:
            proxy.tls_failures += 1
            self._refused(runtime, connection, str(exc.strerror))
            if isinstance(exc, TlsError):
                _log.info("%s: %s from %s", name, exc.strerror, self._remote)
            return False
        finally:
            limit.close()
        connection.tls_version = security.version
        connection.is_mutual_tls = bool(channel.tls.getpeercert())
        connection.peer_principal = security.peer_principal
        connection.local_principal = security.local_principal
        return True

    def _note_certificate(self, connection: Connection, manager: HttpManager) -> None:
        # What x-forwarded-client-cert will say, for all requests of the connection.
        connection.certificate_rule = rule_of(manager.client_certificate, connection.is_mutual_tls)
        channel = self.channel
        if connection.is_mutual_tls and connection.certificate_rule.adds and isinstance(channel, TlsChannel):
            connection.client_certificate = client_certificate(
                channel.tls.getpeercert() or {},
                channel.tls.getpeercert(binary_form=True) or b"",
                manager.certificate_details,
                connection.local_principal,
            )

    def _refused(self, runtime: ListenerRuntime, connection: Connection, why: str, *flags: Flag) -> None:
        # No chain can serve the connection: its listener's log, or else the default one, is to say so.
        if self.log is None and runtime.refusal_loggers:
            self.log = ConnectionLog(runtime.refusal_loggers, TcpRecord(connection, self._proxy.deadlines.now()))
        if self.log is not None:
            self.log.record.flags = flags
            self.log.record.details = why

    async def _told_destination(self, destination: Address) -> Address | None:
        # By the PROXY header, which also says who the client really is. None: there is no good header.
        try:
            header = await receive_proxy_header(self.channel)
        except (ProtocolError, OSError) as exc:
            self._proxy.protocol_errors += 1
            _log.info("%s: PROXY header from %s: %s", self._runtime.model.name, self._direct_remote, exc)
            return None
        if header.source is None or header.destination is None:
            return destination  # the load balancer speaks for itself
        self._remote = _unmapped(Address(*header.source))
        return _unmapped(Address(*header.destination))

    async def _first_bytes(self, terminal: HttpTerminal) -> bytes | None:
        # Enough to tell HTTP/2 with prior knowledge from HTTP/1; None: the client left, or said nothing for too long.
        seconds = terminal.manager.request_headers_timeout_seconds or terminal.manager.idle_timeout_seconds
        idle = None
        data = b""
        try:
            while True:
                try:
                    more = self.channel.try_recv(SMALL_READ)
                except OSError:
                    return None
                if more == b"":
                    return data or None
                if more:
                    data += more
                    if len(data) >= 16 or not _PREFACE_START.startswith(data):
                        return data
                    continue
                if idle is None and seconds:
                    # No cancel scope is needed for this one wait.
                    idle = self._proxy.deadlines.new(self.channel.end_recv)
                    idle.arm(self._proxy.deadlines.now() + seconds)
                await self.channel.wait(READ)
        finally:
            if idle is not None:
                idle.close()

    def _destination(self) -> Address | None:
        # Where the client wanted to go. None: to this very socket, which would make us dial ourselves for ever.
        sock = self.channel.socket
        model = self._runtime.model
        if not (model.use_original_dst or ListenerFilter.ORIGINAL_DST in model.filters):
            host, port = sock.getsockname()[:2]
            return _unmapped(Address(host, port))
        found = original_dst(sock.fileno(), sock.family)
        if found is None:
            # Not redirected: dialled directly. That is fine for anything but the virtual listener's own port.
            host, port = sock.getsockname()[:2]
            if port == self._bound.port:
                self._proxy.loops += 1
                return None
            return _unmapped(Address(host, port))
        destination = Address(*found)
        if destination.port == self._bound.port and destination.host in (sock.getsockname()[0], self._remote.host):
            self._proxy.loops += 1
            return None
        return destination


def _verdict(detected: Detected) -> str:
    if detected.server_first:
        return "server_first"
    if detected.inspected.transport == "tls":
        return "tls"
    protocols = detected.inspected.protocols
    if "h2c" in protocols:
        return "http2"
    return "http1" if protocols else "opaque"


def _unmapped(address: Address) -> Address:
    if address.host.startswith("::ffff:") and "." in address.host:
        return Address(address.host[7:], address.port)
    return address
