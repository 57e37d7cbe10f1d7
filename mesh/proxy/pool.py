# cython: language_level=3
"""Pool: the HTTP/1 connections of one cluster to one host, the freshest idle one first.

A pooled connection may die while it is idle. Three things keep that from hitting a request: the poller reports the
end of a stream and the connection is dropped there and then; if it had no chance to, the connection is looked at before
use; and the peer's announced or observed idle limit is stayed below.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial

import cython

from mesh.proxy.poller import Parker

if not cython.compiled:  # when compiled, pool.pxd cimports these names
    from mesh.proxy.balance.host import Host
    from mesh.proxy.breaker import Breaker
    from mesh.proxy.deadlines import Deadlines
    from mesh.proxy.upstream_h1 import UpstreamConnection

# Idle for less than this: the poller has looked since, or is about to.
_TRUSTED_SECONDS = 0.002
# An observed idle limit is met with this much to spare.
_SHARE_OF_LIMIT = 0.9


class Waiter:
    """A request that waits because the cluster may not open more connections."""

    parker: Parker
    connection: UpstreamConnection | None
    may_dial: bool

    def __init__(self, parker: Parker) -> None:
        self.parker = parker
        self.connection = None
        self.may_dial = False


class PoolSettings:
    """What a cluster says about its connections. 0 = no limit."""

    idle_seconds: float
    max_age_seconds: float
    max_requests: int

    def __init__(self, idle_seconds: float, max_age_seconds: float, max_requests: int) -> None:
        self.idle_seconds = idle_seconds
        self.max_age_seconds = max_age_seconds
        self.max_requests = max_requests


class Pool:
    """Sans-I/O but for closing. `open` counts connections in use, idle and being made.

    renewed_at: connections begun up to then are not kept: they are not secured as they should be now.
    """

    host: Host
    settings: PoolSettings
    open: int
    waiters: deque[Waiter]
    is_draining: bool
    renewed_at: float
    _breaker: Breaker
    _deadlines: Deadlines
    _on_empty: Callable[[Pool], None]
    _idle: list[UpstreamConnection]
    _idle_limit: float

    def __init__(
        self,
        host: Host,
        settings: PoolSettings,
        breaker: Breaker,
        deadlines: Deadlines,
        on_empty: Callable[[Pool], None],
    ) -> None:
        self.host = host
        self.settings = settings
        self._breaker = breaker
        self._deadlines = deadlines
        self._on_empty = on_empty
        self._idle = []
        self._idle_limit = float("inf")
        self.open = 0
        self.waiters = deque()
        self.is_draining = False
        self.renewed_at = float("-inf")

    @property
    def idle_count(self) -> int:
        return len(self._idle)

    def take(self, now: cython.double) -> UpstreamConnection | None:
        """An idle connection that is fit for use."""
        while self._idle:
            connection: UpstreamConnection = self._idle.pop()
            connection.channel.on_idle = None
            rested: cython.double = now - connection.idle_since
            is_fit: cython.bint = now < connection.usable_until and rested < self._idle_limit
            if (
                is_fit
                and not connection.channel.hung_up
                and (rested < _TRUSTED_SECONDS or connection.is_surely_alive())
            ):
                if connection.deadline is not None:
                    connection.deadline.lift()
                return connection
            self.discard(connection)
        return None

    def give_back(self, connection: UpstreamConnection, now: cython.double) -> None:
        """The exchange on it is over and it can serve another."""
        settings: PoolSettings = self.settings
        too_many: cython.bint = settings.max_requests != 0 and connection.served >= settings.max_requests
        too_old: cython.bint = (
            settings.max_age_seconds != 0 and now - connection.opened_at >= settings.max_age_seconds
        )
        is_former: cython.bint = connection.opened_at <= self.renewed_at
        if self.is_draining or is_former or too_many or too_old or connection.channel.hung_up:
            self.discard(connection)
            return
        if self.waiters:
            waiter = self.waiters.popleft()
            waiter.connection = connection
            waiter.parker.wake()
            return
        connection.idle_since = now
        if settings.idle_seconds:
            if connection.deadline is None:
                connection.deadline = self._deadlines.new(partial(self._drop_idle, connection))
            connection.deadline.arm(now + settings.idle_seconds)
        if connection.on_idle is None:
            connection.on_idle = partial(self._on_idle_event, connection)
        connection.channel.on_idle = connection.on_idle
        self._idle.append(connection)

    def discard(self, connection: UpstreamConnection) -> None:
        """Close it for good."""
        connection.close()
        self.forget()

    def forget(self) -> None:
        """One connection less (closed, or never made): whoever waits may make one."""
        self.open -= 1
        self._breaker.end_connection()
        if self.waiters:
            waiter = self.waiters.popleft()
            waiter.may_dial = True
            waiter.parker.wake()
        elif not self.open:
            self._on_empty(self)

    def drain(self) -> None:
        """The host is gone from the cluster: idle connections are closed now, busy ones after their exchange."""
        self.is_draining = True
        while self._idle:
            self.discard(self._idle.pop())

    def renew(self, now: cython.double) -> None:
        """Connections are secured in another way from now on: no request goes over one of the former kind."""
        self.renewed_at = now
        while self._idle:
            self.discard(self._idle.pop())

    def _on_idle_event(self, connection: UpstreamConnection) -> None:
        channel = connection.channel
        if not channel.is_readable:
            return  # an event about the sending side
        if channel.hung_up:
            rested = self._deadlines.now() - connection.idle_since
            # A limit below a second is no limit but a restart, and learning from it would empty the pool.
            if rested > 1.0:
                self._idle_limit = min(self._idle_limit, rested * _SHARE_OF_LIMIT)
        elif connection.is_alive():
            channel.is_readable = False
            return
        self._drop_idle(connection)

    def _drop_idle(self, connection: UpstreamConnection) -> None:
        if connection in self._idle:
            self._idle.remove(connection)
            self.discard(connection)
