"""Between fork and exec: turn a freshly forked process into the first process of a container.

The root directory is an overlay over the host's own root: every file of the host is there to run, no write reaches it.
Order matters and is: namespaces → overlay → pivot_root → mounts (targets then resolve inside the container, where
/var/run may be a link) → user and capabilities → exec. Concurrency: single-threaded children of the runtime only.
"""

import os
import signal
import stat
from dataclasses import dataclass, field
from typing import Any

from mesh.sandbox import linux
from mesh.sandbox.linux import MountFlag

SOURCE_DIR = "/opt/triomesh/src"
VENV_DIR = "/opt/triomesh/venv"
EMPTY_DIRS = {"/tmp": 0o1777, "/run": 0o755}
"""What lies there on the host is no part of any image. Values: modes."""
_OLD_ROOT = "/.triomesh-old-root"
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
_DISKS = frozenset({"ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "zfs", "bcachefs", "virtiofs", "9p", "fuseblk"})


class CommandError(Exception):
    """The command itself cannot be executed; in the words that container runtimes use."""


@dataclass(frozen=True, slots=True)
class Mount:
    """A directory or file of the host (`source`) shown at `target`."""

    source: str
    target: str
    read_only: bool


@dataclass(frozen=True, slots=True)
class Launch:
    """Everything the launcher needs; kept as JSON beside the container so that `exec` finds the same user and environment."""

    id: str
    argv: list[str]
    env: dict[str, str]
    cwd: str
    uid: int
    gid: int
    groups: list[int]
    capabilities: list[str]
    no_new_privileges: bool
    read_only_root: bool
    privileged: bool
    tty: bool
    stdin: bool
    stdin_once: bool
    directory: str
    log: str
    netns: str  # "" = the node's own (hostNetwork)
    utsns: str
    ipcns: str
    shm_bytes: int
    hide: list[str]
    reach: list[str]
    files: dict[str, str]
    mounts: list[Mount] = field(default_factory=list)
    target: str = ""  # id of the container whose pid namespace it joins

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Launch":
        mounts = [Mount(**mount) for mount in data.pop("mounts")]
        return cls(**data, mounts=mounts)


def become_container(spec: Launch) -> None:
    """Give this process (pid 1 of its own pid namespace) the container's world, then exec its command.

    Raises: OSError: with the path or call that failed; nothing of the host was changed.
    """
    for path, kind in ((spec.netns, linux.CLONE_NEWNET), (spec.utsns, linux.CLONE_NEWUTS), (spec.ipcns, linux.CLONE_NEWIPC)):
        if path:
            linux.enter(path, kind)
    os.umask(0o022)  # directories made on the way to a mount are for every user
    linux.unshare(linux.CLONE_NEWNS)
    linux.mount("", "/", flags=MountFlag.PRIVATE | MountFlag.REC)
    _enter_root(spec)
    _populate(spec)
    _execute(spec, spec.argv)


def join_container(spec: Launch, pid: int, argv: list[str]) -> None:
    """Run one more command in the container whose first process is `pid`; the caller has joined its pid namespace."""
    spaces = [
        (f"/proc/{pid}/ns/{name}", kind)
        for name, kind in (
            ("ipc", linux.CLONE_NEWIPC),
            ("uts", linux.CLONE_NEWUTS),
            ("net", linux.CLONE_NEWNET),
            ("mnt", linux.CLONE_NEWNS),
        )
    ]
    fds = [(os.open(path, os.O_RDONLY | os.O_CLOEXEC), kind) for path, kind in spaces]
    for fd, kind in fds:  # the mount namespace last: after it /proc is the container's
        linux.setns(fd, kind)
    _execute(spec, argv)


def _enter_root(spec: Launch) -> None:
    disks = _other_disks(spec.hide)
    root, upper, work = (os.path.join(spec.directory, part) for part in ("root", "upper", "work"))
    for path in (root, upper, work):
        os.makedirs(path, exist_ok=True)
    _fill_upper(upper)
    try:
        linux.mount("overlay", root, "overlay", data=f"lowerdir=/,upperdir={upper},workdir={work}")
    except OSError:
        # A host whose root is itself an overlay (we run in a container) cannot hold the upper directory: use memory.
        linux.mount("tmpfs", spec.directory, "tmpfs")
        for path in (root, upper, work):
            os.makedirs(path, mode=0o755)
        _fill_upper(upper)
        linux.mount("overlay", root, "overlay", data=f"lowerdir=/,upperdir={upper},workdir={work}")
    os.mkdir(root + _OLD_ROOT)
    for disk in disks:  # an overlay shows one filesystem: /usr, /opt or /home on another disk must be shown beside it
        linux.bind(disk, root + disk, read_only=True)
    linux.pivot_root_keeping(root, root + _OLD_ROOT)
    os.chdir("/")


def _fill_upper(upper: str) -> None:
    """Empty /tmp and /run in the container's own layer."""
    os.chmod(upper, 0o755)
    for name, mode in EMPTY_DIRS.items():
        path = upper + name
        os.makedirs(path, exist_ok=True)
        os.chmod(path, mode)
        os.setxattr(path, "trusted.overlay.opaque", b"y")  # overlayfs.rst, "whiteouts and opaque directories"


def _other_disks(hide: list[str]) -> list[str]:
    found = []
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        for line in file:
            before, after = line.split(" - ")
            target, kind = before.split()[4], after.split()[0]
            inside = any(target == path or target.startswith(path + "/") for path in (*hide, *EMPTY_DIRS, "/proc", "/sys", "/dev"))
            if kind in _DISKS and target != "/" and not inside and "\\" not in target:
                found.append(target)
    return found


def _populate(spec: Launch) -> None:
    linux.mount("proc", "/proc", "proc", MountFlag.NOSUID | MountFlag.NODEV | MountFlag.NOEXEC)
    read_only = linux.NO_FLAGS if spec.privileged else MountFlag.RDONLY
    linux.mount("sysfs", "/sys", "sysfs", MountFlag.NOSUID | MountFlag.NODEV | MountFlag.NOEXEC | read_only)
    _make_devices(spec)
    if not spec.privileged:
        linux.bind("/proc/sys", "/proc/sys", read_only=True)
        for path in ("/proc/sysrq-trigger", "/proc/kcore"):
            if os.path.exists(path):  # not in every kernel
                linux.bind("/dev/null", path, read_only=True)
    for path in spec.hide:
        if os.path.isdir(path):
            linux.mount("tmpfs", path, "tmpfs", MountFlag.RDONLY, "size=4k,mode=555")
    for path in spec.reach:  # copied up into the overlay: the host's modes stay
        os.makedirs(path, exist_ok=True)  # below an empty /tmp there is none
        mode = stat.S_IMODE(os.stat(path).st_mode)
        if not mode & 0o001:
            os.chmod(path, mode | 0o001)
    for path, text in spec.files.items():
        _write_file(path, text)
    for mount in spec.mounts:
        _mount(mount)
    linux.unmount(_OLD_ROOT)
    os.rmdir(_OLD_ROOT)
    if spec.cwd != "/":
        os.makedirs(spec.cwd, exist_ok=True)
    if spec.read_only_root:
        linux.mount("", "/", flags=MountFlag.REMOUNT | MountFlag.BIND | MountFlag.RDONLY)


def _make_devices(spec: Launch) -> None:
    linux.mount("tmpfs", "/dev", "tmpfs", MountFlag.NOSUID, "size=64k,mode=755")
    for name in _DEVICES:
        os.close(os.open(f"/dev/{name}", os.O_CREAT | os.O_WRONLY, 0o666))
        linux.bind(f"{_OLD_ROOT}/dev/{name}", f"/dev/{name}")
    os.mkdir("/dev/pts")
    linux.mount("devpts", "/dev/pts", "devpts", MountFlag.NOSUID | MountFlag.NOEXEC, "newinstance,ptmxmode=0666,mode=0620")
    os.mkdir("/dev/shm")
    shm = f"mode=1777,size={spec.shm_bytes}"
    linux.mount("tmpfs", "/dev/shm", "tmpfs", MountFlag.NOSUID | MountFlag.NODEV | MountFlag.NOEXEC, shm)
    links = {"ptmx": "pts/ptmx", "fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"}
    for name, target in links.items():
        os.symlink(target, f"/dev/{name}")


def _write_file(path: str, text: str) -> None:
    if os.path.islink(path):  # resolv.conf is often a link into /run: replace the link in the overlay
        os.unlink(path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    os.chmod(path, 0o644)


def _mount(mount: Mount) -> None:
    source, target = _OLD_ROOT + mount.source, mount.target
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    elif not os.path.exists(target):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o644))
    linux.bind(source, target, read_only=mount.read_only, recursive=not mount.read_only)


def _execute(spec: Launch, argv: list[str]) -> None:
    os.chdir(spec.cwd)
    os.umask(0o022)
    for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGTERM, signal.SIGCHLD, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    if not spec.privileged:
        linux.limit_capabilities(frozenset(spec.capabilities))
    os.setgroups(spec.groups)
    os.setresgid(spec.gid, spec.gid, spec.gid)
    os.setresuid(spec.uid, spec.uid, spec.uid)
    if spec.no_new_privileges:
        linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
    # After the change of user, which clears it (prctl(2), PR_SET_PDEATHSIG).
    linux.die_with_parent()
    try:
        os.execvpe(argv[0], argv, spec.env)
    except FileNotFoundError:
        where = "no such file or directory" if "/" in argv[0] else "executable file not found in $PATH"
        raise CommandError(f'exec: "{argv[0]}": {where}') from None
    except OSError as exc:
        raise CommandError(f'exec: "{argv[0]}": {(exc.strerror or "").lower()}') from None
