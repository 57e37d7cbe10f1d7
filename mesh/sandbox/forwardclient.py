"""Ask a sandbox's forwarder: where the host reaches Services, and where pods reach the host. The answering side is `forward`."""

import json
import socket
from typing import Any

from mesh.sandbox.failure import SandboxError
from mesh.sandbox.layout import Layout, locate

Json = dict[str, Any]


def forwards(name: str = "default") -> dict[str, dict[str, str]]:
    """{"<namespace>/<service>": {"<port>": "127.0.0.1:<port>"}} of the LoadBalancer Services reachable from the host."""
    file = locate(name).forwards_file
    result: dict[str, dict[str, str]] = json.loads(file.read_text()) if file.exists() else {}
    return result


def wait_forward(name: str, service: str, port: int, timeout_seconds: float = 30.0) -> str:
    """The host's address of a LoadBalancer Service's port, as soon as there is one.

    Raises: SandboxError: none in time.
    """
    try:
        return str(_ask(locate(name), {"wait": [service, str(port)]}, timeout_seconds)["address"])
    except (OSError, ValueError) as exc:
        raise SandboxError(f"no host address for Service {service} port {port} after {timeout_seconds:g} s: {exc}") from exc


def reach(name: str, target: str) -> str:
    """Where pods find `target` ("<ip>:<port>" as the host reaches it): an address of the node, "198.18.0.1:<port>".

    Raises: SandboxError: the sandbox is not up, or the target is no address.
    """
    try:
        answer = _ask(locate(name), {"reach": target}, 30.0)
    except (OSError, ValueError) as exc:
        raise SandboxError(f"the sandbox's forwarder does not answer: {exc}") from exc
    if "error" in answer:
        raise SandboxError(f"{target} cannot be made reachable in the sandbox: {answer['error']}")
    return str(answer["address"])


def _ask(layout: Layout, request: Json, timeout_seconds: float) -> Json:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(timeout_seconds)
        sock.connect(str(layout.forward_socket))
        sock.sendall(json.dumps(request).encode() + b"\n")
        with sock.makefile() as lines:
            answer: Json = json.loads(lines.readline())
            return answer
