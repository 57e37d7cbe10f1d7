"""Where a sandbox keeps its files and what its kernel objects are called.

    DIR/                       /var/lib/triomesh/<name>, or $TRIOMESH_STATE/<name>
      kubeconfig  kubeconfig.node  pki/  state.db      the API server's
      supervisor.json          pid, start times and addresses of every daemon
      supervisor.sock          "stop" and "status" requests
      egress.sock              HTTP CONNECT into the sandbox, for an API server on the host
      reach.json               {"<ip>:<port> of the host": <port of 198.18.0.1>}
      attached.json            present when the cluster is another API server's (see attachment)
      forwards.json            {"<ns>/<service>": {"<port>": "127.0.0.1:<port>"}}
      ipam.json                next pod address
      images.yaml              the user's additions to the image table (optional)
      logs/<daemon>.log
      pods/<uid>/              namespaces, volumes, containers of one pod
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

DEFAULT_STATE = "/var/lib/triomesh"
NETNS_DIR = Path("/run/netns")
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,18}[a-z0-9])?")


class BadName(ValueError):
    """A sandbox name that cannot be part of an interface or namespace name."""


@dataclass(frozen=True, slots=True)
class Layout:
    """All paths and names of one sandbox."""

    name: str
    root: Path

    @property
    def node_netns(self) -> str:
        return f"tm-{self.name}-node"

    @property
    def node_netns_path(self) -> Path:
        return NETNS_DIR / self.node_netns

    @property
    def kubeconfig(self) -> Path:
        return self.root / "kubeconfig"

    @property
    def node_kubeconfig(self) -> Path:
        return self.root / "kubeconfig.node"

    @property
    def controllers_kubeconfig(self) -> Path:
        return self.root / "kubeconfig.controllers"

    @property
    def supervisor_file(self) -> Path:
        return self.root / "supervisor.json"

    @property
    def supervisor_socket(self) -> Path:
        return self.root / "supervisor.sock"

    @property
    def runtime_socket(self) -> Path:
        return self.root / "runtime.sock"

    @property
    def forward_socket(self) -> Path:
        return self.root / "forward.sock"

    @property
    def forwards_file(self) -> Path:
        return self.root / "forwards.json"

    @property
    def egress_socket(self) -> Path:
        return self.root / "egress.sock"

    @property
    def reach_file(self) -> Path:
        return self.root / "reach.json"

    @property
    def attachment_file(self) -> Path:
        return self.root / "attached.json"

    @property
    def pki(self) -> Path:
        return self.root / "pki"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def pods(self) -> Path:
        return self.root / "pods"

    @property
    def images_file(self) -> Path:
        return self.root / "images.yaml"

    def pod(self, uid: str) -> Path:
        """Directory of one pod."""
        return self.pods / uid

    def pod_netns(self, uid: str) -> str:
        """Name of a pod's network namespace: `tm-<name>-` and the last 8 hex digits of its uid."""
        return f"tm-{self.name}-{uid.replace('-', '')[-8:]}"

    def is_ours(self, netns: str) -> bool:
        """Whether a network namespace of this name belongs to this sandbox (and not to one called `<name>-x`)."""
        return re.fullmatch(rf"tm-{re.escape(self.name)}-(node|[0-9a-f]{{8}})", netns) is not None


def locate(name: str) -> Layout:
    """The layout of sandbox `name`.

    Raises: BadName: not a DNS label of at most 20 characters.
    """
    if not _NAME.fullmatch(name):
        raise BadName(f"sandbox name {name!r}: use 1 to 20 of a-z, 0-9 and '-', not at the ends")
    if re.search(r"-([0-9a-f]{8}|node)$", f"-{name}"):
        raise BadName(f"sandbox name {name!r}: may not end like one of our namespaces (-node, -<8 hex digits>)")
    return Layout(name, Path(os.environ.get("TRIOMESH_STATE") or DEFAULT_STATE) / name)
