"""Find and remove whatever a sandbox left in the kernel and on disk, from the outside, whoever has crashed.

Works from three things: the names of network namespaces, the processes inside those, and the processes whose
environment names the state directory. Other sandboxes' are never touched.
"""

import os
import select
import signal
import time
from pathlib import Path

from mesh.sandbox import linux, netns
from mesh.sandbox.daemons import STATE_VARIABLE
from mesh.sandbox.layout import NETNS_DIR, Layout
from mesh.sandbox.node.volumefiles import remove_tree

_KILL_SECONDS = 10.0


class StillThere(RuntimeError):
    """Something could not be removed; the message names it."""


def namespaces(layout: Layout) -> list[str]:
    """Names of the sandbox's network namespaces."""
    if not NETNS_DIR.exists():
        return []
    return sorted(entry.name for entry in NETNS_DIR.iterdir() if layout.is_ours(entry.name))


def processes(layout: Layout) -> dict[int, int]:
    """pid → start time of every process of the sandbox (not of the caller)."""
    inodes = set()
    for name in namespaces(layout):
        inodes.add((NETNS_DIR / name).stat().st_ino)
    inodes.discard(Path("/proc/self/ns/net").stat().st_ino)
    mark = f"{STATE_VARIABLE}={layout.root}".encode()
    found = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != os.getpid() and _belongs(int(entry), inodes, mark):
            start = linux.start_time(int(entry))
            if start is not None:
                found[int(entry)] = start
    return found


def kept_elsewhere(layout: Layout) -> Path | None:
    """The state directory of a running sandbox of the same name that was started with another TRIOMESH_STATE."""
    mark = f"{STATE_VARIABLE}=".encode()
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            variables = Path("/proc", entry, "environ").read_bytes().split(b"\0")
        except OSError:
            continue  # it has ended meanwhile
        for variable in variables:
            state = Path(os.fsdecode(variable.removeprefix(mark)))
            if variable.startswith(mark) and state.name == layout.name and state != layout.root:
                return state
    return None


def kill_all(layout: Layout) -> int:
    """SIGKILL every process of the sandbox and wait until they are gone; returns how many there were.

    Raises: StillThere: one does not die (it hangs in the kernel).
    """
    total = 0
    deadline = time.monotonic() + _KILL_SECONDS
    while alive := processes(layout):  # again: a process may have forked while we looked
        for pid, start in alive.items():
            total += _kill(pid, start)
        if time.monotonic() > deadline:
            raise StillThere(f"processes of sandbox {layout.name} do not die: {sorted(alive)}")
    return total


def remove(layout: Layout, *, keep_state: bool) -> None:
    """Remove processes, mounts, namespaces and files; `keep_state` leaves the API server's data and the user's files."""
    kill_all(layout)
    if keep_state:
        remove_tree(layout.pods)
        for path in (layout.supervisor_file, layout.supervisor_socket, layout.runtime_socket, layout.forward_socket, layout.egress_socket):
            path.unlink(missing_ok=True)
    else:
        remove_tree(layout.root)
    for name in namespaces(layout):
        netns.remove_netns(name)
    if not keep_state:
        for directory in (layout.root.parent, NETNS_DIR):
            try:
                directory.rmdir()
            except OSError:
                pass  # not empty, or somebody's mount: not only ours


def _belongs(pid: int, inodes: set[int], mark: bytes) -> bool:
    try:
        if os.stat(f"/proc/{pid}/ns/net").st_ino in inodes:
            return True
        with open(f"/proc/{pid}/environ", "rb") as file:
            return mark in file.read().split(b"\0")
    except OSError:  # it has ended meanwhile, or is a zombie
        return False


def _kill(pid: int, start: int) -> int:
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return 0
    try:
        if linux.start_time(pid) != start:  # another process by now
            return 0
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        _wait_for_end(pidfd)
    except ProcessLookupError:
        return 0
    finally:
        os.close(pidfd)
    return 1


def _wait_for_end(pidfd: int) -> None:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    poll.poll(1000)
