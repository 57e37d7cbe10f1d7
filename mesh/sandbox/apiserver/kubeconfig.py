"""kubeconfig files: admin's, from the host (`kubeconfig`) and from inside the node namespace (`kubeconfig.node`)."""

from __future__ import annotations

import base64
import ipaddress
import json
import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from mesh.sandbox.pki import Pki

NODE_ADDRESS = "198.18.0.1"


class Address(NamedTuple):
    """Where one of the listening sockets can be reached."""

    host: str
    port: int

    @property
    def url(self) -> str:
        """`https://host:port`."""
        return f"https://[{self.host}]:{self.port}" if ":" in self.host else f"https://{self.host}:{self.port}"


class Addresses(NamedTuple):
    """The server as the host and as the node see it (the same, if there is one socket)."""

    host: Address
    node: Address


def write_kubeconfigs(state: Path, certificates: Pki, sockets: Sequence[socket.socket]) -> Addresses:
    """Write both files into `state` and say what they point at. The first loopback socket is the host's."""
    found = [_address(sock) for sock in sockets]
    host = next((a for a in found if ipaddress.ip_address(a.host).is_loopback), found[0])
    node = next((a for a in found if a is not host), host)
    for name, address in (("kubeconfig", host), ("kubeconfig.node", node)):
        _write(state / name, _document(address, certificates))
    return Addresses(host, node)


def _address(sock: socket.socket) -> Address:
    name = sock.getsockname()
    host = NODE_ADDRESS if ipaddress.ip_address(name[0]).is_unspecified else name[0]
    return Address(host, name[1])


def _document(address: Address, certificates: Pki) -> dict[str, object]:
    def data(path: Path) -> str:
        return base64.b64encode(path.read_bytes()).decode()

    name = "triomesh-sandbox"
    cluster = {"server": address.url, "certificate-authority-data": data(certificates.ca)}
    user = {"client-certificate-data": data(certificates.cert("admin")), "client-key-data": data(certificates.key("admin"))}
    context = {"cluster": name, "user": "kubernetes-admin", "namespace": "default"}
    return {"apiVersion": "v1", "kind": "Config", "clusters": [{"name": name, "cluster": cluster}], "users": [{"name": "kubernetes-admin", "user": user}],
            "contexts": [{"name": name, "context": context}], "current-context": name}  # fmt: skip


def _write(path: Path, document: dict[str, object]) -> None:
    # JSON is YAML: no YAML library is needed to write one.
    part = path.with_name(path.name + ".part")
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(document, file, indent=2)
        file.write("\n")
    part.replace(path)
