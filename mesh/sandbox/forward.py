"""`python -m mesh.sandbox.forward`: relay TCP from 127.0.0.1 of the host to addresses in the node's network namespace.

Sockets belong to the namespace of the thread that makes them. One helper thread stays in the host's and makes the rare
listeners; the main thread moves into the node's and makes the frequent outgoing connections. Bytes move with splice(2)
through a pipe, never through Python.

Control: a Unix socket taking JSON lines.
    {"forwards": {"<ns>/<service>": {"<port>": "<ip>:<port>"}}}   the whole wish; listeners that stay keep their address
    {"wait": ["<ns>/<service>", "<port>"]}                        answered with {"address": "127.0.0.1:<port>"} as soon as it exists
The addresses are published in forwards.json.
"""

import argparse
import errno
import json
import logging
import os
import queue
import select
import socket
import struct
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mesh.sandbox import linux

_CHUNK_BYTES = 256 * 1024
_BACKLOG = 1024
_log = logging.getLogger("forward")

Forwards = dict[str, dict[str, str]]


@dataclass(slots=True)
class _Listener:
    sock: socket.socket
    target: tuple[str, int]


class Forwarder:
    """The listeners and who waits for one."""

    def __init__(self, loop: Loop, make_listener: Callable[[int], socket.socket], file: Path) -> None:
        self._loop, self._make, self._file = loop, make_listener, file
        self._listeners: dict[tuple[str, str], _Listener] = {}
        self._waiting: list[tuple[tuple[str, str], socket.socket]] = []
        self._before: Forwards = json.loads(file.read_text()) if file.exists() else {}

    def apply(self, wanted: Forwards) -> None:
        """Listen for exactly `wanted`."""
        flat = {(service, port): _address(target) for service, ports in wanted.items() for port, target in ports.items()}
        for key in [key for key in self._listeners if key not in flat]:
            gone = self._listeners.pop(key)
            self._loop.forget(gone.sock.fileno())
            gone.sock.close()
        for key, target in flat.items():
            if (known := self._listeners.get(key)) is not None:
                known.target = target
                continue
            sock = self._make(int(self._before.get(key[0], {}).get(key[1], ":0").rpartition(":")[2]))
            listener = self._listeners[key] = _Listener(sock, target)
            self._loop.watch(sock.fileno(), select.EPOLLIN, partial(self._accept, listener))
        self._publish()

    def wait(self, service: str, port: str, client: socket.socket) -> None:
        """Tell `client` the address as soon as there is one."""
        self._waiting.append(((service, port), client))
        self._tell()

    def forget_client(self, client: socket.socket) -> None:
        self._waiting = [entry for entry in self._waiting if entry[1] is not client]

    def _publish(self) -> None:
        addresses: Forwards = {}
        for (service, port), listener in sorted(self._listeners.items()):
            addresses.setdefault(service, {})[port] = _text(listener)
        fresh = self._file.with_suffix(".new")
        fresh.write_text(json.dumps(addresses, indent=1))
        fresh.rename(self._file)
        self._before = addresses
        self._tell()

    def _tell(self) -> None:
        for key, client in list(self._waiting):
            if (listener := self._listeners.get(key)) is not None:
                self._waiting.remove((key, client))
                try:
                    client.sendall(json.dumps({"address": _text(listener)}).encode() + b"\n")
                except OSError as exc:
                    _log.info("a waiting client has gone: %s", exc)

    def _accept(self, listener: _Listener, _events: int) -> None:
        try:
            client, _address = listener.sock.accept()
        except OSError as exc:  # the client went away before, or descriptors are used up: the next event tries again
            _log.info("accept: %s", exc)
            return
        client.setblocking(False)
        Relay(self._loop, client, stream_socket(listener.target), listener.target)


class Control:
    """One connection on the control socket."""

    def __init__(self, loop: Loop, sock: socket.socket, forwarder: Forwarder) -> None:
        self._loop, self._sock, self._forwarder = loop, sock, forwarder
        self._buffer = b""
        sock.setblocking(False)
        loop.watch(sock.fileno(), select.EPOLLIN, self._on_readable)

    def _on_readable(self, _events: int) -> None:
        try:
            data = self._sock.recv(65536)
        except OSError:
            data = b""
        if not data:
            self._loop.forget(self._sock.fileno())
            self._forwarder.forget_client(self._sock)
            self._sock.close()
            return
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            message = json.loads(line)
            if "forwards" in message:
                self._forwarder.apply(message["forwards"])
            else:
                service, port = message["wait"]
                self._forwarder.wait(service, port, self._sock)


def host_listeners() -> Callable[[int], socket.socket]:
    """Start the helper thread in the present network namespace; the function returned makes 127.0.0.1 listeners there."""
    wishes: queue.SimpleQueue[tuple[int, queue.SimpleQueue[socket.socket | OSError]]] = queue.SimpleQueue()

    def serve() -> None:
        while True:
            port, reply = wishes.get()
            try:
                reply.put(_listen(port))
            except OSError as exc:
                reply.put(exc)

    threading.Thread(target=serve, name="host-listeners", daemon=True).start()

    def make(port: int) -> socket.socket:
        reply: queue.SimpleQueue[socket.socket | OSError] = queue.SimpleQueue()
        wishes.put((port, reply))
        result = reply.get()
        if isinstance(result, OSError):
            raise result
        return result

    return make


def _listen(port: int) -> socket.socket:
    for candidate in dict.fromkeys((port, 0)):  # the address of before if it is still free
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", candidate))
        except OSError:
            sock.close()
            if candidate == 0:
                raise
            continue
        sock.listen(_BACKLOG)
        return sock
    raise AssertionError("port 0 is always tried")


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host, int(port)


def _text(listener: _Listener) -> str:
    host, port = listener.sock.getsockname()
    return f"{host}:{port}"


def main() -> None:
    """`python -m mesh.sandbox.forward --netns FILE --socket PATH --publish FILE`"""
    parser = argparse.ArgumentParser(prog="mesh.sandbox.forward")
    parser.add_argument("--netns", required=True)
    parser.add_argument("--socket", required=True, type=Path)
    parser.add_argument("--publish", required=True, type=Path)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    make_listener = host_listeners()
    linux.enter(options.netns, linux.CLONE_NEWNET)
    loop = Loop()
    forwarder = Forwarder(loop, make_listener, options.publish)
    options.socket.unlink(missing_ok=True)
    control = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    control.bind(str(options.socket))
    control.listen(16)
    loop.watch(control.fileno(), select.EPOLLIN, lambda _events: _accept_control(loop, control, forwarder))
    print("ready", flush=True)
    loop.run()


def _accept_control(loop: Loop, control: socket.socket, forwarder: Forwarder) -> None:
    sock, _ = control.accept()
    Control(loop, sock, forwarder)


if __name__ == "__main__":
    main()
