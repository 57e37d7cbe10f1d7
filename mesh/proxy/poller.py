# cython: language_level=3
"""Poller: the readiness of every socket, from one edge-triggered epoll set that one trio task drives.

`trio.lowlevel.wait_readable` costs two `epoll_ctl` calls per wait; here a socket is registered once for its whole
life and a parked task is rescheduled directly. A channel is always tried first and waited for only after EAGAIN,
which makes the lost-wakeup argument short: between a failed try and the parking there is no checkpoint, so the
edge that follows the failure is dispatched by a later run of the poller's task, which finds the task parked.
"""

from __future__ import annotations

import resource
import select
import socket
from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import Any, ClassVar, Final

import cython
import trio
from trio.lowlevel import Abort, Task, current_task, reschedule, wait_task_rescheduled

if not cython.compiled:  # when compiled, poller.pxd cimports these names
    from mesh.codec.sock import is_quiet, try_recv, try_send

READ: Final = 1
WRITE: Final = 2
HANGUP: Final = 4
"""Interest bits. HANGUP: the peer shut its sending side down or is gone altogether."""

BIG_READ: Final = 262_144
"""Bytes per recv of a long body: 1.2 x Envoy's throughput; 64 KiB is 0.85 x."""
SMALL_READ: Final = 16_384
"""Bytes per recv where a head is expected: the buffer is allocated before its size is known."""

_EDGE = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET
_IN = select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR
_OUT = select.EPOLLOUT | select.EPOLLHUP | select.EPOLLERR
_HUP = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR
_SPINS = 8
_BATCH = 256
_STALE_SECONDS = 0.005


class Parker:
    """Where one task sleeps until a channel of its, or another task, wakes it. One task at a time."""

    _task: Task | None

    def __init__(self) -> None:
        self._task = None

    async def park(self) -> None:
        """Sleep until `wake`. Cancellable; a wake-up without a cause is possible, so callers loop."""
        self._task = current_task()
        await wait_task_rescheduled(self._abort)

    def wake(self) -> None:
        """Let the parked task go on; nothing happens when none is parked."""
        task = self._task
        if task is not None:
            self._task = None
            reschedule(task)

    def _abort(self, _raise_cancel: Any) -> Abort:
        self._task = None
        return Abort.SUCCEEDED


class Channel:
    """One non-blocking connected socket in the poller.

    parker: of the task that uses the channel now; the owner sets it when it takes the channel over.
    hung_up: the peer has shut down its sending side (what it sent before may still be unread).
    is_readable: a recv may find something; False spares the system call that would say EAGAIN.
    on_idle: called, from the poller, on any event while nobody waits: how a pool notices dead idle connections.
    can_splice: what the socket carries is what `try_recv` returns, so that the kernel may move it.
    """

    can_splice: ClassVar[bool] = True

    _poller: Poller
    _sock: socket.socket
    fd: int
    parker: Parker
    interest: int
    hung_up: bool
    is_readable: bool
    on_idle: Callable[[], None] | None

    def __init__(self, poller: Poller, sock: socket.socket, parker: Parker, is_readable: bool) -> None:
        self._poller = poller
        self._sock = sock
        self.fd = sock.fileno()
        self.parker = parker
        self.interest = 0
        self.hung_up = False
        self.is_readable = is_readable
        self.on_idle = None

    @property
    def socket(self) -> socket.socket:
        return self._sock

    @property
    def is_stale(self) -> bool:
        """The kernel was not asked for a while, so that the peer may have closed without our knowing."""
        return perf_counter() - self._poller.polled_at > _STALE_SECONDS

    @property
    def is_open(self) -> bool:
        return self.fd >= 0

    def try_recv(self, size: cython.Py_ssize_t) -> bytes | None:
        """Bytes that are there; b"" at the end of the stream; None when there is nothing yet.

        Raises: OSError: the connection is broken.
        """
        if not self.is_readable:
            return None
        data: bytes | None = try_recv(self.fd, size)
        if data is None or len(data) < size:
            # Drained: the next byte is a new edge. But the edge of a FIN may have come together with these bytes.
            self.is_readable = self.hung_up
        return data

    def try_send(self, data: bytes, offset: cython.Py_ssize_t = 0) -> int:
        """How many bytes of data[offset:] the kernel took, -1 when it takes none now. Raises OSError as try_recv."""
        return try_send(self.fd, data, offset)

    def is_quiet(self) -> bool:
        """Nothing was received: neither the end of the stream nor a byte. Asks the kernel."""
        return is_quiet(self.fd)

    def hand_over(self, successor: Channel) -> None:
        """Let `successor` have the socket and its events; this channel is closed from now on."""
        self._poller.replace(self.fd, successor)
        self.fd = -1

    async def wait(self, interest: int) -> None:
        """Park until one of the interest bits is signalled."""
        self.interest = interest
        try:
            await self.parker.park()
        finally:
            self.interest = 0

    async def recv(self, size: int) -> bytes:
        """Like `try_recv`, waiting for the first byte or the end."""
        while (data := self.try_recv(size)) is None:
            await self.wait(READ)
        return data

    async def send_all(self, data: bytes) -> None:
        """Hand everything to the kernel, waiting for room as needed: this is where backpressure comes from."""
        done = 0
        while done < len(data):
            sent = try_send(self.fd, data, done)
            if sent < 0:
                await self.wait(WRITE)
            else:
                done += sent

    def shutdown_send(self) -> None:
        """Send FIN; a connection that is already gone is fine."""
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # ENOTCONN: the peer reset it before we said goodbye

    def end_recv(self) -> None:
        """Make a waiting recv see the end of the stream."""
        try:
            self._sock.shutdown(socket.SHUT_RD)
        except OSError:
            pass  # ENOTCONN: it sees the end anyway

    def close(self) -> None:
        """Idempotent. The kernel takes the descriptor out of the epoll set by itself."""
        if self.fd >= 0:
            self._poller.forget(self.fd)
            self.fd = -1
            self._sock.close()

    def abort(self) -> None:
        """Close with RST instead of FIN: the peer must not take what it has for complete."""
        if self.fd >= 0:
            try:
                self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            except OSError:
                pass  # already disconnected: the plain close below says all there is to say
            self.close()


