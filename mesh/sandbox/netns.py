"""Make, enter and remove the network namespaces of a sandbox (I/O: the kernel, `ip`, `iptables-restore`).

Named namespaces are nsfs mounts in /run/netns, as `ip netns` keeps them, so that `ip netns exec tm-default-node …`
works for people too. They are made here and not by `ip netns add`, which would also turn /run/netns into a shared
mount and leave that behind.
"""

import os
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from mesh.sandbox import linux
from mesh.sandbox.layout import NETNS_DIR
from mesh.sandbox.network import LOAD_BALANCER_NETWORK, NODE_IP, SERVICE_NETWORK

_T = TypeVar("_T")


class CommandFailed(RuntimeError):
    """`ip` or `iptables-restore` refused; the message has its words."""


def make_netns(name: str, sysctls: dict[str, str], others: dict[str, Path] | None = None, hostname: str = "") -> None:
    """Make and name a network namespace with its loopback up; `others` = {"uts": file, "ipc": file} to keep as well.

    Closes: nothing; `remove_netns` (and `unmount_file` for the others) undoes it.
    Concurrency: any thread; the work is done in one of its own, whose namespaces end with it.
    """

    def make() -> None:
        linux.unshare(linux.CLONE_NEWNET | linux.CLONE_NEWUTS | linux.CLONE_NEWIPC)
        if hostname:
            linux.set_hostname(hostname)
        for key, value in sysctls.items():
            Path("/proc/thread-self/net").stat()  # /proc/sys/net follows the reader's namespace: be sure it is ours
            Path("/proc/sys/net", key).write_text(value)
        _keep({"net": NETNS_DIR / name, **(others or {})})

    in_thread(make)


def make_spaces(files: dict[str, Path], hostname: str) -> None:
    """Make and keep only `files` = {"uts": file, "ipc": file}: the namespaces of a pod on the node's own network.

    Closes: nothing; `unmount_file` undoes each.
    """

    def make() -> None:
        linux.unshare(linux.CLONE_NEWUTS | linux.CLONE_NEWIPC)
        linux.set_hostname(hostname)
        _keep(files)

    in_thread(make)


def _keep(files: dict[str, Path]) -> None:
    """Give the calling thread's namespaces names, which keep them."""
    for kind, path in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        linux.mount(f"/proc/thread-self/ns/{kind}", str(path), flags=linux.MountFlag.BIND)


def remove_netns(name: str) -> None:
    """Unname a namespace; the kernel frees it, and its interfaces, when the last process has left it."""
    unmount_file(NETNS_DIR / name)


def unmount_file(path: Path) -> None:
    """Undo a namespace file; nothing happens when it is already gone."""
    try:
        linux.unmount(str(path))
    except OSError as exc:
        if not path.exists():
            return
        if exc.errno != 22:  # EINVAL: exists but is not mounted
            raise
    path.unlink(missing_ok=True)


def set_up_node(name: str) -> None:
    """Make the node's namespace: loopback with the node's address, forwarding, a route that lets ClusterIPs be dialled."""
    make_netns(name, {"ipv4/ip_forward": "1", "ipv4/ip_unprivileged_port_start": "0"})
    run_ip(
        name,
        [
            "link set lo up",
            f"addr add {NODE_IP}/32 dev lo",
            # Only so that connect() finds a route and this source address: nat OUTPUT rewrites the destination before it matters.
            f"route add {SERVICE_NETWORK} dev lo src {NODE_IP}",
            f"route add {LOAD_BALANCER_NETWORK} dev lo src {NODE_IP}",
        ],
    )


def set_up_pod(node: str, pod: str, address: str, hostname: str, others: dict[str, Path]) -> None:
    """Make a pod's namespaces and join it to the node by a veth pair and two /32 routes."""
    make_netns(pod, {"ipv4/ip_unprivileged_port_start": "0", "ipv4/ping_group_range": "0 2147483647"}, others, hostname)
    host_side = host_interface(pod)
    run_ip(
        node,
        [
            f"link add {host_side} type veth peer name eth0 netns {pod}",
            f"link set {host_side} up",
            f"route add {address}/32 dev {host_side}",
        ],
    )
    run_ip(
        pod,
        [
            "link set lo up",
            f"addr add {address}/32 dev eth0",
            "link set eth0 up",
            f"route add {NODE_IP}/32 dev eth0 scope link",
            f"route add default via {NODE_IP} dev eth0 onlink src {address}",
        ],
    )


