"""Log writer: a thread that writes access-log lines, so that a slow disk or pipe never holds up a request.

Lines wait in a bounded buffer; when it is full they are dropped and counted. The thread sleeps without a timer while
nothing is logged; after the first line it waits one `gather_seconds` for company and writes everything in one call.
"""

from __future__ import annotations

import logging
import os
import select
import threading
import time

from mesh.proxy.observe.clock import WALL

logger = logging.getLogger(__name__)

_GATHER_SECONDS = 0.02
_MAX_BYTES = 4 << 20
_STANDARD = {"/dev/stdout": 1, "/dev/stderr": 2}


class LogWriter:
    """One per path. `write` may be called from one thread, the trio thread; the rest happens on the writer's own."""

    __slots__ = (
        "_buffer",
        "_closing",
        "_gather_seconds",
        "_is_awake",
        "_lock",
        "_max_bytes",
        "_path",
        "_size",
        "_thread",
        "_wake",
        "dropped",
        "written",
    )

    def __init__(self, path: str, *, max_bytes: int = _MAX_BYTES, gather_seconds: float = _GATHER_SECONDS) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._gather_seconds = gather_seconds
        self._buffer: list[bytes] = []
        self._size = 0
        self._is_awake = False
        self._closing = False
        self._lock = threading.Lock()
        self._wake = threading.Semaphore(0)
        self._thread: threading.Thread | None = None
        self.dropped = 0
        self.written = 0

    def write(self, line: bytes, /) -> None:
        """Take a line, or drop it when the buffer is full. Never waits for I/O."""
        with self._lock:
            if self._size + len(line) > self._max_bytes:
                self.dropped += 1
                return
            self._buffer.append(line)
            self._size += len(line)
            if self._is_awake:
                return
            self._is_awake = True
        if self._thread is None:
            # The first line, not the constructor: workers are forked before anything is logged.
            self._thread = threading.Thread(target=self._run, name=f"log {self._path}", daemon=True)
            self._thread.start()
        self._wake.release()

    def close(self, timeout_seconds: float = 5.0) -> None:
        """Write what is buffered and end the thread. Gives up waiting after the timeout (a pipe nobody reads)."""
        self._closing = True
        self._wake.release()
        if self._thread is not None:
            self._thread.join(timeout_seconds)

    def _run(self) -> None:
        descriptor = -1
        while True:
            self._wake.acquire()
            if not self._closing:
                time.sleep(self._gather_seconds)
            lines = self._take()
            if lines:
                WALL.adjust()
                try:
                    if descriptor < 0:
                        descriptor = _open(self._path)
                    _write_all(descriptor, b"".join(lines))
                    self.written += len(lines)
                except OSError as exc:
                    # Counted rather than repeated: the next lines try again, e.g. after a log rotation.
                    self.dropped += len(lines)
                    logger.warning("access log %s: %s lines lost: %s", self._path, len(lines), exc.strerror)
                    if descriptor >= 0:
                        os.close(descriptor)
                        descriptor = -1
            if self._closing:
                if descriptor >= 0:
                    os.close(descriptor)
                return

    def _take(self) -> list[bytes]:
        with self._lock:
            lines, self._buffer = self._buffer, []
            self._size = 0
            self._is_awake = False
            return lines


def _open(path: str) -> int:
    # Not by name: a container's standard output may be a pipe of root's, which uid 1337 may write to but not open.
    standard = _STANDARD.get(path)
    if standard is not None:
        return os.dup(standard)
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except BlockingIOError:
            # Whoever shares our standard output may have made it non-blocking.
            select.select((), (descriptor,), ())
