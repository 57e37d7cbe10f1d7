"""The interception rules in a kernel: applied in a network namespace of our own, and what they do to connections."""

import os
import re
import signal
import socket
import struct
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
POD, POD6, PEER = "198.18.77.2", "fd00:77::2", "198.18.77.9"
SO_ORIGINAL_DST = 80

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]


@dataclass(frozen=True)
class Namespace:
    """A network namespace with an address on lo that stands for the pod's own."""

    name: str

    def run(self, *words: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        done = subprocess.run(["ip", "netns", "exec", self.name, *words], capture_output=True, text=True, check=False, cwd=ROOT)
        if check and done.returncode:
            raise AssertionError(f"{words}: {done.stdout}{done.stderr}")
        return done

    def iptables(self, *words: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        return self.run(sys.executable, "-m", "injector", "iptables", *words, check=check)

    def saved(self) -> str:
        return "".join(re.sub(r"^#.*\n|\[\d+:\d+\]", "", self.run(f"{tool}-save").stdout, flags=re.M) for tool in ("iptables", "ip6tables"))


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    name = f"tm-ipt-{uuid.uuid4().hex[:8]}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        space = Namespace(name)
        # A veth pair gives the routes that a pod has; its other end is here too, so nothing leaves.
        for words in ("link set lo up", "link add eth0 type veth peer name eth1", "link set eth0 up", "link set eth1 up", f"addr add {POD}/24 dev eth0", f"-6 addr add {POD6}/64 dev eth0 nodad"):
            space.run("ip", *words.split())
        yield space
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)


def test_second_run_changes_nothing(namespace: Namespace) -> None:
    assert namespace.iptables("--check", check=False).returncode == 1
    first = namespace.iptables().stdout
    before = namespace.saved()
    assert "IPv4: 18 rules applied" in first
    assert "IPv6: 18 rules applied" in first
    assert "already in force" in namespace.iptables().stdout
    assert namespace.saved() == before
    assert namespace.iptables("--check").returncode == 0


def test_other_wishes_replace_the_rules_and_others_rules_stay(namespace: Namespace) -> None:
    namespace.run("iptables", "-t", "nat", "-A", "OUTPUT", "-d", "198.18.99.99", "-j", "RETURN")
    namespace.iptables()
    namespace.iptables("-o", "22", "-x", "198.18.5.0/24")
    saved = namespace.saved()
    assert saved.count("-j TRIOMESH_OUTPUT\n") == 2
    assert "-A OUTPUT -d 198.18.99.99/32 -j RETURN" in saved
    assert "--dport 22 -j RETURN" in saved
    assert namespace.iptables("--check", check=False).returncode == 1
    assert namespace.iptables("--check", "-o", "22", "-x", "198.18.5.0/24").returncode == 0


def test_check_names_the_missing_rule(namespace: Namespace) -> None:
    namespace.iptables()
    namespace.run("iptables", "-t", "nat", "-D", "TRIOMESH_OUTPUT", "-d", "127.0.0.1/32", "-j", "RETURN")
    done = namespace.iptables("--check", check=False)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (1, "IPv4: missing: -A TRIOMESH_OUTPUT -d 127.0.0.1/32 -j RETURN")
    namespace.iptables()
    assert namespace.iptables("--check").returncode == 0


def test_clean_leaves_nothing_of_ours(namespace: Namespace) -> None:
    namespace.run("iptables", "-t", "nat", "-A", "OUTPUT", "-d", "198.18.99.99", "-j", "RETURN")
    before = namespace.saved()
    namespace.iptables()
    namespace.iptables("--clean")
    assert namespace.saved().replace("*nat\n:PREROUTING ACCEPT \n:INPUT ACCEPT \n:OUTPUT ACCEPT \n:POSTROUTING ACCEPT \nCOMMIT\n", "") == before
    assert "TRIOMESH" not in namespace.saved()


def test_pod_without_ipv6_is_captured_by_ipv4_alone(namespace: Namespace) -> None:
    for name in ("all", "lo", "eth0"):
        namespace.run("sysctl", "-q", "-w", f"net.ipv6.conf.{name}.disable_ipv6=1")
    assert "IPv6: this pod has none, skipped" in namespace.iptables().stdout
    assert "already in force" in namespace.iptables().stdout


def test_without_net_admin_the_missing_right_is_named(namespace: Namespace) -> None:
    command = ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin", sys.executable, "-m", "injector", "iptables"]
    done = namespace.run(*command, check=False)
    assert done.returncode == 3
    assert "NET_ADMIN" in done.stderr


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_outbound_connection_of_the_application_reaches_the_proxy_with_its_original_destination(namespace: Namespace, family: int) -> None:
    target = PEER if family == socket.AF_INET else "fd00:77::9"
    namespace.iptables()
    with listening(namespace, family, 15001) as proxy, connecting(namespace, family, target, 9080, uid=1000):
        assert original_destination(proxy) == (target, 9080)


def test_application_calling_its_own_address_through_the_proxy_comes_in_by_the_inbound_port(namespace: Namespace) -> None:
    namespace.iptables()
    with listening(namespace, socket.AF_INET, 15006) as proxy, connecting(namespace, socket.AF_INET, POD, 9080, uid=1337):
        assert original_destination(proxy) == (POD, 9080)


@pytest.mark.parametrize(
    ("uid", "target", "port", "flags"),
    [
        pytest.param(1000, "127.0.0.1", 9080, [], id="loopback is never captured"),
        pytest.param(1000, POD, 9080, [], id="application to application over lo"),
        pytest.param(1000, POD, 22, ["-o", "22"], id="excluded port"),
        pytest.param(1337, "127.0.0.1", 9080, [], id="the proxy to its application"),
    ],
)
def test_connection_that_is_not_captured_goes_where_it_says(namespace: Namespace, uid: int, target: str, port: int, flags: list[str]) -> None:
    namespace.iptables(*flags)
    with listening(namespace, socket.AF_INET, port) as application, connecting(namespace, socket.AF_INET, target, port, uid=uid) as source:
        accepted, peer = application.accept()
        accepted.close()
        assert peer[0] == source


def enter(namespace: Namespace, work: "object", *args: object) -> socket.socket:
    """Make a socket in the namespace, from a thread that enters it and is then gone."""
    import ctypes
    import threading

    libc = ctypes.CDLL(None, use_errno=True)
    made: list[socket.socket | BaseException] = []

    def run() -> None:
        try:
            with open(f"/run/netns/{namespace.name}") as handle:
                if libc.setns(handle.fileno(), 0x40000000):
                    raise OSError(ctypes.get_errno(), "setns")
            made.append(work(*args))  # type: ignore[operator]
        except BaseException as exc:
            made.append(exc)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if isinstance(made[0], BaseException):
        raise made[0]
    return made[0]


@contextmanager
def listening(namespace: Namespace, family: int, port: int) -> Iterator[socket.socket]:
    host = "0.0.0.0" if family == socket.AF_INET else "::"
    sock = enter(namespace, lambda: socket.create_server((host, port), family=family))
    sock.settimeout(10)
    with sock:
        yield sock


@contextmanager
def connecting(namespace: Namespace, family: int, target: str, port: int, uid: int) -> Iterator[str]:
    """A process of that user and group that connects and keeps the connection; gives its own address."""
    script = (
        "import os, socket, sys; os.setgid(int(sys.argv[4])); os.setuid(int(sys.argv[4]))\n"
        "s = socket.socket(int(sys.argv[1])); s.settimeout(10); s.connect((sys.argv[2], int(sys.argv[3])))\n"
        "print(s.getsockname()[0], flush=True); sys.stdin.read()"
    )
    command = ["ip", "netns", "exec", namespace.name, sys.executable, "-c", script, str(family), target, str(port), str(uid)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline().strip()
        if not line:
            assert process.stderr is not None
            raise AssertionError(process.stderr.read())
        yield line
        process.send_signal(signal.SIGTERM)


def original_destination(listener: socket.socket) -> tuple[str, int]:
    """Source: netfilter SO_ORIGINAL_DST and IP6T_SO_ORIGINAL_DST, both 80."""
    accepted, _ = listener.accept()
    with accepted:
        if listener.family == socket.AF_INET:
            port, address = struct.unpack_from("!H4s", accepted.getsockopt(socket.SOL_IP, SO_ORIGINAL_DST, 16), 2)
            return socket.inet_ntoa(address), port
        port, _, address = struct.unpack_from("!HI16s", accepted.getsockopt(socket.IPPROTO_IPV6, SO_ORIGINAL_DST, 28), 2)
        return socket.inet_ntop(socket.AF_INET6, address), port
