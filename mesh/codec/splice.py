"""One direction of a relay inside the kernel: socket to pipe to socket, no byte copied to user space."""

import fcntl
import os

PIPE_BYTES = 1 << 20
"""Asked of the kernel, which allows this much by default (/proc/sys/fs/pipe-max-size)."""


class Splice:
    """A pipe between two non-blocking sockets. Closes: its pipe, by close(); never the sockets.

    Attributes: pending: octets inside the pipe. moved: octets delivered in all.
    """

    __slots__ = ("_reader", "_room", "_writer", "moved", "pending")

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            self._room = fcntl.fcntl(self._writer, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        except PermissionError:  # over the user's pipe quota: the default size does, only slower
            self._room = fcntl.fcntl(self._writer, fcntl.F_GETPIPE_SZ)
        self.pending = 0
        self.moved = 0

    def fill(self, source_fd: int) -> int | None:
        """Move octets from the socket into the pipe.

        Returns: how many; 0: the peer sends nothing more; None: nothing there now (or the pipe is full: drain it).
        Raises: OSError: as splice(2).
        """
        try:
            got = os.splice(source_fd, self._writer, self._room, flags=_FLAGS)
        except BlockingIOError:
            return None
        self.pending += got
        return got

    def drain(self, target_fd: int) -> int | None:
        """Move octets from the pipe to the socket.

        Returns: how many (0 only when nothing is pending); None: the socket takes nothing now.
        Raises: OSError: as splice(2).
        """
        if not self.pending:
            return 0
        try:
            sent = os.splice(self._reader, target_fd, self.pending, flags=_FLAGS)
        except BlockingIOError:
            return None
        self.pending -= sent
        self.moved += sent
        return sent

    def close(self) -> None:
        """Give the pipe back; what is pending in it is lost."""
        if self._reader >= 0:
            os.close(self._reader)
            os.close(self._writer)
            self._reader = self._writer = -1


_FLAGS = os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK
