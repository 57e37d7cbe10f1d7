"""Relay bytes between two sockets with splice(2), many pairs in one epoll loop; never through Python.

One Relay is: a client that was accepted, and a server being connected to. Half-closes travel by themselves; a break on one side is a
break on the other. Works for TCP and Unix sockets.
"""

import errno
import ipaddress
import logging
import os
import select
import socket
import struct
from collections.abc import Callable

_CHUNK_BYTES = 256 * 1024
_log = logging.getLogger("forward")


class Loop:
    """An epoll loop with one handler per descriptor."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._handlers: dict[int, Callable[[int], None]] = {}
        self._events: dict[int, int] = {}

    def watch(self, fd: int, events: int, handler: Callable[[int], None]) -> None:
        """Call `handler(events)` while `fd` is ready for any of `events`."""
        self._handlers[fd] = handler
        self._events[fd] = 0
        self.change(fd, events)

    def change(self, fd: int, events: int) -> None:
        """Watch for other events. None at all leaves epoll, which would report a hang-up again and again."""
        before, self._events[fd] = self._events[fd], events
        if before == events:
            return
        if not before:
            self._epoll.register(fd, events)
        elif not events:
            self._epoll.unregister(fd)
        else:
            self._epoll.modify(fd, events)

    def forget(self, fd: int) -> None:
        self.change(fd, 0)
        del self._handlers[fd], self._events[fd]

    def run(self) -> None:
        while True:
            for fd, events in self._epoll.poll():
                if (handler := self._handlers.get(fd)) is not None:
                    handler(events)


class _Direction:
    """Bytes from one socket to the other. `ended` = the source said it is done; `closed` = the sink was told so."""

    __slots__ = ("closed", "ended", "pending", "read", "sink", "source", "write")

    def __init__(self, source: socket.socket, sink: socket.socket) -> None:
        self.source, self.sink = source, sink
        self.read, self.write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.pending = 0
        self.ended = self.closed = False

    def pump(self) -> None:
        """Move what can be moved now.

        Raises: OSError: one of the two is broken.
        """
        flags = os.SPLICE_F_NONBLOCK | os.SPLICE_F_MOVE
        while True:
            if self.pending:
                try:
                    self.pending -= os.splice(self.read, self.sink.fileno(), self.pending, flags=flags)
                except BlockingIOError:
                    return
            elif self.ended:
                if not self.closed:
                    self.closed = True
                    self.sink.shutdown(socket.SHUT_WR)
                return
            else:
                try:
                    moved = os.splice(self.source.fileno(), self.write, _CHUNK_BYTES, flags=flags)
                except BlockingIOError:
                    return
                self.pending = moved
                self.ended = moved == 0

    def close(self) -> None:
        os.close(self.read)
        os.close(self.write)


class Relay:
    """One accepted connection and its counterpart.

    Args: server: a non-blocking socket, not yet connected; it decides by its own network namespace where `target` is.
          opening: sent to the client as soon as the target answers.
          refusal: makes what is sent to the client when the target cannot be reached; None breaks the connection instead.
    Closes: both sockets, when the relay is over.
    """

    def __init__(
        self,
        loop: Loop,
        client: socket.socket,
        server: socket.socket,
        target: tuple[str, int],
        opening: bytes = b"",
        refusal: Callable[[str], bytes] | None = None,
    ) -> None:
        self._loop, self._client, self._server, self._target = loop, client, server, target
        self._opening, self._refusal = opening, refusal
        for sock in (client, server):
            if sock.family != socket.AF_UNIX:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._up = _Direction(client, server)
        self._down = _Direction(server, client)
        self._connected = False
        result = server.connect_ex(target)
        if result not in (0, errno.EINPROGRESS):
            self._refuse(os.strerror(result), watched=False)
            return
        loop.watch(server.fileno(), select.EPOLLOUT, self._on_event)
        loop.watch(client.fileno(), 0, self._on_event)

    def _on_event(self, events: int) -> None:
        try:
            if not self._connected:
                if number := self._server.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                    self._refuse(os.strerror(number))
                    return
                if not events & select.EPOLLOUT:
                    return
                self._connected = True
                self._client.sendall(self._opening)  # the first bytes on this connection: there is room for them
            self._up.pump()
            self._down.pump()
        except OSError as exc:
            self._close(exc.strerror or str(exc))
            return
        if self._up.closed and self._down.closed:
            self._close(None)
            return
        self._loop.change(self._client.fileno(), _interest(self._up, self._down))
        self._loop.change(self._server.fileno(), _interest(self._down, self._up))

    def _refuse(self, why: str, *, watched: bool = True) -> None:
        if self._refusal is None:
            self._close(why, watched=watched)
            return
        _log.debug("%s:%d: %s", *self._target, why)
        try:
            self._client.sendall(self._refusal(why))
        except OSError:
            pass  # the client has gone: nobody is left to be told
        self._close(None, watched=watched)

    def _close(self, why: str | None, *, watched: bool = True) -> None:
        if why is not None:
            _log.debug("%s:%d: %s", *self._target, why)
            # The other side is to see the break as a break: reset, do not end politely. (Unix sockets take the option and ignore it.)
            linger = struct.pack("ii", 1, 0)
            for sock in (self._client, self._server):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        for sock in (self._client, self._server):
            if watched:
                self._loop.forget(sock.fileno())
            sock.close()
        self._up.close()
        self._down.close()


def _interest(reading: _Direction, writing: _Direction) -> int:
    """What one socket is watched for: it is the source of `reading` and the sink of `writing`."""
    events = 0
    if not reading.pending and not reading.ended:
        events |= select.EPOLLIN
    if writing.pending:
        events |= select.EPOLLOUT
    return events


def stream_socket(target: tuple[str, int]) -> socket.socket:
    """A non-blocking TCP socket of the family of `target`, in the calling thread's network namespace."""
    family = socket.AF_INET6 if ":" in target[0] else socket.AF_INET
    return socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)


def parse_address(text: str) -> tuple[str, int]:
    """("127.0.0.1", 80) of "127.0.0.1:80"; an IPv6 address is in brackets. Raises: ValueError naming the text."""
    host, _, port = text.rpartition(":")
    try:
        return str(ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))), int(port)
    except ValueError as exc:
        raise ValueError(f"{text!r} is not <ip>:<port>") from exc
