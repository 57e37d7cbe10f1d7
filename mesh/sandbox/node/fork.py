"""Fork a child that becomes something else, and learn whether it did.

The child holds a status pipe that closes by itself when it executes its program; until then it may write why it could not.
"""

import fcntl
import os
import select
import signal
import termios
from collections.abc import Callable

from mesh.sandbox import linux
from mesh.sandbox.node.launch import CommandError
from mesh.sandbox.node.poller import Poller

OnExec = Callable[[str], None]
"""Called once: with "" when the program runs, or with why it does not."""


class Forker:
    """Concurrency: one single-threaded process."""

    def __init__(self, poller: Poller) -> None:
        self._poller = poller
        self._own_pid_ns = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)

    def fork(self, become: Callable[[], None], stdio: list[int], tty: bool, on_exec: OnExec) -> int:
        """Fork a child that takes `stdio` (three descriptors) and calls `become`, which must not return; gives its pid.

        The caller may have joined another pid namespace for its children; afterwards that is undone.
        Closes: `stdio`, in this process, whatever happens.
        Raises: OSError: no child, e.g. ENOMEM when the first process of that namespace has ended.
        """
        status, theirs = os.pipe()
        try:
            pid = os.fork()
            if pid == 0:
                _child(become, stdio, tty, theirs)
        except OSError:
            os.close(status)
            raise
        finally:
            linux.setns(self._own_pid_ns, linux.CLONE_NEWPID)
            for fd in {theirs, *stdio}:
                os.close(fd)
        os.set_blocking(status, False)
        self._follow(status, on_exec)
        return pid

    def _follow(self, status: int, on_exec: OnExec) -> None:
        words = bytearray()

        def readable(_: int) -> None:
            if data := os.read(status, 65536):
                words.extend(data)
                return
            self._poller.unregister(status)
            os.close(status)
            on_exec(words.decode(errors="replace"))

        self._poller.register(status, select.EPOLLIN, readable)


def _child(become: Callable[[], None], stdio: list[int], tty: bool, status: int) -> None:
    """In the child: never returns. Writes why to the status pipe when it could not exec."""
    try:
        os.setsid()
        if tty:
            fcntl.ioctl(stdio[0], termios.TIOCSCTTY, 0)
        fds = [os.dup(fd) if fd < 3 else fd for fd in stdio]
        for number, fd in enumerate(fds):
            os.dup2(fd, number, inheritable=True)
        signal.set_wakeup_fd(-1)
        become()
    except CommandError as exc:
        os.write(status, str(exc).encode())
    except OSError as exc:
        os.write(status, f"{exc.strerror}: {exc.filename}".encode())
    except BaseException as exc:  # the boundary of this process: the words go to the node, which shows them
        os.write(status, f"{type(exc).__name__}: {exc}".encode())
    finally:
        os._exit(128)
