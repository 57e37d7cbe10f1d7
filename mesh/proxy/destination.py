"""Destination: where a client wanted to go, and who it says it is.

The socket knows it: the kernel keeps what iptables redirected. A load balancer before us knows better, and says so (PROXY header).
"""

from __future__ import annotations

import socket
from typing import Any

from mesh.codec.proxy_protocol import ProxyHeader
from mesh.codec.sock import original_dst
from mesh.model.addr import Address
from mesh.model.listener import Listener, ListenerFilter


class Loop(Exception):
    """The connection is meant for the very socket that accepted it: serving it would mean to dial ourselves for ever."""


def destination_of(sock: socket.socket, listener: Listener, bound: Address, remote: Address) -> Address:
    """Where the client wanted to go. Args: bound: of the listening socket. Raises: Loop."""
    if not (listener.use_original_dst or ListenerFilter.ORIGINAL_DST in listener.filters):
        return address_of(*sock.getsockname())
    found = original_dst(sock.fileno(), sock.family)
    if found is None:
        # Not redirected: dialled directly. That is fine for anything but the virtual listener's own port.
        dialled = address_of(*sock.getsockname())
        if dialled.port == bound.port:
            raise Loop
        return dialled
    destination = Address(*found)
    if destination.port == bound.port and destination.host in (sock.getsockname()[0], remote.host):
        raise Loop
    return destination


def told_by(header: ProxyHeader) -> tuple[Address, Address] | None:
    """(client, destination); None: the load balancer speaks for itself."""
    if header.source is None or header.destination is None:
        return None
    return address_of(*header.source), address_of(*header.destination)


def address_of(host: str, port: int, *_more: Any) -> Address:
    """Of a socket's address. An IPv4 address that an IPv6 socket has mapped is told as what it is."""
    if host.startswith("::ffff:") and "." in host:
        host = host[7:]
    return Address(host, port)
