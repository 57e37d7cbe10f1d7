"""Service rules of a real kernel, in a network namespace of the test's own, and wishes to the host's forwarder."""

import json
import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mesh.sandbox import netns
from mesh.sandbox.layout import NETNS_DIR, Layout

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root (namespaces, mounts)")]

Json = dict[str, Any]
ROOT = Path(__file__).resolve().parents[5]


def service(name: str, ip: str, version: int = 1, **spec: Any) -> Json:
    meta = {"namespace": "ns", "name": name, "uid": name, "resourceVersion": str(version)}
    return {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": {"clusterIP": ip, "ports": [{"port": 80}], **spec}}


def endpoint_slice(name: str, *addresses: str, version: int = 1) -> Json:
    meta = {"namespace": "ns", "name": name, "uid": f"{name}-s", "resourceVersion": str(version), "labels": {"kubernetes.io/service-name": name}}
    return {"metadata": meta, "addressType": "IPv4", "ports": [{"port": 8080}], "endpoints": [{"addresses": [a], "conditions": {"ready": True}} for a in addresses]}


class Proxy:
    """The proxy's process, its namespace, and the forwarder's end of its socket."""

    def __init__(self, directory: Path) -> None:
        self.netns = f"tm-u{secrets.token_hex(3)}-node"
        netns.make_netns(self.netns, {})
        self.layout = Layout("u", directory)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.layout.forward_socket))
        self._listener.listen()
        command = [sys.executable, "-m", "mesh.sandbox.enter", "--netns", str(NETNS_DIR / self.netns), "--parent", str(os.getpid()), "--"]
        command += [sys.executable, "-m", "tests.support.service_proxy", str(directory), "u"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        self._forwarder: socket.socket | None = None
        self._wishes: Any = None

    def add(self, *, services: list[Json] | None = None, slices: list[Json] | None = None) -> None:
        assert self._process.stdin is not None
        print(json.dumps({"services": services or [], "slices": slices or []}), file=self._process.stdin, flush=True)

    def rules(self, wanted: str) -> str:
        """All rules, once `wanted` is among them."""
        while True:
            shown = subprocess.run(["ip", "netns", "exec", self.netns, "iptables-save"], capture_output=True, text=True, check=True).stdout
            if wanted in shown:
                return shown
            assert self._process.poll() is None

    def said(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def wish(self) -> Json:
        """The next wish to the forwarder."""
        if self._forwarder is None:
            self._listener.settimeout(20)
            self._forwarder, _ = self._listener.accept()
            self._wishes = self._forwarder.makefile()
        found: Json = json.loads(self._wishes.readline())
        return found

    def hang_up(self) -> None:
        if self._forwarder is not None:
            self._wishes.close()
            self._forwarder.close()
            self._forwarder = None

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()
        self.hang_up()
        self._listener.close()
        netns.remove_netns(self.netns)


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[Proxy]:
    made = Proxy(tmp_path)
    yield made
    made.close()


def test_rules_follow_services_and_their_endpoints(proxy: Proxy) -> None:
    proxy.add(services=[service("web", "198.19.0.5")], slices=[endpoint_slice("web", "198.18.1.1", "198.18.1.2")])
    shown = proxy.rules("--to-destination 198.18.1.2:8080")
    assert "-d 198.19.0.5/32 -p tcp -m tcp --dport 80" in shown and "--to-destination 198.18.1.1:8080" in shown
    proxy.add(slices=[endpoint_slice("web", "198.18.1.3", version=2)])
    shown = proxy.rules("--to-destination 198.18.1.3:8080")
    assert "198.18.1.1" not in shown
    proxy.add(slices=[endpoint_slice("web", version=3)])
    assert "198.18.1.3" not in proxy.rules("-A TM-REJECT -d 198.19.0.5/32")
    # None of it is the host's.
    assert "198.19.0.5" not in subprocess.run(["iptables-save"], capture_output=True, text=True, check=True).stdout


def test_load_balancers_are_wished_for_again_from_a_forwarder_that_was_restarted(proxy: Proxy) -> None:
    proxy.add(services=[service("web", "198.19.0.5", type="LoadBalancer"), service("inner", "198.19.0.6")])
    wished = {"forwards": {"ns/web": {"80": "198.19.0.5:80"}}}
    found = proxy.wish()
    assert found in ({"forwards": {}}, wished)
    assert found == wished or proxy.wish() == wished
    proxy.hang_up()
    proxy.add(services=[service("other", "198.19.0.7", type="LoadBalancer")])
    wished["forwards"]["ns/other"] = {"80": "198.19.0.7:80"}
    assert proxy.wish() == wished


def test_affinity_that_is_not_kept_is_said(proxy: Proxy) -> None:
    proxy.add()
    proxy.add(services=[service("sticky", "198.19.0.5", sessionAffinity="ClientIP")])
    assert proxy.said() == "Warning NotEnforced sticky"
