"""The host forwarder's loop in a thread, and small TCP servers for what it relays to."""

import select
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mesh.sandbox.relay import Loop, Relay


class _Stop(Exception):
    pass


@contextmanager
def running(begin: Callable[[Loop], object]) -> Iterator[Loop]:
    """A loop that runs what `begin` makes on it, until the block ends."""
    loop = Loop()
    stop, wake = socket.socketpair()

    def on_stop(_events: int) -> None:
        raise _Stop

    def run() -> None:
        try:
            loop.run()
        except _Stop:
            pass

    loop.watch(stop.fileno(), select.EPOLLIN, on_stop)
    begin(loop)
    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield loop
    finally:
        wake.send(b"x")
        thread.join(10)
        stop.close()
        wake.close()
        # What a test leaves open is closed as its process's end would close it.
        for relay in {owner for handler in loop._handlers.values() if isinstance(owner := getattr(handler, "__self__", None), Relay)}:
            relay._close(None)
        loop._epoll.close()


@contextmanager
def upper(host: str = "127.0.0.1") -> Iterator[tuple[str, int]]:
    """A server that answers one client in capitals when it has said all; its address."""
    with socket.create_server((host, 0)) as listener:
        listener.settimeout(10)

        def serve() -> None:
            try:
                client, _ = listener.accept()
            except OSError:
                return  # nobody came
            with client:
                client.settimeout(10)
                client.sendall(read_all(client).upper())

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[:2]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(10)


def read_all(sock: socket.socket) -> bytes:
    data = b""
    while chunk := sock.recv(1 << 16):
        data += chunk
    return data


def closed_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
