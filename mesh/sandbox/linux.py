"""The kernel calls that Python 3.11 has no name for: namespaces, mounts, pivot_root, prctl, capabilities.

Every function raises OSError with the errno of the call and, for mounts, the target path. All of them act on the
calling *thread*; who calls them says from which thread.
"""

import ctypes
import fcntl
import os
import signal
import struct
from enum import IntFlag

_libc = ctypes.CDLL(None, use_errno=True)

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

PR_SET_PDEATHSIG = 1
PR_CAPBSET_READ = 23
PR_CAPBSET_DROP = 24
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_CLEAR_ALL = 4

MNT_DETACH = 2
TIOCGPTPEER = 0x5441
_SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41, "riscv64": 41}
_CAPABILITY_VERSION_3 = 0x20080522

CAPABILITIES = ["CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP", "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER", "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE", "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP", "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF", "CHECKPOINT_RESTORE"]
"""Index = number of the capability. Source: capabilities(7), include/uapi/linux/capability.h."""


class MountFlag(IntFlag):
    """mount(2) flags, with the kernel's numbers."""

    RDONLY = 1
    NOSUID = 2
    NODEV = 4
    NOEXEC = 8
    REMOUNT = 32
    BIND = 4096
    MOVE = 8192
    REC = 16384
    PRIVATE = 1 << 18


NO_FLAGS = MountFlag(0)


def unshare(flags: int) -> None:
    """Give the calling thread new namespaces."""
    _check(_libc.unshare(flags), f"unshare({flags:#x})")


def setns(fd: int, kind: int) -> None:
    """Move the calling thread into the namespace behind `fd`; `kind` is a CLONE_NEW flag."""
    _check(_libc.setns(fd, kind), f"setns({kind:#x})")


def enter(path: str, kind: int) -> None:
    """Move the calling thread into the namespace whose file is `path`."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        setns(fd, kind)
    finally:
        os.close(fd)


def mount(source: str, target: str, kind: str = "", flags: MountFlag = NO_FLAGS, data: str = "") -> None:
    """mount(2); an empty `kind` or `data` is passed as NULL."""
    result = _libc.mount(
        source.encode(), target.encode(), kind.encode() or None, ctypes.c_ulong(int(flags)), data.encode() or None
    )
    _check(result, target)


def bind(source: str, target: str, *, read_only: bool = False, recursive: bool = False) -> None:
    """Bind mount; read-only needs a second call, which the kernel asks for (mount(8), "Bind mount operation")."""
    extra = MountFlag.REC if recursive else NO_FLAGS
    mount(source, target, flags=MountFlag.BIND | extra)
    if read_only:
        mount("", target, flags=MountFlag.BIND | MountFlag.REMOUNT | MountFlag.RDONLY | locked_flags(target))


def locked_flags(target: str) -> MountFlag:
    """nosuid, nodev and noexec of the mount at `target`: a remount that drops them is refused in user namespaces."""
    flags = os.statvfs(target).f_flag
    return MountFlag(flags & (os.ST_NOSUID | os.ST_NODEV | os.ST_NOEXEC))


def unmount(target: str) -> None:
    """Detach the mount at `target` at once; users of open files keep them."""
    _check(_libc.umount2(target.encode(), MNT_DETACH), target)


def pivot_root_keeping(new_root: str, old_root: str) -> None:
    """Make `new_root` the root of this mount namespace; the old one appears at `old_root`, a directory below it."""
    machine = os.uname().machine
    if machine not in _SYS_PIVOT_ROOT:
        raise OSError(f"pivot_root: no system call number known for {machine}")
    _check(_libc.syscall(_SYS_PIVOT_ROOT[machine], new_root.encode(), old_root.encode()), "pivot_root")


def prctl(option: int, value: int, third: int = 0) -> int:
    """prctl(2) with two arguments."""
    zero = ctypes.c_ulong(0)
    result: int = _libc.prctl(option, ctypes.c_ulong(value), ctypes.c_ulong(third), zero, zero)
    _check(result, f"prctl({option})")
    return result


def die_with_parent(number: signal.Signals = signal.SIGKILL) -> None:
    """Ask the kernel to send `number` to this process when the thread that forked it ends."""
    prctl(PR_SET_PDEATHSIG, int(number))


def limit_capabilities(keep: frozenset[str]) -> None:
    """Drop every capability not in `keep` from the bounding set; the other sets follow at execve.

    Concurrency: the calling thread only; call it in a freshly forked child.
    """
    for number, name in enumerate(CAPABILITIES):
        if name not in keep:
            try:
                prctl(PR_CAPBSET_DROP, number)
            except OSError:
                if number <= 37:  # newer ones may be unknown to an old kernel, which then cannot grant them either
                    raise
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    # What is inheritable would pass the bounding set by at execve; effective and permitted are still needed for setuid.
    header = struct.pack("Ii", _CAPABILITY_VERSION_3, 0)
    data = ctypes.create_string_buffer(24)
    _check(_libc.capget(header, data), "capget")
    now = struct.unpack("6I", data.raw)
    _check(_libc.capset(header, struct.pack("6I", now[0], now[1], 0, now[3], now[4], 0)), "capset")


def set_hostname(name: str) -> None:
    """Set the name of the calling thread's UTS namespace."""
    raw = name.encode()
    _check(_libc.sethostname(raw, len(raw)), "sethostname")


def open_pty_peer(master: int) -> int:
    """The slave side of a pseudo terminal, wherever its devpts is mounted (ioctl TIOCGPTPEER)."""
    return fcntl.ioctl(master, TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY)


def start_time(pid: int) -> int | None:
    """Clock tick at which `pid` started, or None when there is no such process. With the pid it names a process for good.

    Source: proc_pid_stat(5), field 22.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            stat = file.read()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat[stat.rindex(b")") + 2 :].split()
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


def _check(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)