def tear_down_pod(node: str, pod: str, others: dict[str, Path]) -> None:
    """Remove what `set_up_pod` made; each part may already be gone."""
    subprocess.run(["ip", "-n", node, "link", "del", host_interface(pod)], stderr=subprocess.DEVNULL, check=False)
    remove_netns(pod)
    for path in others.values():
        unmount_file(path)


def host_interface(pod_netns: str) -> str:
    """Node-side name of a pod's veth pair."""
    return f"veth{pod_netns[-8:]}"


def run_ip(netns: str, commands: list[str]) -> None:
    """Run `ip` commands as one batch in a named namespace.

    Raises: CommandFailed: with the words of `ip`, which name the line.
    """
    _run(["ip", "-n", netns, "-batch", "-"], "\n".join(commands) + "\n")


def load_rules(rules: str) -> None:
    """Replace the tables named in `rules` in the caller's own network namespace, in one transaction per table.

    Raises: CommandFailed: nothing was changed in the table that was refused.
    """
    _run(["iptables-restore", "--wait", "5"], rules)


def missing_prerequisites() -> str | None:
    """One line about the first thing this machine lacks for a sandbox, or None."""
    if os.uname().sysname != "Linux":
        return f"needs Linux (network namespaces, iptables); this is {os.uname().sysname}"
    if os.geteuid() != 0:
        return "needs root (network namespaces, mounts, iptables); run it with sudo"
    for tool, package in (("ip", "iproute2"), ("iptables-restore", "iptables")):
        if not any(Path(place, tool).exists() for place in ("/usr/sbin", "/sbin", "/usr/bin", "/bin", "/usr/local/sbin")):
            return f"needs the command {tool!r}: apt-get install {package}"
    if "\toverlay" not in Path("/proc/filesystems").read_text() and _fails(["modprobe", "overlay"]):
        return "needs overlayfs in the kernel (CONFIG_OVERLAY_FS) for the root directories of containers"
    return _missing_netfilter()


def _missing_netfilter() -> str | None:
    """Try one rule of each kind that we use in a namespace that lives for a moment only."""
    probe = (
        "*nat\n:OUTPUT ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n"
        "-A OUTPUT -d 198.19.0.1/32 -p tcp -m statistic --mode random --probability 0.5 -j DNAT --to-destination 198.18.0.1:1\n"
        "-A POSTROUTING -m mark --mark 0x4000/0x4000 -j MASQUERADE\nCOMMIT\n"
        "*filter\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -d 198.19.0.1/32 -p tcp -j REJECT --reject-with tcp-reset\nCOMMIT\n"
    )

    def attempt() -> str | None:
        try:
            linux.unshare(linux.CLONE_NEWNET)
        except OSError as exc:
            return f"needs network namespaces, which this machine refuses: {exc.strerror}"
        try:
            load_rules(probe)
        except CommandFailed as exc:
            return f"needs netfilter nat in the kernel (statistic, mark, DNAT, MASQUERADE, REJECT): {exc}"
        return None

    return in_thread(attempt)


def _run(command: list[str], text: str) -> None:
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CommandFailed(f"{' '.join(command)}: {(done.stderr or done.stdout).strip()}")


def _fails(command: list[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode != 0
    except FileNotFoundError:
        return True


def in_thread(work: Callable[[], _T]) -> _T:
    """Run `work` in a thread of its own: namespaces belong to threads, and this one's end with it."""
    result: list[_T] = []
    failure: list[BaseException] = []

    def body() -> None:
        try:
            result.append(work())
        except BaseException as exc:
            failure.append(exc)

    thread = threading.Thread(target=body, name="netns")
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return result[0]
