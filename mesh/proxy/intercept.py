"""Intercept: listening sockets that follow the configuration, and the connections accepted on them.

A listener that is gone or moved closes its socket; its connections live on. Chains are looked up per connection, so
that a listener whose chains change needs no new socket.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
from collections.abc import Mapping
from typing import TYPE_CHECKING

import trio

from mesh.model.addr import Address
from mesh.model.listener import Direction, Listener
from mesh.proxy.connection import serve_connection
from mesh.proxy.poller import READ, Channel, Parker

if TYPE_CHECKING:
    from mesh.proxy.pipeline import Proxy
    from mesh.proxy.snapshots import ListenerRuntime

_log = logging.getLogger(__name__)
_BACKLOG = 4096
_ACCEPTS_PER_TURN = 64
_EXHAUSTED = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))


class Listeners:
    """The bound listeners of a proxy.

    nursery: where connections live; set while the proxy runs. accepted: connections, ever, by listener name.
    """

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self._sockets: dict[tuple[str, Address], tuple[socket.socket, trio.CancelScope]] = {}
        self.nursery: trio.Nursery | None = None
        self.accepted: dict[str, int] = {}

    def addresses(self, name: str) -> list[Address]:
        """Where a listener is bound, with the real port where the configuration says 0."""
        return [
            Address(*sock.getsockname()[:2]) for (listener, _), (sock, _) in self._sockets.items() if listener == name
        ]

    def update(self, listeners: Mapping[str, ListenerRuntime]) -> dict[str, str]:
        """Open and close sockets. Returns: listener name -> why it could not be bound."""
        wanted = {
            (name, address): runtime.model
            for name, runtime in listeners.items()
            if runtime.model.bind_to_port
            for address in (runtime.model.address, *runtime.model.additional_addresses)
        }
        for key in [key for key in self._sockets if key not in wanted]:
            self._close(key)
        problems: dict[str, str] = {}
        for (name, address), model in wanted.items():
            if (name, address) not in self._sockets:
                problem = self._open(name, address, is_first=address == model.address)
                if problem:
                    problems[name] = problem
        return problems

    def close_inbound(self) -> None:
        """Stop accepting for others; the application's own outbound connections are still taken."""
        for name, address in list(self._sockets):
            runtime = self._proxy.current.listeners.get(name)
            if runtime is None or self._proxy.drain.concerns(is_outbound(runtime.model)):
                self._close((name, address))

    def close(self) -> None:
        for key in list(self._sockets):
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
        scope = trio.CancelScope()
        self._sockets[name, address] = (sock, scope)
        channel = self._proxy.poller.open(sock, Parker())
        self.nursery.start_soon(self._accept, name, sock, channel, Address(*sock.getsockname()[:2]), scope)
        return ""

    def _close(self, key: tuple[str, Address]) -> None:
        sock, scope = self._sockets.pop(key)
        scope.cancel()
        self._proxy.poller.forget(sock.fileno())
        sock.close()

    async def _accept(
        self, name: str, sock: socket.socket, channel: Channel, local: Address, scope: trio.CancelScope
    ) -> None:
        with scope:
            while True:
                await trio.lowlevel.checkpoint_if_cancelled()  # closed before it began
                if await self._accept_some(name, sock, local):
                    await trio.lowlevel.checkpoint()
                else:
                    await channel.wait(READ)

    async def _accept_some(self, name: str, sock: socket.socket, local: Address) -> bool:
        # Returns: whether there may be more.
        assert self.nursery is not None
        for _ in range(_ACCEPTS_PER_TURN):
            try:
                accepted, remote = sock.accept()
            except BlockingIOError:
                return False
            except ConnectionAbortedError:
                continue
            except OSError as exc:
                if exc.errno not in _EXHAUSTED:
                    raise
                # Nothing to do but to wait for others to close: without the pause this would be a busy loop.
                _log.error("listener %s cannot accept: %s", name, os.strerror(exc.errno))
                await trio.sleep(0.1)
                return True
            runtime = self._proxy.current.listeners.get(name)
            if runtime is None:
                accepted.close()
                continue
            accepted.setblocking(False)
            self.accepted[name] = self.accepted.get(name, 0) + 1
            self.nursery.start_soon(serve_connection, self._proxy, runtime, accepted, remote, local)
        return True


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
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((address.host, address.port))
        sock.listen(_BACKLOG)
        return sock
    except BaseException:
        sock.close()
        raise