class Poller:
    """Concurrency: `run` in exactly one task; everything else from any task of the same trio run.

    after_batch: what callbacks want to be called at the end of the present batch of events.
    polled_at: when the kernel was last asked (`time.perf_counter`): what happened before has been dispatched.
    """

    _epoll: select.epoll
    _channels: dict[int, Channel]
    polled_at: float
    after_batch: list[Callable[[], None]]

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._channels = {}
        self.polled_at = 0.0
        self.after_batch = []

    def open(self, sock: socket.socket, parker: Parker, is_readable: bool = True) -> Channel:
        """Take a non-blocking socket over; the channel closes it. is_readable: bytes may be there already."""
        channel = Channel(self, sock, parker, is_readable)
        self._channels[channel.fd] = channel
        self._epoll.register(channel.fd, _EDGE)
        return channel

    def listen(self, sock: socket.socket, on_ready: Callable[[], None]) -> Channel:
        """Watch a listening socket, without edges: `on_ready` is called after every batch in which connections wait.

        After the batch, because a descriptor that the batch closes may be the very next one that accept returns.
        """
        channel = Channel(self, sock, Parker(), True)
        channel.on_idle = partial(self._defer, on_ready)
        self._channels[channel.fd] = channel
        self._epoll.register(channel.fd, select.EPOLLIN)
        return channel

    def mute(self, channel: Channel) -> None:
        """Do not call a listening socket's `on_ready` until `unmute`."""
        self._epoll.modify(channel.fd, 0)

    def unmute(self, channel: Channel) -> None:
        self._epoll.modify(channel.fd, select.EPOLLIN)

    def replace(self, fd: int, channel: Channel) -> None:
        """The descriptor's events go to another channel."""
        self._channels[fd] = channel

    def forget(self, fd: int) -> None:
        """The descriptor is about to be closed."""
        self._channels.pop(fd, None)

    async def run(self) -> None:
        """Wake parked tasks as their sockets become ready, until cancelled."""
        descriptor = self._epoll.fileno()
        while True:
            await trio.lowlevel.wait_readable(descriptor)
            # While there is work, polling again after the woken tasks ran is cheaper than trio's arming of the set.
            # Not more often than that: larger batches mean fewer wake-ups of the peers.
            for _ in range(_SPINS):
                if not self._dispatch():
                    break
                await trio.lowlevel.cancel_shielded_checkpoint()

    def close(self) -> None:
        self._epoll.close()

    def _dispatch(self) -> bool:
        events = self._epoll.poll(0, _BATCH)
        self.polled_at = perf_counter()
        channels = self._channels
        event: cython.uint
        ready: cython.int
        channel: Channel | None
        for fd, event in events:
            channel = channels.get(fd)
            if channel is None:
                continue  # closed by an on_idle callback of this batch
            ready = WRITE if event & _OUT else 0
            if event & _IN:
                channel.is_readable = True
                ready |= READ
            if event & _HUP:
                channel.hung_up = True
                ready |= HANGUP
            if channel.interest & ready:
                channel.parker.wake()
            elif channel.on_idle is not None:
                channel.on_idle()
        self.flush()
        return bool(events)

    def flush(self) -> None:
        """Do what callbacks put off: at the end of every batch, and after a task has called what callbacks call."""
        while self.after_batch:
            batch, self.after_batch = self.after_batch, []
            for act in batch:
                act()

    def _defer(self, act: Callable[[], None]) -> None:
        self.after_batch.append(act)


@cython.annotation_typing(False)  # type: ignore[untyped-decorator]  # whatever can wait like a Channel will do
async def wait_either(parker: Parker, first: Channel, bits: int, second: Channel, more_bits: int) -> None:
    """Park until one of two channels that share `parker` signals one of its bits."""
    first.interest = bits
    second.interest = more_bits
    try:
        await parker.park()
    finally:
        first.interest = second.interest = 0


def raise_descriptor_limit() -> int:
    """Make the soft limit of open files the hard one; returns it. Sidecars hold two per proxied connection."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard
