"""A node agent connected to the runtime: packets in, packets out, descriptors beside them.

Packets that it does not take at once are kept, in order: the end of a container must not be lost.
"""

import json
import os
import select
import socket
from collections.abc import Callable
from typing import Any

from mesh.sandbox.node.poller import Poller

MAX_PACKET = 180 * 1024
_MAX_DESCRIPTORS = 3

Json = dict[str, Any]
OnRequest = Callable[["Peer", Json, list[int]], None]
"""(who asks, the request, descriptors, for the callee to close)"""


class Peer:
    """One connection (SOCK_SEQPACKET). Closes: `sock`, when the other end has gone."""

    def __init__(self, poller: Poller, sock: socket.socket, on_request: OnRequest, on_gone: Callable[["Peer"], None]) -> None:
        self._poller, self._sock = poller, sock
        self._on_request, self._on_gone = on_request, on_gone
        self._pending: list[tuple[bytes, list[int]]] = []
        self._gone = False
        sock.setblocking(False)
        poller.register(sock.fileno(), select.EPOLLIN, self._on_ready)

    def send(self, message: Json, fds: list[int] | None = None) -> None:
        """Send a packet now or later; nobody hears what is said to one that has gone. Closes: `fds`, when they are sent or can no longer be."""
        if self._gone:  # an answer that was long in coming, for example
            _close_all(fds or [])
            return
        self._pending.append((json.dumps(message).encode(), fds or []))
        try:
            self._flush()
        except (BrokenPipeError, ConnectionResetError):
            return  # the socket is readable too, and is cleaned up there
        self._wait()

    def _on_ready(self, events: int) -> None:
        try:
            if events & select.EPOLLOUT:
                self._flush()
            if events & (select.EPOLLIN | select.EPOLLHUP):
                data, fds, _flags, _address = socket.recv_fds(self._sock, MAX_PACKET, _MAX_DESCRIPTORS)
                if not data:
                    raise ConnectionResetError
                self._on_request(self, json.loads(data), fds)
        except BlockingIOError:
            pass
        except (ConnectionResetError, BrokenPipeError):
            self._leave()
            return
        self._wait()

    def _flush(self) -> None:
        while self._pending:
            data, fds = self._pending[0]
            try:
                socket.send_fds(self._sock, [data], fds) if fds else self._sock.send(data)
            except BlockingIOError:
                return
            self._pending.pop(0)
            _close_all(fds)

    def _wait(self) -> None:
        self._poller.modify(self._sock.fileno(), select.EPOLLIN | (select.EPOLLOUT if self._pending else 0))

    def _leave(self) -> None:
        self._gone = True
        self._poller.unregister(self._sock.fileno())
        self._sock.close()
        for _, fds in self._pending:
            _close_all(fds)
        self._pending.clear()
        self._on_gone(self)


def _close_all(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)
