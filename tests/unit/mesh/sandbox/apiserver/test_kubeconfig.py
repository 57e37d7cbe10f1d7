from __future__ import annotations

import json
import socket
import stat
from pathlib import Path

from mesh.sandbox import pki
from mesh.sandbox.apiserver.kubeconfig import Address, write_kubeconfigs


def test_two_sockets_two_files(tmp_path: Path) -> None:
    made = pki.ensure(tmp_path / "pki")
    with socket.create_server(("0.0.0.0", 0)) as node, socket.create_server(("127.0.0.1", 0)) as host:
        found = write_kubeconfigs(tmp_path, made, [node, host])
        assert found == (("127.0.0.1", host.getsockname()[1]), ("198.18.0.1", node.getsockname()[1]))
        for name, address in (("kubeconfig", found.host), ("kubeconfig.node", found.node)):
            document = json.loads((tmp_path / name).read_text())
            assert document["clusters"][0]["cluster"]["server"] == address.url and document["users"][0]["user"]["client-key-data"]
            assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600


def test_one_socket_serves_both(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as host:
        found = write_kubeconfigs(tmp_path, pki.ensure(tmp_path / "pki"), [host])
        assert found.host == found.node


def test_ipv6_urls() -> None:
    assert Address("::1", 1).url == "https://[::1]:1"
