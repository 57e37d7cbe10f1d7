# cython: language_level=3
"""Seat: what the steps of an exchange know and change of the client's connection that they serve.

`downstream_h1.Downstream` is a seat that can have a task. Everything here is synchronous, so that the poller's callbacks
can serve a connection from its first request to its last without one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import cython

from mesh.model.addr import Address
from mesh.proxy.observe.record import Connection
from mesh.proxy.poller import Channel, Parker

if not cython.compiled:  # when compiled, seat.pxd cimports these names
    from mesh.codec.h1 import RequestHead, RequestParser
    from mesh.proxy.deadlines import Deadline, Deadlines
    from mesh.proxy.observe.http import HttpObserver
    from mesh.proxy.observe.record import Record
    from mesh.proxy.poller import Poller

if TYPE_CHECKING:
    from mesh.proxy.compiled_route import CompiledRoute
    from mesh.proxy.exchange import Decision
    from mesh.proxy.forwarding import Forwarding
    from mesh.proxy.pipeline import Proxy
    from mesh.proxy.snapshots import HttpTerminal


class Seat:
    """One HTTP/1 client connection. Concurrency: its own task, and callbacks while that is parked or not there yet.

    destination: where the client wanted to go. record, head: of the exchange that is going on.
    has_started: a byte of the current response may have left. must_close: no further request after this one.
    is_over: the connection ends with the response that just went out.
    has_task: the connection's task was started. It is when something has to wait for the first time, and then stays.
    forwarding, decision, error: what a callback leaves to the task: an exchange to go on with, one to begin, a bug.
    """

    proxy: Proxy
    terminal: HttpTerminal
    observer: HttpObserver
    channel: Channel
    parker: Parker
    poller: Poller
    deadlines: Deadlines
    connection: Connection
    destination: Address
    is_tls: bool
    parser: RequestParser
    record: Record | None
    head: RequestHead | None
    has_started: bool
    must_close: bool
    is_over: bool
    has_task: bool
    decision: Decision | None
    forwarding: Forwarding | None
    error: Exception | None
    idle: Deadline
    timeout: Deadline
    overall: Deadline

    def __init__(
        self,
        proxy: Proxy,
        terminal: HttpTerminal,
        channel: Channel,
        parker: Parker,
        connection: Connection,
        destination: Address,
        is_tls: bool,
        on_expiry: tuple[Callable[[], None], Callable[[], None], Callable[[], None]],
    ) -> None:
        """Args: on_expiry: of idle, timeout and overall."""
        self.proxy = proxy
        self.terminal = terminal
        self.observer = terminal.observer
        self.channel = channel
        self.parker = parker
        self.poller = proxy.poller
        self.deadlines = proxy.deadlines
        self.connection = connection
        self.destination = destination
        self.is_tls = is_tls
        self.parser = RequestParser(terminal.limits)
        self.record = None
        self.head = None
        self.has_started = self.must_close = self.is_over = self.has_task = False
        self.decision = None
        self.forwarding = None
        self.error = None
        self.idle = proxy.deadlines.new(on_expiry[0])
        self.timeout = proxy.deadlines.new(on_expiry[1])
        self.overall = proxy.deadlines.new(on_expiry[2])

    def after_exchange(self, keep: cython.bint, now: cython.double) -> None:
        """A response went out from a callback. keep: the connection can serve another request."""
        self.forwarding = None
        if not keep:
            self.leave()
            return
        self.parser.next()
        if self.parser.buffered or self.channel.is_readable or self.must_close:
            self.resume()
            return
        seconds: cython.double = self.terminal.manager.idle_timeout_seconds
        if seconds:
            self.idle.arm(now + seconds)
        else:
            self.idle.lift()  # the exchange's

    def resume(self) -> None:
        """Wake the task, or start it. From here on the connection is its own.

        Events that come before the task runs must not be decided by callbacks any more: they would take the body of the
        request that woke it for the next head.
        """
        self.channel.on_idle = None
        if self.has_task:
            self.parker.wake()
        else:
            self.has_task = True
            self.start_task()

    def leave(self) -> None:
        """The connection is over."""
        self.is_over = True
        if self.has_task:
            self.resume()
        else:
            self.hang_up()

    def start_task(self) -> None:
        """Start what goes on where the callbacks could not."""
        raise NotImplementedError

    def hang_up(self) -> None:
        """Close a connection that has no task to do so."""
        raise NotImplementedError

    def fail(self, error: Exception) -> None:
        """A callback failed: the connection's task is to raise this at its boundary."""
        self.error = error
        self.resume()

    def finish(self, record: Record) -> None:
        """The exchange is over: count, trace and log it, once."""
        self.record = None
        self.has_started = False
        self.timeout.lift()
        self.overall.lift()
        self.observer.end(record, self.deadlines.now())

    def is_draining(self) -> bool:
        """Answers say `connection: close`, but for those to a sidecar's own application: it stays to the end."""
        drain = self.proxy.drain
        return drain.is_draining and drain.concerns(self.terminal.is_outbound)

    def idle_seconds(self, route: CompiledRoute) -> float:
        """How long an exchange may stand still; infinity = for ever."""
        seconds = route.idle_timeout_seconds
        if seconds is None:
            seconds = self.terminal.manager.stream_idle_timeout_seconds
        return seconds or math.inf
