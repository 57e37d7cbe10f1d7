"""Connection: the life of an accepted one, its tasks, and the one exception boundary around it.

`arrival` walks it to what serves it. Whatever goes wrong with one connection ends here.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import trio

from mesh.model.addr import Address
from mesh.model.listener import Direction, FilterChain, Listener
from mesh.proxy.connection_log import ConnectionLog
from mesh.proxy.downstream_h1 import Downstream
from mesh.proxy.poller import Channel, Parker

if TYPE_CHECKING:
    from mesh.proxy.deadlines import Deadline
    from mesh.proxy.pipeline import Proxy

_log = logging.getLogger(__name__)
_SWITCHED = 101


class Accepted:
    """One accepted connection, from there to its end.

    What need not wait is done at once, without a task (`attempt`); what has to wait does so in one (`start`), which ends
    when callbacks can go on. Whoever finds it over calls `end`.

    channel: the client's side; TLS replaces it. remote: who the client is, for logs. listener, chain: what serves it, the
    chain as soon as that is known.
    """

    __slots__ = (
        "_down",
        "_proxy",
        "_scope",
        "_silence",
        "_superseded",
        "chain",
        "channel",
        "is_outbound",
        "listener",
        "log",
        "parker",
        "remote",
    )

    def __init__(self, proxy: Proxy, listener: Listener, sock: socket.socket, remote: Address) -> None:
        """Args: sock: not blocking. Raises: OSError: no room for it in the epoll set."""
        self._proxy = proxy
        self._down: Downstream | None = None
        self._scope: trio.CancelScope | None = None
        self._silence: Deadline | None = None
        self._superseded: Deadline | None = None
        self.remote = remote
        self.listener = listener
        self.chain: FilterChain | None = None
        self.log = ConnectionLog()
        self.is_outbound = listener.direction is Direction.OUTBOUND
        self.parker = Parker()
        self.channel: Channel = proxy.poller.open(sock, self.parker)
        proxy.connections.add(self)
        proxy.drain.opened(self.is_outbound)

    def attempt(self, step: Callable[[], bool]) -> None:
        """Do it now. step: returns whether the connection goes on, in a task or by callbacks. Raises: nothing."""
        try:
            if not step():
                self.end()
        except Exception as exc:
            self._crashed(exc)

    def start(self, serve: Callable[[], Awaitable[bool]]) -> None:
        """Do it in a task. serve: returns whether callbacks go on with the connection."""
        nursery = self._proxy.listeners.nursery
        assert nursery is not None
        nursery.start_soon(self._run, serve)

    def limit_silence(self, seconds: float) -> None:
        """End the connection then, unless the client `spoke` before."""
        self._silence = self._proxy.deadlines.new(self.end)
        self._silence.arm(self._proxy.deadlines.now() + seconds)

    def spoke(self) -> None:
        if self._silence is not None:
            self._silence.close()
            self._silence = None

    def hand_over(self, down: Downstream, first: bytes) -> None:
        """It is HTTP/1 from here on. Args: first: the client's bytes so far."""
        self._down = down
        down.must_close = self._superseded is not None
        down.begin(first)

    def serve(self) -> None:
        """What was handed over has to wait for something."""
        self.start(self._serve)

    def supersede(self, is_superseded: Callable[[Listener, FilterChain | None], bool]) -> None:
        """There is a new configuration. Drain the connection if the chain that it began with is no more."""
        if self._superseded is not None or not is_superseded(self.listener, self.chain):
            return
        proxy = self._proxy
        if self._down is not None:
            self._down.must_close = True
        self._superseded = proxy.deadlines.new(self._cut)
        self._superseded.arm(proxy.deadlines.now() + proxy.drain.seconds)

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
        self.log.end(proxy.deadlines.now())
        proxy.drain.closed(self.is_outbound)

    async def _serve(self) -> bool:
        assert self._down is not None
        await self._down.serve()
        return False

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

    def _cut(self) -> None:
        # The drain time is over. An exchange that is going on is the connection's last anyway; everything else ends here.
        down = self._down
        if down is not None and not (down.record is not None and down.record.status == _SWITCHED):
            down.close_if_idle()
        elif self._scope is not None:
            self._scope.cancel()
        else:
            self.end()

    def _crashed(self, error: Exception) -> None:
        self._proxy.crashes += 1
        _log.error("connection from %s on listener %s", self.remote, self.listener.name, exc_info=error)
        self.end()
