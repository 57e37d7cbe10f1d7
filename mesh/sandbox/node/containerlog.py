"""Where the output of a container goes: its log file, rotated by size, and whoever has attached.

An attached reader that does not keep up holds back the container's output, as a terminal would; it never makes the
runtime wait or keep an unbounded buffer.
"""

import os
import select

from mesh.sandbox.node.crilog import Splitter, now_stamp
from mesh.sandbox.node.poller import Poller

MAX_LOG_BYTES = 10 * 1024 * 1024
"""kubelet's containerLogMaxSize; one rotated file (`.1`) is kept beside it."""
_READ_BYTES = 256 * 1024


class ContainerLog:
    """The log file of one container and its streams."""

    def __init__(self, path: str) -> None:
        self._path = path
        os.makedirs(os.path.dirname(path), exist_ok=True)
        self._fd = _open(path)
        self._size = os.fstat(self._fd).st_size
        self.streams: dict[str, LogStream] = {}

    def write(self, data: bytes) -> None:
        """Append finished lines, rotating first when they would not fit."""
        if self._size and self._size + len(data) > MAX_LOG_BYTES:
            os.close(self._fd)
            os.replace(self._path, self._path + ".1")
            self._fd = _open(self._path)
            self._size = 0
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]
        self._size += len(data)

    def attach(self, name: str, fd: int) -> None:
        """Copy the stream `name` to `fd` from now on. Closes: `fd`, with the stream or when its reader goes away."""
        if (stream := self.streams.get(name)) is not None:
            stream.add_reader(fd)
        else:
            os.close(fd)

    def drain(self) -> None:
        """Read what an ended container left in its pipes."""
        for stream in list(self.streams.values()):
            stream.on_readable(select.EPOLLIN)

    def close(self) -> None:
        """Stop following."""
        for stream in list(self.streams.values()):
            stream.finish()
        os.close(self._fd)


class LogStream:
    """stdout or stderr of a container (or both, for a terminal)."""

    def __init__(self, poller: Poller, fd: int, name: str, log: ContainerLog) -> None:
        self._poller, self._fd, self._log, self._name = poller, fd, log, name
        self._splitter = Splitter(name)
        self._readers: dict[int, bytes] = {}
        self._held_back = False
        log.streams[name] = self

    def on_readable(self, _events: int) -> None:
        """Copy what is there; the end of the stream finishes it."""
        while not any(self._readers.values()):
            try:
                data = os.read(self._fd, _READ_BYTES)
            except BlockingIOError:
                return
            except OSError:  # EIO: the last holder of a terminal has closed it
                data = b""
            if not data:
                self.finish()
                return
            if text := self._splitter.feed(data, now_stamp()):
                self._log.write(text)
            for reader in list(self._readers):
                self._readers[reader] = data
                self._flush(reader)

    def add_reader(self, fd: int) -> None:
        """Copy to `fd` too."""
        os.set_blocking(fd, False)
        self._readers[fd] = b""
        # No events asked for: EPOLLERR comes by itself when the reader closes its end.
        self._poller.register(fd, 0, lambda events: self._on_reader(fd, events))

    def finish(self) -> None:
        """Write the last line and let everybody go."""
        if self._log.streams.pop(self._name, None) is None:
            return
        if text := self._splitter.finish(now_stamp()):
            self._log.write(text)
        if not self._held_back:
            self._poller.unregister(self._fd)
        os.close(self._fd)
        for reader in list(self._readers):
            self._drop(reader)

    def _on_reader(self, fd: int, events: int) -> None:
        if events & (select.EPOLLERR | select.EPOLLHUP):
            self._drop(fd)
        else:
            self._flush(fd)

    def _flush(self, fd: int) -> None:
        try:
            sent = os.write(fd, self._readers[fd]) if self._readers[fd] else 0
        except BlockingIOError:
            sent = 0
        except BrokenPipeError:
            self._drop(fd)
            return
        self._readers[fd] = self._readers[fd][sent:]
        self._poller.modify(fd, select.EPOLLOUT if self._readers[fd] else 0)
        self._pace()

    def _drop(self, fd: int) -> None:
        del self._readers[fd]
        self._poller.unregister(fd)
        os.close(fd)
        self._pace()

    def _pace(self) -> None:
        """Ask for the container's output exactly while no reader is behind (a hang-up is reported even when not asked for)."""
        behind = any(self._readers.values())
        if self._name not in self._log.streams or behind == self._held_back:
            return
        self._held_back = behind
        if behind:
            self._poller.unregister(self._fd)
        else:
            self._poller.register(self._fd, select.EPOLLIN, self.on_readable)


def _open(path: str) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
