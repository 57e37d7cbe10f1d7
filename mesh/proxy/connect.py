"""Connect: outgoing TCP connections on the poller."""

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
    """How connections are encrypted. server_name: sent as SNI, "" = none."""

    context: TlsContext
    server_name: str = ""


class ConnectTimeout(OSError):
    """The peer did not answer within the cluster's connect timeout."""


def start_connect(poller: Poller, parker: Parker, address: Address, options: DialOptions) -> Channel:
    """Send the SYN; `finish_connect` waits for the answer.

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


async def finish_connect(channel: Channel) -> None:
    """Wait for the handshake. Closes: the channel, unless it is connected. Raises: OSError."""
    try:
        while not is_connected(channel):
            await channel.wait(WRITE)
            error = connect_error(channel)
            if error is not None:
                raise error
    except BaseException:
        channel.close()
        raise


async def start_tls(channel: Channel, secure: Secure) -> TlsChannel:
    """Shake hands over a connected channel, which is used up. Closes: it, on any exception. Raises: TlsError; OSError."""
    encrypted: TlsChannel | None = None
    try:
        encrypted = TlsChannel(channel, secure.context.ssl, server_side=False, server_name=secure.server_name)
        await encrypted.handshake()
        secure.context.verify_peer(encrypted)
        return encrypted
    except ValueError as exc:
        channel.close()
        raise TlsError(f"BAD_SERVER_NAME:{secure.server_name}: {exc}") from exc
    except BaseException:
        (encrypted or channel).close()
        raise


async def dial(
    poller: Poller, parker: Parker, address: Address, options: DialOptions, secure: Secure | None = None
) -> Channel:
    """A connected channel, encrypted if `secure` says how; the timeout is for both.

    Raises: ConnectTimeout; TlsError; OSError: refused, unreachable, ...
    """
    channel = start_connect(poller, parker, address, options)
    with trio.move_on_after(options.timeout_seconds):
        await finish_connect(channel)
        return channel if secure is None else await start_tls(channel, secure)
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
