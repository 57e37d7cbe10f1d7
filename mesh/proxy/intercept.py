"""Intercept: listening sockets that follow the configuration, and the connections accepted on them.

A listener that is gone or moved closes its socket; its connections live on. Chains are looked up per connection, so
that a listener whose chains change needs no new socket.
"""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Mapping
from typing import TYPE_CHECKING

import trio

from mesh.model.addr import Address
from mesh.model.listener import Direction, Listener
from mesh.proxy.arrival import Arrival
from mesh.proxy.connect import set_nodelay

if TYPE_CHECKING:
    from mesh.proxy.pipeline import Proxy
    from mesh.proxy.snapshots import ListenerRuntime

_log = logging.getLogger(__name__)
_BACKLOG = 4096
_ACCEPTS_PER_TURN = 64
_PAUSE_SECONDS = 0.1


class Listeners:
    """The bound listeners of a proxy.

    nursery: where connections live; set while the proxy runs. accepted: connections, ever, by listener name.
    """

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self._open_ones: dict[tuple[str, Address], _Acceptor] = {}
        self.nursery: trio.Nursery | None = None
        self.accepted: dict[str, int] = {}

    def addresses(self, name: str) -> list[Address]:
        """Where a listener is bound, with the real port where the configuration says 0."""
        return [
            acceptor.bound for (listener, _), acceptor in self._open_ones.items() if listener == name
        ]

    def update(self, listeners: Mapping[str, ListenerRuntime]) -> dict[str, str]:
        """Open and close sockets. Returns: listener name -> why it could not be bound."""
        wanted = {
            (name, address): runtime.model
            for name, runtime in listeners.items()
            if runtime.model.bind_to_port
            for address in (runtime.model.address, *runtime.model.additional_addresses)
        }
        for key in [key for key in self._open_ones if key not in wanted]:
            self._close(key)
        problems: dict[str, str] = {}
        for (name, address), model in wanted.items():
            if (name, address) not in self._open_ones:
                problem = self._open(name, address, is_first=address == model.address)
                if problem:
                    problems[name] = problem
        return problems

    def close_inbound(self) -> None:
        """Stop accepting for others; the application's own outbound connections are still taken."""
        for name, address in list(self._open_ones):
            runtime = self._proxy.current.listeners.get(name)
            if runtime is None or self._proxy.drain.concerns(is_outbound(runtime.model)):
                self._close((name, address))

    def close(self) -> None:
        for key in list(self._open_ones):
            self._close(key)

    def _open(self, name: str, address: Address, is_first: bool) -> str:
        try:
            sock = _bind(address)
        except OSError as exc:
            if not is_first and exc.errno in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                _log.info("listener %s: %s is not available here: %s", name, address, exc.strerror)
                return ""
            _log.error("listener %s cannot bind %s: %s", name, address, exc.strerror)
            return f"cannot bind {address}: {exc.strerror}"
        assert self.nursery is not None, "update() before run()"
        self._open_ones[name, address] = _Acceptor(self._proxy, name, sock)
        return ""

    def _close(self, key: tuple[str, Address]) -> None:
        self._open_ones.pop(key).close()


class _Acceptor:
    """A listening socket. bound: its address, with the real port."""

    def __init__(self, proxy: Proxy, name: str, sock: socket.socket) -> None:
        self.bound = Address(*sock.getsockname()[:2])
        self._proxy = proxy
        self._name = name
        self._sock = sock
        self._channel = proxy.poller.listen(sock, self._accept)
        self._pause = proxy.deadlines.new(self._unmute)

    def close(self) -> None:
        self._pause.close()
        self._channel.close()

    def _accept(self) -> None:
        # The poller's callback, again and again while connections wait.
        counts = self._proxy.listeners.accepted
        for _ in range(_ACCEPTS_PER_TURN):
            if not self._channel.is_open:
                return
            try:
                sock, remote = self._sock.accept()
            except BlockingIOError:
                return
            except OSError as exc:
                self._failed(exc)
                return
            runtime = self._proxy.current.listeners.get(self._name)
            if runtime is None:
                sock.close()
                continue
            sock.setblocking(False)
            counts[self._name] = counts.get(self._name, 0) + 1
            try:
                arrival = Arrival(self._proxy, runtime, sock, remote, self.bound)
            except OSError as exc:  # no room in the epoll set
                sock.close()
                self._failed(exc)
                return
            arrival.begin()

    def _failed(self, error: OSError) -> None:
        if error.errno == errno.ECONNABORTED:
            return  # by the client; the poller calls again if there are others
        # Out of descriptors or memory: nothing to do but to wait for others to close. Without a pause this would be a busy loop.
        _log.error("listener %s cannot accept: %s", self._name, error.strerror)
        self._proxy.poller.mute(self._channel)
        self._pause.arm(self._proxy.deadlines.now() + _PAUSE_SECONDS)

    def _unmute(self) -> None:
        self._proxy.poller.unmute(self._channel)


def is_outbound(model: Listener) -> bool:
    """Serves the application next to us, not others."""
    return model.direction is Direction.OUTBOUND


def _bind(address: Address) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # A proxy that takes over binds beside the one that drains.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        set_nodelay(sock)  # accepted connections inherit it
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((address.host, address.port))
        sock.listen(_BACKLOG)
        return sock
    except BaseException:
        sock.close()
        raise
