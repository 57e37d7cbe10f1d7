"""Network namespaces of the kernel: made, joined, removed without a trace."""

import os
import secrets
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from mesh.sandbox import linux, netns
from mesh.sandbox.layout import NETNS_DIR

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root (namespaces, mounts)")]


@pytest.fixture
def name() -> Iterator[str]:
    made = f"tm-u{secrets.token_hex(4)}"
    yield made
    netns.remove_netns(made)


def inside(name: str, *command: str) -> str:
    return subprocess.run(["ip", "netns", "exec", name, *command], capture_output=True, text=True, check=True).stdout


def test_a_namespace_has_its_settings_and_goes_when_it_is_unnamed(name: str) -> None:
    own = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()
    netns.make_netns(name, {"ipv4/ip_unprivileged_port_start": "7"})
    assert inside(name, "cat", "/proc/sys/net/ipv4/ip_unprivileged_port_start").strip() == "7"
    assert Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text() == own
    netns.remove_netns(name)
    assert not (NETNS_DIR / name).exists() and name not in Path("/proc/self/mounts").read_text()
    netns.remove_netns(name)  # and nothing happens twice


def test_a_pods_namespaces_are_its_own_and_the_makers_stay(name: str, tmp_path: Path) -> None:
    host = socket.gethostname()
    files = {"uts": tmp_path / "ns" / "uts", "ipc": tmp_path / "ns" / "ipc"}
    netns.make_spaces(files, "other")
    try:

        def look() -> str:
            linux.enter(str(files["uts"]), linux.CLONE_NEWUTS)
            linux.enter(str(files["ipc"]), linux.CLONE_NEWIPC)
            return socket.gethostname()

        assert netns.in_thread(look) == "other"
        assert socket.gethostname() == host and files["ipc"].stat().st_ino != os.stat("/proc/self/ns/ipc").st_ino
    finally:
        for path in files.values():
            netns.unmount_file(path)
    assert not any(path.exists() for path in files.values())
    netns.unmount_file(files["uts"])


def test_a_file_that_is_no_mount_is_only_removed(tmp_path: Path) -> None:
    (tmp_path / "left").touch()
    netns.unmount_file(tmp_path / "left")
    assert not (tmp_path / "left").exists()


def test_pods_reach_each_other_through_the_node(name: str, tmp_path: Path) -> None:
    pods = {f"{name}-{number:08x}": f"198.18.1.{number}" for number in (1, 2)}
    netns.set_up_node(name)
    try:
        for pod, address in pods.items():
            netns.set_up_pod(name, pod, address, pod, {"uts": tmp_path / pod / "uts", "ipc": tmp_path / pod / "ipc"})
        (first, _), (second, target) = pods.items()

        def listen() -> socket.socket:
            linux.enter(str(NETNS_DIR / second), linux.CLONE_NEWNET)
            return socket.create_server((target, 0))

        with netns.in_thread(listen) as listener:

            def dial() -> str:
                linux.enter(str(NETNS_DIR / first), linux.CLONE_NEWNET)
                with socket.create_connection(listener.getsockname(), timeout=10) as client:
                    return str(client.getsockname()[0])

            assert netns.in_thread(dial) == "198.18.1.1"
        assert netns.host_interface(first) in inside(name, "ip", "link")
    finally:
        for pod in pods:
            for _ in range(2):  # each part may already be gone
                netns.tear_down_pod(name, pod, {"uts": tmp_path / pod / "uts", "ipc": tmp_path / pod / "ipc"})
    assert "veth" not in inside(name, "ip", "link") and "198.18.1." not in inside(name, "ip", "route")


def test_a_refusal_has_the_tools_words(name: str) -> None:
    netns.make_netns(name, {})
    with pytest.raises(netns.CommandFailed, match=r"(?s)ip -n .*nonsense"):
        netns.run_ip(name, ["link set lo up", "link nonsense"])

    def load(rules: str) -> str:
        linux.enter(str(NETNS_DIR / name), linux.CLONE_NEWNET)
        netns.load_rules(rules)
        return subprocess.run(["iptables-save", "-t", "nat"], capture_output=True, text=True, check=True).stdout

    good = "*nat\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -d 198.19.0.1/32 -p tcp -j DNAT --to-destination 198.18.0.1:1\nCOMMIT\n"
    assert "--to-destination 198.18.0.1:1" in netns.in_thread(lambda: load(good))
    with pytest.raises(netns.CommandFailed, match="iptables-restore"):
        netns.in_thread(lambda: load(good.replace("DNAT", "NOSUCH").replace("198.18.0.1:1", "198.18.0.2:2")))
    assert "198.18.0.1:1" in inside(name, "iptables-save", "-t", "nat")  # the table that was refused stays as it was


def test_this_machine_can_hold_a_sandbox_and_says_what_one_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    assert netns.missing_prerequisites() is None
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert (netns.missing_prerequisites() or "").startswith("needs root")


def test_work_in_a_thread_gives_back_its_value_or_its_failure() -> None:
    assert netns.in_thread(lambda: 7) == 7

    def fail() -> None:
        raise KeyError("why")

    with pytest.raises(KeyError, match="why"):
        netns.in_thread(fail)
