"""The control plane as a process beside a real API server, and callers with real tokens."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from kubernetes import client
from kubernetes.client.exceptions import ApiException

from mesh.xds.certificate_service import (
    PATH,
    CertificateRequest,
    CertificateResponse,
    decode_response,
    encode_request,
)
from tests.support.apiserver import ApiServer

SYSTEM = "triomesh-system"
SERVER_NAME = f"triomesh-control.{SYSTEM}.svc"
_CONFIG_MAP = "triomesh-ca-root-cert"


class Control:
    """A running `python -m mesh.control`. ports: as it printed them ("xds", "secure xds", "monitoring")."""

    def __init__(self, server: ApiServer, process: subprocess.Popen[str], lines: queue.Queue[str]) -> None:
        self.server = server
        self.process = process
        self._lines = lines
        self.ports: dict[str, int] = {}

    def await_ports(self) -> None:
        """Until it serves on all three."""
        while len(self.ports) < 3:
            line = self._lines.get(timeout=30)
            assert line, "the control plane ended: " + (self.server.state / "control.log").read_text()
            name, _, port = line.strip().rpartition(":")
            self.ports[name.rpartition(" ")[0]] = int(port)

    @property
    def log(self) -> str:
        return (self.server.state / "control.log").read_text()

    def metrics(self) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ports['monitoring']}/metrics", timeout=5) as answer:
            return answer.read().decode()

    def roots(self, namespace: str) -> str:
        """What the namespace's ConfigMap says; "" while there is none."""
        with self.server.api() as api:
            try:
                found = client.CoreV1Api(api).read_namespaced_config_map(_CONFIG_MAP, namespace)
            except ApiException as exc:
                if exc.status != 404:
                    raise
                return ""
        return str((found.data or {}).get("root-cert.pem", ""))

    def token(
        self, namespace: str, account: str, audience: str = "triomesh-ca", pod: dict[str, str] | None = None
    ) -> str:
        spec: dict[str, Any] = {"audiences": [audience], "expirationSeconds": 600}
        if pod:
            spec["boundObjectRef"] = {"kind": "Pod", "apiVersion": "v1", **pod}
        with self.server.api() as api:
            made = client.CoreV1Api(api).create_namespaced_service_account_token(account, namespace, {"spec": spec})
        return str(made.status.token)

    @contextmanager
    def channel(self, roots: str) -> Iterator[grpc.Channel]:
        options = [("grpc.ssl_target_name_override", SERVER_NAME), ("grpc.use_local_subchannel_pool", 1)]
        credentials = grpc.ssl_channel_credentials(roots.encode())
        with grpc.secure_channel(f"127.0.0.1:{self.ports['secure xds']}", credentials, options) as channel:
            yield channel

    def sign(self, roots: str, token: str | None, csr_pem: str, seconds: int = 0) -> CertificateResponse:
        """CreateCertificate. Raises: grpc.RpcError."""
        metadata = [("authorization", f"Bearer {token}")] if token is not None else []
        with self.channel(roots) as channel:
            call = channel.unary_unary(PATH)
            return decode_response(
                call(encode_request(CertificateRequest(csr_pem, seconds)), timeout=20, metadata=metadata)
            )


@contextmanager
def control_plane(server: ApiServer, *options: str) -> Iterator[Control]:
    command = [sys.executable, "-m", "mesh.control", "--kubeconfig", str(server.kubeconfig), "--namespace", SYSTEM]
    for door in ("--xds", "--secure-xds", "--monitoring"):
        command += [door, "127.0.0.1:0"]
    lines: queue.Queue[str] = queue.Queue()
    with open(server.state / "control.log", "a") as log:
        process = subprocess.Popen(
            [*command, *options],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            lines.put(line)
        lines.put("")

    reader = threading.Thread(target=read)
    reader.start()
    try:
        control = Control(server, process, lines)
        yield control
    finally:
        process.terminate()
        process.wait(30)
        reader.join()
        assert process.stdout is not None
        process.stdout.close()


def csr(key: ec.EllipticCurvePrivateKey | None = None, *uris: str) -> str:
    """A CSR that asks for what it is told to ask for."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "admin")] if uris else [])
    )
    if uris:
        names = [x509.UniformResourceIdentifier(uri) for uri in uris]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()
