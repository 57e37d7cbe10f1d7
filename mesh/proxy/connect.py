"""Connect: outgoing connections on the poller: TCP, and the TLS handshake where one belongs to it."""

from __future__ import annotations

import errno
import os
import socket
import struct
from dataclasses import dataclass

import trio

from mesh.model.addr import Address
from mesh.model.cluster import Cluster, TcpKeepalive
from mesh.proxy.poller import WRITE, Channel, Parker, Poller
from mesh.proxy.tls import TlsChannel, TlsError
from mesh.proxy.tls_context import TlsContext

_IP_BIND_ADDRESS_NO_PORT = 24
_MESH_SNI = "outbound_."


@dataclass(frozen=True, slots=True)
class DialOptions:
    """How connections of one cluster are opened. bind_host "" = any source address."""

    timeout_seconds: float = 10.0
    bind_host: str = ""
    keepalive: TcpKeepalive | None = None

    @classmethod
    def of(cls, cluster: Cluster) -> DialOptions:
        return cls(cluster.connect_timeout_seconds, cluster.bind_host, cluster.tcp_keepalive)


@dataclass(frozen=True, slots=True)
class Secure:
    """How connections are encrypted. server_name: sent as SNI, "" = none. is_opaque: what is sent will not be HTTP."""

    context: TlsContext
    server_name: str = ""
    is_opaque: bool = False


class ConnectTimeout(OSError):
    """The peer did not answer within the cluster's connect timeout."""


def start_connect(poller: Poller, parker: Parker, address: Address, options: DialOptions) -> Channel:
    """Send the SYN; an `Opening` takes it from there.

    Raises: OSError: the kernel refused at once (no route, no descriptor, bind address not there).
    """
    ipv6 = ":" in address.host
    sock = socket.socket(socket.AF_INET6 if ipv6 else socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if options.keepalive is not None:
            _set_keepalive(sock, options.keepalive)
        if options.bind_host:
            # The port is chosen at connect time, by the whole four-tuple: otherwise 28,000 connections exhaust it.
            sock.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
            sock.bind((_source(options.bind_host, ipv6), 0))
        code = sock.connect_ex((address.host, address.port))
        if code not in (0, errno.EINPROGRESS):
            raise OSError(code, os.strerror(code))
        return poller.open(sock, parker, is_readable=False)
    except BaseException:
        sock.close()
        raise


def connect_error(channel: Channel) -> OSError | None:
    """What became of a connect that has signalled WRITE; None when it succeeded."""
    code = channel.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    return OSError(code, os.strerror(code)) if code else None


def is_connected(channel: Channel) -> bool:
    """The handshake is over and succeeded."""
    # TCP_INFO's first byte is the state; 1 is ESTABLISHED, 8 CLOSE_WAIT (the peer already shut down).
    state: int = struct.unpack("B", channel.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1))[0]
    return state in (1, 8)


class Opening:
    """A connection on its way: TCP's handshake, then TLS's if `secure` says how. Waits for nothing itself.

    channel: what to wait on, and to use in the end; another one once TLS begins.
    """

    __slots__ = ("_is_connected", "_is_open", "_secure", "channel")

    def __init__(self, channel: Channel, secure: Secure | None = None) -> None:
        self.channel = channel
        self._secure = secure
        self._is_connected = False
        self._is_open = False

    def step(self) -> int:
        """As far as it goes. Returns: the bits to wait for; 0: the connection is open, and the peer verified.

        Raises: TlsError: that is no TLS, or not whom we want; OSError: refused, unreachable, reset.
        """
        if self._is_open:
            return 0
        if not self._is_connected:
            if not is_connected(self.channel):
                error = connect_error(self.channel)
                if error is not None:
                    raise error
                return WRITE
            self._is_connected = True
            if self._secure is not None:
                self._begin_tls(self._secure)
        channel, secure = self.channel, self._secure
        if secure is not None and isinstance(channel, TlsChannel):
            interest = channel.try_handshake()
            if interest:
                return interest
            secure.context.verify_peer(channel)
        self._is_open = True
        return 0

    def is_about_to_encrypt(self) -> bool:
        """TCP's handshake is over, and the dear part would begin."""
        return self._secure is not None and not self._is_connected and is_connected(self.channel)

    async def finish(self) -> Channel:
        """Wait until it is open. Closes: the channel, on any exception. Raises: as `step`."""
        try:
            while interest := self.step():
                await self.channel.wait(interest)
        except BaseException:
            self.channel.close()
            raise
        return self.channel

    def has_bytes(self) -> bool:
        """Of an open one: the peer has said something, if only that it is done."""
        channel = self.channel
        return channel.peek() if isinstance(channel, TlsChannel) else channel.is_readable

    def _begin_tls(self, secure: Secure) -> None:
        context = secure.context.to_send(secure.is_opaque)
        try:
            self.channel = TlsChannel(self.channel, context, server_side=False, server_name=secure.server_name)
        except ValueError as exc:
            if secure.server_name.startswith(_MESH_SNI):
                # A long subset or host. In the mesh nobody is chosen, nor verified, by this name: better without it than not at all.
                self.channel = TlsChannel(self.channel, context, server_side=False)
                return
            raise TlsError(f"BAD_SERVER_NAME:{secure.server_name}: {exc}") from exc


async def dial(
    poller: Poller, parker: Parker, address: Address, options: DialOptions, secure: Secure | None = None
) -> Channel:
    """A connected channel, encrypted if `secure` says how; the timeout is for both.

    Raises: ConnectTimeout; TlsError; OSError: refused, unreachable, ...
    """
    opening = Opening(start_connect(poller, parker, address, options), secure)
    with trio.move_on_after(options.timeout_seconds):
        return await opening.finish()
    raise ConnectTimeout(errno.ETIMEDOUT, f"no answer from {address} within {options.timeout_seconds:g} s")


def set_nodelay(sock: socket.socket) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _source(bind_host: str, ipv6: bool) -> str:
    # Istio's interception rules exempt 127.0.0.6 and, for IPv6, ::6.
    if ipv6 and bind_host == "127.0.0.6":
        return "::6"
    return bind_host


def _set_keepalive(sock: socket.socket, keepalive: TcpKeepalive) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if keepalive.probes is not None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, keepalive.probes)
    if keepalive.time_seconds is not None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, keepalive.time_seconds)
    if keepalive.interval_seconds is not None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, keepalive.interval_seconds)
