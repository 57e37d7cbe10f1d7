"""The stories' sandbox on a real kube-apiserver: the same mesh, node and tests, with etcd, API server and controllers of Kubernetes."""

import json
import shutil
import tempfile
from collections import defaultdict
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mesh.cli.sandbox import Target
from mesh.sandbox.layout import locate
from tests.support.kube_server import RealKube, binaries, real_kube
from tests.support.mesh_sandbox import Stage

ALL = ("*",)
ACCOUNT = "system:serviceaccount:triomesh-system:"
DAEMONS = ("system:node:node", "system:kube-proxy", "system:kube-scheduler")
"""Names that the sandbox's node, its service proxy and its scheduler share with those of any cluster."""
NO_RELATIONSHIP = "no relationship found between node"  # the Node authorizer's words
Permission = tuple[str, str, str]
"""(verb, API group, resource[/subresource])"""


class KubeStage(Stage):
    """A sandbox attached to a server of its own. `audit_log` outlives neither."""

    def __init__(self, name: str, controllers: tuple[str, ...] = ALL) -> None:
        """controllers: of kube-controller-manager; () = it does not run, and ours do its work."""
        super().__init__(name)
        self._controllers = controllers
        self.has_controller_manager = bool(controllers)
        self._servers = ExitStack()
        self._kube: RealKube | None = None
        self.outages: list[tuple[datetime, datetime]] = []

    @property
    def kube(self) -> RealKube:
        assert self._kube is not None, "the stage is not up"
        return self._kube

    def api_server(self) -> Target:
        """Started when the stage comes up."""
        directory = Path(tempfile.mkdtemp(prefix="tm-kube-"))
        self._servers.callback(shutil.rmtree, directory)
        self._kube = self._servers.enter_context(real_kube(directory, binaries(), locate(self.name).egress_socket, self._controllers))
        return Target(self._kube.kubeconfig, controllers="auto" if self.has_controller_manager else "all")

    def roles(self) -> list[dict[str, Any]]:
        """The ClusterRoles that attaching has made."""
        assert self.mesh is not None, "the stage is not up"
        return self.mesh.kube.list("rbac.authorization.k8s.io/v1", "ClusterRole", labels="app.kubernetes.io/part-of=triomesh-sandbox")

    def restart_api_server(self) -> None:
        """SIGKILL it; returns when it is ready again."""
        killed_at = datetime.now(UTC)
        self.kube.kill("apiserver")
        self.kube.start("apiserver")
        self.outages.append((killed_at, datetime.now(UTC)))

    def down(self) -> None:
        try:
            super().down()
        finally:
            self._servers.close()
            self._kube = None


def is_ours(entry: dict[str, Any]) -> bool:
    """Whether a request was the mesh's or the sandbox's."""
    name = entry["user"].get("username", "")
    return "triomesh" in name or name in DAEMONS


def audited(log: Path) -> list[dict[str, Any]]:
    """The entries of an audit log."""
    return [json.loads(line) for line in log.read_text().splitlines()]


def denied(entries: list[dict[str, Any]], outages: list[tuple[datetime, datetime]]) -> list[str]:
    """Requests of the mesh or the sandbox that were refused for want of a right.

    Not those by admission, as of an event in a namespace that ends; nor those of an outage: a server that is not ready yet has not read its roles and refuses everybody;
    nor those to the node that were granted a moment later: the Node authorizer may hear later than the node of where a pod was put.
    """
    granted_at: dict[tuple[str, str, str], datetime] = {}
    for entry in entries:
        if entry.get("responseStatus", {}).get("code", 500) < 300:
            granted_at[_asked(entry)] = _received(entry)
    return [
        f"{entry['user'].get('username')} {entry['verb']} {entry['requestURI']}: {entry['responseStatus'].get('code')}"
        for entry in entries
        if is_ours(entry) and (entry.get("responseStatus", {}).get("code") == 401 or entry.get("annotations", {}).get("authorization.k8s.io/decision") == "forbid")
        and not any(begin <= _received(entry) <= end for begin, end in outages)
        and not (NO_RELATIONSHIP in entry.get("annotations", {}).get("authorization.k8s.io/reason", "") and _asked(entry) in granted_at and granted_at[_asked(entry)] > _received(entry))
    ]


def _asked(entry: dict[str, Any]) -> tuple[str, str, str]:
    return entry["user"].get("username", ""), entry["verb"], entry["requestURI"]


def _received(entry: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(entry["requestReceivedTimestamp"])


def used(entries: list[dict[str, Any]]) -> dict[str, set[Permission]]:
    """What each user of the mesh or the sandbox did."""
    found: dict[str, set[Permission]] = defaultdict(set)
    for entry in entries:
        reference = entry.get("objectRef")
        if reference and is_ours(entry):
            resource = "/".join(filter(None, (reference["resource"], reference.get("subresource"))))
            found[entry["user"]["username"]].add((entry["verb"], reference.get("apiGroup", ""), resource))
    return found


def granted(roles: list[dict[str, Any]]) -> set[Permission]:
    """What Roles and ClusterRoles allow."""
    return {
        (verb, group, resource) for role in roles for rule in role["rules"] for verb in rule["verbs"] for group in rule.get("apiGroups", ()) for resource in rule.get("resources", ())
    }
