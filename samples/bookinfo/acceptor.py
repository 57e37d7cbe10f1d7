"""Acceptor: one thread per connection, and an orderly end: what is being answered is answered, what is idle is closed."""

import contextlib
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable

# How long the end waits for answers in progress: inside Kubernetes' default grace of 30 s.
DRAIN_SECONDS = 20.0
# SIGTERM and the withdrawal of the pod's endpoint begin at the same moment, and clients hear of the latter later: until
# then requests still come, and refusing them would be an error that somebody sees.
LAME_DUCK_SECONDS = 2.0


class Acceptor:
    """Accepts on `listener` and runs `session` in a thread of its own for each connection.

    Concurrency: `stop` may be called from anywhere, a signal handler too; `mark` from the session's own thread.
    Closes: the listener and every connection, when `run` returns or their sessions end.
    """

    def __init__(self, listener: socket.socket, session: Callable[[socket.socket, "Acceptor"], None]) -> None:
        self._listener, self._session = listener, session
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        # connection → whether something is being answered on it
        self._busy: dict[socket.socket, bool] = {}
        self._threads: set[threading.Thread] = set()
        self._wake_read, self._wake_write = socket.socketpair()
        for sock in (self._wake_read, self._wake_write):
            sock.setblocking(False)

    @property
    def wake_fd(self) -> int:
        """A byte written here wakes `run`, and nothing more: for `signal.set_wakeup_fd`."""
        return self._wake_write.fileno()

    @property
    def is_stopping(self) -> bool:
        """Whether `stop` was called: keep nothing open beyond the present answer."""
        return self._stopping.is_set()

    def mark(self, connection: socket.socket, busy: bool) -> None:
        """Say that an answer is (or is no longer) in progress. A connection that never says so counts as idle."""
        with self._lock:
            self._busy[connection] = busy
        if not busy and self._stopping.is_set():
            _end_input(connection)

    def stop(self) -> None:
        """Stop accepting and let `run` return when the answers in progress have been given."""
        self._stopping.set()
        with contextlib.suppress(OSError):  # already stopped and closed, or awake for 64 KiB of other reasons
            self._wake_write.send(b"x")

    def run(self) -> None:
        """Accept until `stop`, then wait for the sessions, at most DRAIN_SECONDS."""
        poll = select.poll()
        for sock in (self._listener, self._wake_read):
            poll.register(sock, select.POLLIN)
        # Non-blocking: a connection may be gone again between poll and accept.
        self._listener.setblocking(False)
        while not self._stopping.is_set():
            poll.poll()
            with contextlib.suppress(BlockingIOError):
                self._wake_read.recv(4096)
            with contextlib.suppress(BlockingIOError, ConnectionAbortedError):
                connection, _ = self._listener.accept()
                self._start(connection)
        self._listener.close()
        with self._lock:
            idle = [connection for connection, busy in self._busy.items() if not busy]
            threads = list(self._threads)
        for connection in idle:
            _end_input(connection)
        deadline = time.monotonic() + DRAIN_SECONDS
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        for sock in (self._wake_read, self._wake_write):
            sock.close()

    def _start(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
        with self._lock:
            self._threads.add(thread)
            self._busy[connection] = False
        thread.start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection:
                self._session(connection, self)
        except (ConnectionError, TimeoutError):
            pass  # gone, or silent for too long: an ordinary end of a connection
        finally:
            with self._lock:
                del self._busy[connection]
                self._threads.discard(threading.current_thread())


def _end_input(connection: socket.socket) -> None:
    """Let the session read the end of the stream, after what has already come."""
    with contextlib.suppress(OSError):  # the peer was faster
        connection.shutdown(socket.SHUT_RD)


def _stop_later(acceptor: Acceptor) -> None:
    timer = threading.Timer(LAME_DUCK_SECONDS, acceptor.stop)
    timer.daemon = True
    timer.start()


def listen(port: int, host: str = "::") -> socket.socket:
    """A listening socket; "::" means both families where there is IPv6."""
    if host == "::" and not socket.has_dualstack_ipv6():
        host = "0.0.0.0"
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=512, dualstack_ipv6=host == "::")


def run_service(name: str, default_port: int, session: Callable[[socket.socket, Acceptor], None]) -> None:
    """Run until SIGTERM or SIGINT: `python -m samples.bookinfo.<name> [port] [options]`; port 0 means any free one.

    Options (words that begin with "-", and their values) are other programs' own and are left to them: images of
    MySQL and MongoDB are given such.
    """
    first = sys.argv[1] if len(sys.argv) > 1 and sys.argv[1].isdigit() else ""
    listener = listen(int(first or os.environ.get("PORT") or default_port), os.environ.get("BIND", "::"))
    acceptor = Acceptor(listener, session)
    # Python runs handlers between two bytecodes of this thread: a signal that comes just before poll() would wait for
    # the next connection, were it not for this byte that makes poll() return.
    signal.set_wakeup_fd(acceptor.wake_fd, warn_on_full_buffer=False)
    signal.signal(signal.SIGTERM, lambda *_: _stop_later(acceptor))
    signal.signal(signal.SIGINT, lambda *_: acceptor.stop())
    print(f"{name} listening on port {listener.getsockname()[1]}", flush=True)
    try:
        acceptor.run()
    finally:
        signal.set_wakeup_fd(-1)
