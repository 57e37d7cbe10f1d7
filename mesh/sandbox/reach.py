"""Reach: pods and the node connect to 198.18.0.1:<port> and come out on the host, at its API server or its trace collector.

Each target has one listener inside. Which port stands for which target is kept in a file, `{"<ip>:<port>": <port inside>}`, so that it is the
same after a restart; whoever needs a certain port inside writes the file before the daemon starts.
"""

import json
import logging
import select
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path

from mesh.sandbox.network import NODE_IP
from mesh.sandbox.relay import Loop, Relay, parse_address

_BACKLOG = 1024
_log = logging.getLogger("reach")


class Reach:
    """The listeners.

    Args: make_socket: makes the socket that connects to a target, in the host's network namespace.
          host: where to listen; the node's address.
    Raises: OSError: a port of the file is taken.
    """

    def __init__(self, loop: Loop, make_socket: Callable[[tuple[str, int]], socket.socket], file: Path, host: str = NODE_IP) -> None:
        self._loop, self._make_socket, self._file, self._host = loop, make_socket, file, host
        self._listeners: dict[str, socket.socket] = {}
        for target, port in read(file).items():
            self._listen(target, port)

    def address(self, target: str) -> str:
        """Where inside `target` ("<ip>:<port>" as the host sees it) is reached; a listener is made for a new one. Raises: ValueError, OSError."""
        if target not in self._listeners:
            self._listen(target, 0)
            write(self._file, {known: sock.getsockname()[1] for known, sock in self._listeners.items()})
        return f"{self._host}:{self._listeners[target].getsockname()[1]}"

    def close(self) -> None:
        """Listen no more; connections that were made go on."""
        for sock in self._listeners.values():
            self._loop.forget(sock.fileno())
            sock.close()
        self._listeners.clear()

    def _listen(self, target: str, port: int) -> None:
        address = parse_address(target)
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((self._host, port))
        except OSError:
            sock.close()
            raise
        sock.listen(_BACKLOG)
        self._listeners[target] = sock
        self._loop.watch(sock.fileno(), select.EPOLLIN, partial(self._accept, sock, address))

    def _accept(self, listener: socket.socket, target: tuple[str, int], _events: int) -> None:
        try:
            client, _ = listener.accept()
        except OSError as exc:  # the client went away before, or descriptors are used up: the next event tries again
            _log.info("accept: %s", exc)
            return
        client.setblocking(False)
        Relay(self._loop, client, self._make_socket(target), target)


def read(file: Path) -> dict[str, int]:
    """Targets and their ports inside."""
    found: dict[str, int] = json.loads(file.read_text()) if file.exists() else {}
    return found


def write(file: Path, ports: dict[str, int]) -> None:
    """Whole or not at all."""
    fresh = file.with_suffix(".new")
    fresh.write_text(json.dumps(ports, indent=1))
    fresh.rename(file)
