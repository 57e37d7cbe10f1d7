"""The API server's listening sockets: on 127.0.0.1 of the host, and on the node's address. They outlive the API server."""

import re
import socket
import threading
from pathlib import Path

from mesh.sandbox import linux
from mesh.sandbox.failure import SandboxError
from mesh.sandbox.layout import Layout
from mesh.sandbox.network import NODE_IP

API_PORT = 6443


def open_sockets(layout: Layout) -> list[socket.socket]:
    """The host's, on the port of an earlier run if that is free, and the node's.

    Raises: SandboxError: no free port. OSError: the node's namespace cannot be entered, or its port is taken.
    """
    return [bind_host(read_port(layout.kubeconfig)), _inside(str(layout.node_netns_path))]


def _inside(namespace: str) -> socket.socket:
    made: list[socket.socket | OSError] = []

    def run() -> None:
        try:
            linux.enter(namespace, linux.CLONE_NEWNET)
            sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            sock.bind((NODE_IP, API_PORT))
            sock.listen(1024)
            made.append(sock)
        except OSError as exc:
            made.append(exc)

    thread = threading.Thread(target=run)  # a network namespace is a thread's: this one ends with its task
    thread.start()
    thread.join()
    (result,) = made
    if isinstance(result, OSError):
        raise result
    return result


def read_port(kubeconfig: Path) -> int:
    """The port of an earlier run: clients that kept its kubeconfig go on working."""
    found = re.search(r'\bserver"?: "?https://[^\s"]+:(\d+)', kubeconfig.read_text()) if kubeconfig.exists() else None
    return int(found[1]) if found else 0


def bind_host(port: int) -> socket.socket:
    for candidate in dict.fromkeys((port, 0)):
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", candidate))
        except OSError:
            sock.close()
            continue
        sock.listen(1024)
        return sock
    raise SandboxError("no free port on 127.0.0.1")
