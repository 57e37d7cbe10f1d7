"""Proxy header: what a load balancer before us says about a connection (PROXY protocol, v1 and v2).

Exactly the header is taken from the socket, so that whatever comes next (a ClientHello, say) is found where it always is.
A listener that expects the header serves nobody without it (Envoy's default): else any client could claim any address.
"""

from __future__ import annotations

import socket

import trio

from mesh.codec.events import ProtocolError
from mesh.codec.proxy_protocol import MAX_V2_BYTES, ProxyHeader, decode_proxy_header
from mesh.proxy.poller import READ, Channel

# Envoy's listener_filters_timeout.
_SECONDS = 15.0


async def receive_proxy_header(channel: Channel) -> ProxyHeader:
    """The header that the connection begins with, waiting for all of it.

    Raises: ProtocolError: there is none, it is malformed, or it did not come in time. OSError: the client is gone.
    """
    with trio.move_on_after(_SECONDS):
        return await _receive(channel)
    raise ProtocolError(408, f"no PROXY header within {_SECONDS:g} s")


async def _receive(channel: Channel) -> ProxyHeader:
    seen = -1
    while True:
        try:
            data = channel.socket.recv(MAX_V2_BYTES, socket.MSG_PEEK)
        except BlockingIOError:
            await channel.wait(READ)
            continue
        decoded = decode_proxy_header(data) if data else None
        if decoded is not None:
            header, length = decoded
            while length:
                length -= len(channel.try_recv(length) or b"")
            return header
        if channel.hung_up and len(data) == seen:
            raise ProtocolError(400, "closed inside the PROXY header" if data else "closed before the PROXY header")
        if not channel.hung_up:
            await channel.wait(READ)
        seen = len(data)
