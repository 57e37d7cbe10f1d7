# cython: language_level=3
"""Upstream HTTP/1.1: one connection to one host, and one exchange at a time on it."""

from __future__ import annotations

import re
from collections.abc import Callable

import cython

from mesh.codec.h1 import Limits
from mesh.proxy.poller import Channel
from mesh.proxy.tls import Security

if not cython.compiled:  # when compiled, upstream_h1.pxd cimports these names
    from mesh.codec.h1 import ResponseParser
    from mesh.proxy.deadlines import Deadline

# Response heads may be as large as Envoy's default allows (60 KiB, 100 lines).
_LIMITS = Limits()
_KEEP_ALIVE_SECONDS = re.compile(rb"timeout\s*=\s*(\d{1,7})", re.IGNORECASE)
# Closed this much before the peer would: the peer's clock starts when it sent, ours when we received.
_MARGIN_SECONDS = 0.5


class UpstreamConnection:
    """A connected channel with its response parser.

    local_address: `host:port` of our side. on_idle: the pool's callback for events while it is idle.
    served: requests begun on it. usable_until: when the peer, by its own Keep-Alive header, closes it.
    security: who the peer has proved to be; None = plaintext. opened_at: when connecting began.
    """

    channel: Channel
    parser: ResponseParser
    deadline: Deadline | None
    local_address: str
    security: Security | None
    on_idle: Callable[[], None] | None
    opened_at: float
    idle_since: float
    usable_until: float
    served: int

    def __init__(self, channel: Channel, now: cython.double, security: Security | None = None) -> None:
        self.channel = channel
        self.security = security
        self.parser = ResponseParser(_LIMITS)
        self.opened_at = now
        self.idle_since = now
        self.usable_until = float("inf")
        self.served = 0
        self.deadline = None
        self.on_idle = None
        host, port = channel.socket.getsockname()[:2]
        self.local_address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def is_surely_alive(self) -> bool:
        """`is_alive`, asking the kernel only when the poller has not done so lately."""
        return not self.channel.is_stale or self.is_alive()

    def is_alive(self) -> bool:
        """Nothing was received while idle: neither the end of the stream nor bytes nobody asked for."""
        if self.channel.hung_up or not self.channel.is_open:
            return False
        return self.channel.is_quiet()

    def learn_idle_limit(self, keep_alive: bytes | None, now: cython.double) -> None:
        """Note the peer's `Keep-Alive: timeout=N`, so that we close first and never lose a request to its close."""
        if keep_alive is not None and (found := _KEEP_ALIVE_SECONDS.search(keep_alive)):
            self.usable_until = now + max(0.0, int(found[1]) - _MARGIN_SECONDS)

    def close(self) -> None:
        if self.deadline is not None:
            self.deadline.close()
        self.channel.close()
