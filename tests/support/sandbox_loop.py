"""A mesh.sandbox.relay.Loop in a thread, for the length of a `with`."""

import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from mesh.sandbox.relay import Loop


class _Stop(Exception):
    pass


@contextmanager
def running(loop: Loop) -> Iterator[None]:
    """Run it; whatever watches something has to have begun before."""
    stop, wake = socket.socketpair()

    def on_stop(_events: int) -> None:
        raise _Stop

    def run() -> None:
        try:
            loop.run()
        except _Stop:
            pass

    loop.watch(stop.fileno(), select.EPOLLIN, on_stop)
    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        wake.send(b"x")
        thread.join(10)
        stop.close()
        wake.close()
