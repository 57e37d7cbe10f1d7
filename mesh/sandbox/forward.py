"""`python -m mesh.sandbox.forward`: relay TCP between the host's network namespace and the node's, in three directions.

- In, by listeners: from 127.0.0.1 of the host to addresses in the node's namespace (here).
- In, by name: an HTTP CONNECT proxy on a Unix socket, through which an API server on the host reaches kubelet, webhooks and pods (`egress`).
- Out: from the node's address to an address that the host reaches: its API server, its trace collector (`reach`).

Sockets belong to the namespace of the thread that makes them. One helper thread stays in the host's and makes sockets there;
the main thread moves into the node's. Bytes move with splice(2) (`relay`).

Control: a Unix socket taking JSON lines.
    {"forwards": {"<ns>/<service>": {"<port>": "<ip>:<port>"}}}   the whole wish; listeners that stay keep their address
    {"wait": ["<ns>/<service>", "<port>"]}                        answered with {"address": "127.0.0.1:<port>"} as soon as it exists
    {"reach": "<ip>:<port>"}                                      answered with {"address": "198.18.0.1:<port>"}, or with {"error": …}
The addresses are published in forwards.json; reach.json keeps those of the third kind.
"""

import argparse
import json
import logging
import queue
import select
import socket
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mesh.sandbox import linux
from mesh.sandbox.egress import Egress
from mesh.sandbox.reach import Reach
from mesh.sandbox.relay import Loop, Relay, parse_address, stream_socket

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
        flat = {(service, port): parse_address(target) for service, ports in wanted.items() for port, target in ports.items()}
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

    def __init__(self, loop: Loop, sock: socket.socket, forwarder: Forwarder, reach: Reach) -> None:
        self._loop, self._sock, self._forwarder, self._reach = loop, sock, forwarder, reach
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
            elif "reach" in message:
                self._answer_reach(message["reach"])
            else:
                service, port = message["wait"]
                self._forwarder.wait(service, port, self._sock)

    def _answer_reach(self, target: str) -> None:
        try:
            answer = {"address": self._reach.address(target)}
        except (ValueError, OSError) as exc:
            answer = {"error": str(exc)}
        try:
            self._sock.sendall(json.dumps(answer).encode() + b"\n")
        except OSError as exc:
            _log.info("who asked for %s has gone: %s", target, exc)


class HostSide:
    """Makes sockets in the network namespace in which it was built, whatever namespace the caller has moved to since.

    Concurrency: any thread; a helper thread that stays behind does the work.
    """

    def __init__(self) -> None:
        self._wishes: queue.SimpleQueue[tuple[Callable[[], socket.socket], queue.SimpleQueue[socket.socket | OSError]]] = queue.SimpleQueue()
        threading.Thread(target=self._serve, name="host-side", daemon=True).start()

    def listen(self, port: int) -> socket.socket:
        """A listener on 127.0.0.1, at `port` if it is free. Raises: OSError."""
        return self._make(partial(_listen, port))

    def stream(self, target: tuple[str, int]) -> socket.socket:
        """A socket from which to connect to `target`. Raises: OSError."""
        return self._make(partial(stream_socket, target))

    def _make(self, work: Callable[[], socket.socket]) -> socket.socket:
        reply: queue.SimpleQueue[socket.socket | OSError] = queue.SimpleQueue()
        self._wishes.put((work, reply))
        result = reply.get()
        if isinstance(result, OSError):
            raise result
        return result

    def _serve(self) -> None:
        while True:
            work, reply = self._wishes.get()
            try:
                reply.put(work())
            except OSError as exc:
                reply.put(exc)


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


def _text(listener: _Listener) -> str:
    host, port = listener.sock.getsockname()
    return f"{host}:{port}"


def main() -> None:
    """`python -m mesh.sandbox.forward --netns FILE --socket PATH --publish FILE --reach FILE --egress PATH`"""
    parser = argparse.ArgumentParser(prog="mesh.sandbox.forward")
    parser.add_argument("--netns", required=True)
    parser.add_argument("--socket", required=True, type=Path)
    parser.add_argument("--publish", required=True, type=Path)
    parser.add_argument("--reach", required=True, type=Path)
    parser.add_argument("--egress", required=True, type=Path)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    host = HostSide()
    linux.enter(options.netns, linux.CLONE_NEWNET)
    loop = Loop()
    forwarder = Forwarder(loop, host.listen, options.publish)
    reach = Reach(loop, host.stream, options.reach)
    control, egress = _unix_listener(options.socket), _unix_listener(options.egress)
    loop.watch(control.fileno(), select.EPOLLIN, lambda _events: _accept_control(loop, control, forwarder, reach))
    Egress(loop, egress)
    print("ready", flush=True)
    loop.run()


def _unix_listener(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.bind(str(path))
    path.chmod(0o600)  # whoever may connect reaches everything in the sandbox
    sock.listen(_BACKLOG)
    return sock


def _accept_control(loop: Loop, control: socket.socket, forwarder: Forwarder, reach: Reach) -> None:
    sock, _ = control.accept()
    Control(loop, sock, forwarder, reach)


if __name__ == "__main__":
    main()
