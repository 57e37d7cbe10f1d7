"""Connection: from accept to close, and the one exception boundary around it.

Which listener's chains serve it is decided by where the client wanted to go; which chain, by that and, if need be, by
what the client's first bytes say. Whatever goes wrong with one connection ends here.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import trio

from mesh.codec.events import ProtocolError
from mesh.codec.sock import original_dst
from mesh.model.addr import Address
from mesh.model.failure import Flag
from mesh.model.listener import Direction, FilterChain, HttpManager, Listener, ListenerFilter
from mesh.proxy.chains import NOTHING, Inspected, needs_http, needs_inspection
from mesh.proxy.connect import Opening
from mesh.proxy.detect import HEAD_START_SECONDS, Detected, Patience, detect, hello_seconds, inspect, inspect_tls
from mesh.proxy.downstream_h1 import Downstream
from mesh.proxy.http2 import serve_http2_preface
from mesh.proxy.observe.record import Connection, TcpRecord
from mesh.proxy.opaque import Dialled, begin_opaque, serve_opaque
from mesh.proxy.poller import SMALL_READ, Parker
from mesh.proxy.proxy_header import receive_proxy_header
from mesh.proxy.snapshots import HttpTerminal, ListenerRuntime, TcpTerminal, Terminal
from mesh.proxy.tls import NO_TLS, TlsChannel, TlsError
from mesh.proxy.xfcc import client_certificate, rule_of

if TYPE_CHECKING:
    from mesh.proxy.deadlines import Deadline
    from mesh.proxy.observe.access_log import AccessLogger
    from mesh.proxy.pipeline import Proxy

_log = logging.getLogger(__name__)
_UNKNOWN = Connection()
_UNSEEN = Detected(NOTHING)
# Istio's transport_socket_connect_timeout.
_HANDSHAKE_SECONDS = 15.0
# Envoy's listener_filters_timeout.
_INSPECTION_SECONDS = 15.0
_SWITCHED = 101
_PREFACE_START = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


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


class Accepted:
    """One accepted connection, from there to its end. `begin` it once.

    States: *arriving* (which chain?) -> HTTP/1, served by a `Downstream`, or opaque. What need not wait is done at once, without
    a task; what has to wait does so in one, which ends when callbacks can go on. Whoever finds it over calls `end`.

    channel: the client's side; TLS replaces it. terminal: what serves it, once that is known.
    """

    __slots__ = (
        "_bound",
        "_chain",
        "_connection",
        "_destination",
        "_direct_remote",
        "_down",
        "_log",
        "_parker",
        "_proxy",
        "_remote",
        "_runtime",
        "_scope",
        "_silence",
        "_superseded",
        "channel",
        "is_outbound",
    )

    def __init__(
        self, proxy: Proxy, runtime: ListenerRuntime, sock: socket.socket, remote: tuple[Any, ...], bound: Address
    ) -> None:
        """Args: sock: not blocking. remote, bound: of accept, and of the listening socket."""
        self._proxy = proxy
        self._runtime = runtime
        self._parker = Parker()
        self._remote = self._direct_remote = _unmapped(Address(remote[0], remote[1]))
        self._bound = self._destination = bound
        self._connection = _UNKNOWN
        self._log: ConnectionLog | None = None
        self._down: Downstream | None = None
        self._chain: FilterChain | None = None
        self._scope: trio.CancelScope | None = None
        self._silence: Deadline | None = None
        self._superseded: Deadline | None = None
        self.is_outbound = runtime.model.direction is Direction.OUTBOUND
        self.channel = proxy.poller.open(sock, self._parker)
        proxy.connections.add(self)
        proxy.drain.opened(self.is_outbound)

    def begin(self) -> None:
        """Serve it, as far as that goes without waiting; tasks and callbacks do the rest. Raises: nothing."""
        try:
            if not self._arrive():
                self.end()
        except Exception as exc:
            self._crashed(exc)

    def serve(self) -> None:
        assert self._down is not None
        self._start(self._serve_http)

    def supersede(self, is_superseded: Callable[[Listener, FilterChain | None], bool]) -> None:
        """There is a new configuration. Drain the connection if the chain that it began with is no more."""
        if self._superseded is not None or not is_superseded(self._runtime.model, self._chain):
            return
        proxy = self._proxy
        if self._down is not None:
            self._down.must_close = True
        self._superseded = proxy.deadlines.new(self._cut)
        self._superseded.arm(proxy.deadlines.now() + proxy.drain.seconds)

    def _cut(self) -> None:
        # The drain time is over. An exchange that is going on is the connection's last anyway; everything else ends here.
        down = self._down
        if down is not None and not (down.record is not None and down.record.status == _SWITCHED):
            down.close_if_idle()
        elif self._scope is not None:
            self._scope.cancel()
        else:
            self.end()

    def end(self) -> None:
        """Close it. Idempotent."""
        proxy = self._proxy
        if self not in proxy.connections:
            return
        proxy.connections.discard(self)
        for limit in (self._silence, self._superseded):
            if limit is not None:
                limit.close()
        if self._down is not None:
            self._down.close()
            self._down = None
        self.channel.on_idle = None
        self.channel.close()
        if self._log is not None:
            self._log.end(proxy.deadlines.now())
        proxy.drain.closed(self.is_outbound)

    def _start(self, serve: Callable[[], Awaitable[bool]]) -> None:
        # serve: returns whether callbacks go on with the connection.
        nursery = self._proxy.listeners.nursery
        assert nursery is not None
        nursery.start_soon(self._run, serve)

    async def _run(self, serve: Callable[[], Awaitable[bool]]) -> None:
        goes_on = False
        try:
            with trio.CancelScope() as self._scope:
                goes_on = await serve()
                self._proxy.poller.flush()
        except Exception as exc:
            self._crashed(exc)
        finally:
            self._scope = None
            if not goes_on:
                self.end()

    def _crashed(self, error: Exception) -> None:
        self._proxy.crashes += 1
        _log.error("connection from %s on listener %s", self._remote, self._runtime.model.name, exc_info=error)
        self.end()

    def _arrive(self) -> bool:
        # Every step of the arrival returns whether the connection goes on: in a task that was started, or by callbacks.
        destination = self._find_destination()
        if destination is None:
            return False
        self._destination = destination
        if ListenerFilter.PROXY_PROTOCOL in self._runtime.model.filters:
            self._start(self._arrive_by_header)
            return True
        return self._enter()

    async def _arrive_by_header(self) -> bool:
        told = await self._told_destination(self._destination)
        if told is None:
            return False
        self._destination = told
        return self._enter()

    def _enter(self) -> bool:
        # The destination is known: which listener's chains serve it?
        proxy, destination = self._proxy, self._destination
        if self._runtime.model.use_original_dst:
            self._runtime = proxy.current.virtual.find(destination) or self._runtime
        runtime = self._runtime
        remote = str(self._remote)
        direct_remote = remote if self._direct_remote is self._remote else str(self._direct_remote)
        self._connection = Connection(remote, str(destination), direct_remote)
        if runtime.loggers:
            self._log = ConnectionLog(runtime.loggers, TcpRecord(self._connection, proxy.deadlines.now()))
        candidates = runtime.table.candidates(destination)
        if needs_inspection(candidates):
            self._start(partial(self._inspect, candidates))
            return True
        return self._choose(candidates, _UNSEEN, None)

    async def _inspect(self, candidates: tuple[FilterChain, ...]) -> bool:
        # The first bytes decide.
        proxy, runtime = self._proxy, self._runtime
        dialled: Dialled | None = None
        inspector = inspect if needs_http(candidates) else inspect_tls
        opaque = runtime.table.opaque(candidates, self._remote)
        terminal = runtime.terminal(opaque) if opaque is not None else None
        try:
            if isinstance(terminal, TcpTerminal):
                may_be_tls = any(chain.tls is not None for chain in candidates)
                detected, dialled = await self._race(terminal, self._destination, inspector, may_be_tls)
            else:
                silent = runtime.table.choose(candidates, NOTHING, self._remote)
                detected = await self._detect(runtime, inspector, silent)
        except OSError:
            return False  # gone before it said anything
        proxy.telemetry.detected(runtime.model.direction, _verdict(detected), proxy.deadlines.now())
        return self._choose(candidates, detected, dialled)

    def _choose(self, candidates: tuple[FilterChain, ...], detected: Detected, dialled: Dialled | None) -> bool:
        runtime, connection = self._runtime, self._connection
        connection.server_name = detected.inspected.server_name
        chain = runtime.table.choose(candidates, detected.inspected, self._remote)
        if chain is None:
            if dialled is not None:
                dialled.close()
            if detected is not _UNSEEN and not detected.data:
                return False  # gone without a word: a mesh client that found out in time that it speaks something else
            self._proxy.no_filter_chain += 1
            self._refused(runtime, connection, "filter_chain_not_found", Flag.NO_ROUTE)
            return False
        self._chain = chain
        terminal = runtime.terminal(chain)
        if isinstance(terminal, HttpTerminal) and dialled is not None:
            dialled.close()
            dialled = None
        if terminal.tls is None and isinstance(terminal, HttpTerminal):
            return self._begin_http(terminal, detected.data)
        self._start(partial(self._serve_chain, terminal, detected, dialled))
        return True

    async def _serve_chain(self, terminal: Terminal, detected: Detected, dialled: Dialled | None) -> bool:
        data = detected.data
        if terminal.tls is not None:
            # What was dialled for plaintext will do for the same server's bytes out of TLS.
            if dialled is not None and not (isinstance(terminal, TcpTerminal) and dialled.is_for(terminal)):
                dialled.close()
                dialled = None
            is_encrypted = False
            try:
                is_encrypted = await self._terminate_tls(self._runtime, terminal, self._connection, detected)
            finally:
                if dialled is not None and not is_encrypted:
                    dialled.close()
            if not is_encrypted:
                return False
            data = b""
        if isinstance(terminal, HttpTerminal):
            return self._begin_http(terminal, data)
        await serve_opaque(
            self._proxy, terminal, self.channel, self._parker, self._connection, self._destination, data, dialled
        )
        return False

    def _begin_http(self, terminal: HttpTerminal, data: bytes) -> bool:
        # HTTP/2 with prior knowledge is told from HTTP/1 by the first bytes, which may have to be waited for.
        if not data:
            more = self._first_bytes()
            if more is None:
                seconds = terminal.manager.request_headers_timeout_seconds or terminal.manager.idle_timeout_seconds
                if seconds:
                    self._silence = self._proxy.deadlines.new(self.end)
                    self._silence.arm(self._proxy.deadlines.now() + seconds)
                self.channel.on_idle = partial(self._on_first_bytes, terminal)
                return True
            if not more:
                return False
            data = more
        if _PREFACE_START.startswith(data[:16]):
            self.channel.on_idle = None
            self._start(partial(self._serve_preface, terminal, data))
            return True
        self._serve_http1(terminal, data)
        return True

    def _first_bytes(self) -> bytes | None:
        try:
            return self.channel.try_recv(SMALL_READ)
        except OSError:
            return b""

    def _on_first_bytes(self, terminal: HttpTerminal) -> None:
        # The poller's callback.
        try:
            data = self._first_bytes()
            if data is None:
                return
            if self._silence is not None:
                self._silence.close()
                self._silence = None
            if not data or not self._begin_http(terminal, data):
                self.end()
        except Exception as exc:
            self._crashed(exc)

    def _serve_http1(self, terminal: HttpTerminal, first: bytes) -> None:
        self._note_certificate(self._connection, terminal.manager)
        self._down = Downstream(
            self._proxy,
            terminal,
            self.channel,
            self._parker,
            self._connection,
            self._destination,
            self,
            is_tls=terminal.tls is not None,
        )
        self._down.must_close = self._superseded is not None
        self._down.begin(first)

    async def _serve_http(self) -> bool:
        assert self._down is not None
        await self._down.serve()
        return False

    async def _serve_preface(self, terminal: HttpTerminal, data: bytes) -> bool:
        # It looks like HTTP/2's so far.
        seconds = terminal.manager.request_headers_timeout_seconds or terminal.manager.idle_timeout_seconds
        limit = self._proxy.deadlines.new(self.channel.end_recv)
        if seconds:
            limit.arm(self._proxy.deadlines.now() + seconds)
        try:
            while len(data) < 16 and _PREFACE_START.startswith(data):
                more = await self.channel.recv(SMALL_READ)
                if not more:
                    return False
                data += more
        except OSError:
            return False
        finally:
            limit.close()
        if not data.startswith(_PREFACE_START[:16]):
            self._serve_http1(terminal, data)
            return True
        await serve_http2_preface(
            self._proxy, terminal, self.channel, self._parker, self._connection, self._destination, data
        )
        return False

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
        if self._log is None and runtime.refusal_loggers:
            self._log = ConnectionLog(runtime.refusal_loggers, TcpRecord(connection, self._proxy.deadlines.now()))
        if self._log is not None:
            self._log.record.flags = flags
            self._log.record.details = why

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

    def _find_destination(self) -> Address | None:
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
