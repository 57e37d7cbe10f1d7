"""A real kube-apiserver (and etcd, and its controller-manager) on loopback, for one run.

`real_kube(directory)` starts what `scripts/kube-binaries.sh` built, with certificates made for the run, RBAC, service-account signing and an
audit log, and ends it whole. The server reaches what lives in a sandbox's namespaces (kubelet, webhooks, pods) through an HTTP CONNECT proxy on
a Unix socket (its egress selector): nothing of the host's network is touched.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import yaml
from cryptography.hazmat.primitives import serialization

from mesh.sandbox import pki

ROOT = Path(__file__).resolve().parents[2]
SKIPPED = 77
START_SECONDS = 60.0
SERVICE_CIDR = "198.19.0.0/16"


class NoToolchain(Exception):
    """There is no Go toolchain; the tests that want the real server are skipped."""


@dataclass(frozen=True, slots=True)
class Binaries:
    """Paths, as scripts/kube-binaries.sh prints them."""

    etcd: str
    apiserver: str
    controller_manager: str
    gateway_api_crds: Path
    istio_crds: Path


@dataclass(slots=True)
class RealKube:
    """A running server. `directory` holds pki/, kubeconfig, audit.log and the daemons' logs."""

    directory: Path
    binaries: Binaries
    port: int
    processes: dict[str, subprocess.Popen[bytes]]
    commands: dict[str, list[str]]

    @property
    def kubeconfig(self) -> Path:
        return self.directory / "kubeconfig"

    @property
    def audit_log(self) -> Path:
        return self.directory / "audit.log"

    def kill(self, name: str) -> None:
        """SIGKILL one daemon ("etcd", "apiserver" or "controller-manager") and reap it."""
        self.processes[name].kill()
        self.processes[name].wait()

    def start(self, name: str) -> None:
        """(Re)start one daemon with the command it had; the API server is waited for until it is ready, the controller-manager until it leads."""
        with (self.directory / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(self.commands[name], stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        if name == "apiserver":
            self._await(name, "/readyz")
        elif name == "controller-manager":
            self._await(name, "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/kube-controller-manager")

    def _await(self, name: str, path: str) -> None:
        """Until the API server answers 200 to a GET of `path`, which says that `name` is there."""
        keys = pki.Pki(self.directory / "pki")
        deadline = time.monotonic() + START_SECONDS
        context = ssl.create_default_context(cafile=str(keys.ca))
        context.load_cert_chain(keys.cert("admin"), keys.key("admin"))
        with httpx.Client(verify=context, timeout=2) as client:
            while True:
                if self.processes[name].poll() is not None:
                    raise RuntimeError(f"{name} ended: {_tail(self.directory / f'{name}.log')}")
                try:
                    if client.get(f"https://127.0.0.1:{self.port}{path}").status_code == 200:
                        return
                except httpx.TransportError:
                    pass  # not listening yet
                if time.monotonic() > deadline:
                    raise RuntimeError(f"{name} not ready after {START_SECONDS} s: {_tail(self.directory / f'{name}.log')}")
                time.sleep(0.1)


def binaries() -> Binaries:
    """Build or find the binaries. Raises: NoToolchain."""
    found = _printed()
    return Binaries(
        found["ETCD"], found["KUBE_APISERVER"], found["KUBE_CONTROLLER_MANAGER"], Path(found["GATEWAY_API_CRDS"]), Path(found["ISTIO_CRDS"])
    )


def crds() -> tuple[Path, Path]:
    """The real CRDs of Gateway API and of Istio, from their Go modules. Raises: NoToolchain. CalledProcessError: they cannot be had."""
    found = _printed("crds")
    return Path(found["GATEWAY_API_CRDS"]), Path(found["ISTIO_CRDS"])


def _printed(*arguments: str) -> dict[str, str]:
    done = subprocess.run(["sh", "scripts/kube-binaries.sh", *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode == SKIPPED:
        raise NoToolchain
    done.check_returncode()
    return dict(line.split("=", 1) for line in done.stdout.splitlines())


@contextmanager
def real_kube(directory: Path, found: Binaries, egress_socket: Path | None = None, controllers: tuple[str, ...] = ()) -> Iterator[RealKube]:
    """Run etcd and kube-apiserver while the block runs; `directory` is removed by its owner.

    Args: egress_socket: Unix socket of an HTTP CONNECT proxy that leads into the sandbox (it may appear later).
          controllers: names for kube-controller-manager's `--controllers`; () starts none.
    """
    keys = pki.ensure(directory / "pki")
    _write_token_key(keys)
    etcd_client, etcd_peer, port = _free_ports(3)
    server = RealKube(directory, found, port, {}, {})
    server.commands["etcd"] = _etcd(found, directory, etcd_client, etcd_peer)
    server.commands["apiserver"] = _apiserver(found, directory, keys, port, etcd_client, egress_socket)
    server.commands["controller-manager"] = _controller_manager(found, directory, keys, controllers)
    _write_kubeconfig(directory / "kubeconfig", keys, port)
    try:
        server.start("etcd")
        server.start("apiserver")
        if controllers:
            server.start("controller-manager")
        yield server
    finally:
        for process in reversed(list(server.processes.values())):
            process.send_signal(signal.SIGTERM)
        for process in server.processes.values():
            try:
                process.wait(3)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(directory / "etcd", ignore_errors=True)


def _etcd(found: Binaries, directory: Path, client: int, peer: int) -> list[str]:
    url, peer_url = f"http://127.0.0.1:{client}", f"http://127.0.0.1:{peer}"
    return [
        found.etcd, f"--data-dir={directory / 'etcd'}", f"--listen-client-urls={url}", f"--advertise-client-urls={url}",
        f"--listen-peer-urls={peer_url}", f"--initial-advertise-peer-urls={peer_url}", f"--initial-cluster=default={peer_url}",
        "--unsafe-no-fsync", "--log-level=warn",
    ]  # fmt: skip


def _apiserver(found: Binaries, directory: Path, keys: pki.Pki, port: int, etcd: int, egress_socket: Path | None) -> list[str]:
    (directory / "audit-policy.yaml").write_text("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata, omitStages: [RequestReceived]}]\n")
    command = [
        found.apiserver, f"--etcd-servers=http://127.0.0.1:{etcd}", "--bind-address=127.0.0.1", f"--secure-port={port}", "--advertise-address=198.18.0.1",
        f"--tls-cert-file={keys.cert('apiserver')}", f"--tls-private-key-file={keys.key('apiserver')}", f"--client-ca-file={keys.ca}",
        f"--kubelet-certificate-authority={keys.ca}", f"--kubelet-client-certificate={keys.cert('apiserver-kubelet-client')}",
        f"--kubelet-client-key={keys.key('apiserver-kubelet-client')}", "--kubelet-preferred-address-types=InternalIP",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local", f"--service-account-key-file={keys.directory / 'sa.pub'}",
        f"--service-account-signing-key-file={keys.service_account_key}", f"--service-cluster-ip-range={SERVICE_CIDR}", "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",  # besides those that are on by themselves, as kubeadm does
        "--allow-privileged=true", f"--audit-policy-file={directory / 'audit-policy.yaml'}", f"--audit-log-path={directory / 'audit.log'}", "--event-ttl=1h",
    ]  # fmt: skip
    if egress_socket is not None:
        transport = {"proxyProtocol": "HTTPConnect", "transport": {"uds": {"udsName": str(egress_socket)}}}
        config = {
            "apiVersion": "apiserver.k8s.io/v1beta1",
            "kind": "EgressSelectorConfiguration",
            "egressSelections": [{"name": "cluster", "connection": transport}],
        }
        (directory / "egress.yaml").write_text(yaml.safe_dump(config))
        command.append(f"--egress-selector-config-file={directory / 'egress.yaml'}")
    return command


def _controller_manager(found: Binaries, directory: Path, keys: pki.Pki, controllers: tuple[str, ...]) -> list[str]:
    config = directory / "kubeconfig"
    return [
        found.controller_manager, f"--kubeconfig={config}", f"--controllers={','.join(controllers)}", "--use-service-account-credentials=false",
        "--leader-elect=true", "--leader-elect-lease-duration=15s",  # its Lease is how others know that it is there
        f"--service-account-private-key-file={keys.service_account_key}", f"--root-ca-file={keys.ca}", "--secure-port=0",
    ]  # fmt: skip


def _write_kubeconfig(path: Path, keys: pki.Pki, port: int) -> None:
    config = {
        "apiVersion": "v1", "kind": "Config", "current-context": "real",
        "clusters": [{"name": "real", "cluster": {"server": f"https://127.0.0.1:{port}", "certificate-authority": str(keys.ca)}}],
        "users": [{"name": "admin", "user": {"client-certificate": str(keys.cert("admin")), "client-key": str(keys.key("admin"))}}],
        "contexts": [{"name": "real", "context": {"cluster": "real", "user": "admin"}}],
    }  # fmt: skip
    path.write_text(json.dumps(config))
    os.chmod(path, 0o600)


def _write_token_key(keys: pki.Pki) -> None:
    # kube-apiserver reads a PKCS 8 private key for signing, but wants the verifying half as a public key.
    key = serialization.load_pem_private_key(keys.service_account_key.read_bytes(), None)
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    (keys.directory / "sa.pub").write_bytes(public)


def _free_ports(count: int) -> list[int]:
    # These daemons cannot be given port 0 or a descriptor; holding all sockets at once at least keeps the ports distinct.
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [held.getsockname()[1] for held in sockets]
    finally:
        for held in sockets:
            held.close()


def _tail(path: Path) -> str:
    return path.read_text(errors="replace")[-2000:]
