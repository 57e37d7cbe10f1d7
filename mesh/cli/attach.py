"""Attach: the sandbox's node, and those controllers that a cluster lacks, on an API server that runs already; and taking them away again.

What is put into the cluster: ClusterRoles and bindings named `triomesh:sandbox-*` (charts/triomesh/attach), the Node with its Lease, the Service
kube-dns where there was none, and, unless `--bare`, the mesh. The daemons prove who they are by client certificates signed by the cluster's CA.
Kubelet, service proxy and scheduler are what they are in every cluster (`system:node:…`, `system:kube-proxy`, `system:kube-scheduler`: the Node
authorizer's rules and Kubernetes' own roles); our controllers have a name and a role for each of them. Admin's credentials are meshctl's alone.
"""

from __future__ import annotations

import base64
import ipaddress
import json
import os
import socket
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from mesh.cli.failure import NEGATIVE, UNREACHABLE, USAGE, CommandError
from mesh.cli.install import CHARTS, Document, apply_all, documents
from mesh.cli.kube import Kube, KubeError
from mesh.cli.output import step
from mesh.sandbox import addons, leftovers, pki, reach
from mesh.sandbox.attachment import SCHEDULER, Attachment, BadControllers, choose
from mesh.sandbox.layout import Layout
from mesh.sandbox.network import NODE_IP, SERVICE_NETWORK

NODE = "node"
NODE_USER, NODE_GROUP, CONTROLLERS_USER = f"system:node:{NODE}", "system:nodes", "triomesh:sandbox-controllers"
RBAC = CHARTS / "triomesh/attach"
CONTROLLER_LABEL = "triomesh.io/controller"
DISCOVERY, COORDINATION = "discovery.k8s.io/v1", "coordination.k8s.io/v1"
KUBERNETES_SECONDS, GONE_SECONDS = 15.0, 60.0
CREDENTIALS = (
    pki.Leaf("kubelet", NODE_USER, (NODE_GROUP,), ("localhost", "127.0.0.1", NODE_IP), server=True),
    pki.Leaf("node", NODE_USER, (NODE_GROUP,), client=True),
    pki.Leaf("proxy", "system:kube-proxy", client=True),
)
SCHEDULER_CREDENTIALS = pki.Leaf("scheduler", "system:kube-scheduler", client=True)
CONTROLLERS_CREDENTIALS = pki.Leaf("controllers", CONTROLLERS_USER, client=True)


def attach(layout: Layout, kubeconfig: Path, authority: Path | None, controllers: str, with_mesh: bool) -> Attachment:
    """Prepare the state directory and the cluster; `supervisor.up` then starts the sandbox without an API server of its own.

    Args: authority: directory with `ca.crt` and `ca.key`, the CA that the server trusts for clients and kubelets; None = `pki` beside the kubeconfig.
          controllers: as `attachment.choose` takes it.
    Raises: CommandError: this server cannot be used, in words for people. KubeError.
    """
    admin = _flattened(kubeconfig)
    server = str(admin["clusters"][0]["cluster"]["server"]).rstrip("/")
    if (known := _known(layout)) is not None:
        if known.server == server:
            return known
        raise CommandError(f"sandbox {layout.name} is attached to {known.server}; take it down first, or use another --name", USAGE)
    keys = pki.Pki(authority or kubeconfig.resolve().parent / "pki")
    _check_authority(keys, admin["clusters"][0]["cluster"])
    kube = Kube(str(kubeconfig))
    inside = _address_inside(kube)
    leases = _held(kube, "kube-system")
    if NODE in _held(kube, "kube-node-lease"):
        raise CommandError(f"{server} has a live node called {NODE}: another sandbox is attached to it", NEGATIVE)
    try:
        chosen = choose(controllers, leases)
    except BadControllers as exc:
        raise CommandError(f"--controllers: {exc}", USAGE) from exc
    _check_node_authorizer(kube)
    step(f"attaching to {server}; controllers of ours: {', '.join(chosen) or 'none'}")
    made = Attachment(server, chosen, with_mesh and not _exists(kube, "v1", "Namespace", "triomesh-system"))
    apply_all(kube, _rbac(made.managers))
    _make_dns(kube)
    layout.root.mkdir(parents=True, exist_ok=True)
    leaves = credentials(made)
    issued = pki.issue(keys, layout.pki, leaves)
    reach.write(layout.reach_file, {_host_address(server): inside[1]})
    _write(layout.kubeconfig, admin)
    for name in (leaf.file for leaf in leaves if leaf.client):
        path = layout.root / f"kubeconfig.{name}"
        _write(path, _inside_kubeconfig(issued, name, inside, str(urlsplit(server).hostname), admin["clusters"][0]["cluster"]))
    made.write(layout.attachment_file)
    return made


def credentials(attachment: Attachment) -> list[pki.Leaf]:
    """Certificates of the daemons that run."""
    more = [SCHEDULER_CREDENTIALS] * (SCHEDULER in attachment.controllers) + [CONTROLLERS_CREDENTIALS] * bool(attachment.managers)
    return [*CREDENTIALS, *more]


def remove_mesh(kube: Kube, objects: Iterable[Document]) -> None:
    """Delete the mesh's own objects, while the node still runs to end its pods. CRDs stay: with them would go the routes that users made.

    Raises: KubeError.
    """
    last_first = sorted(objects, key=lambda item: (item["kind"] != "MutatingWebhookConfiguration", item["kind"] == "Namespace"))
    for item in last_first:
        kube.delete(str(item["apiVersion"]), str(item["kind"]), str(item["metadata"]["name"]), str(item["metadata"].get("namespace", "")))
    namespaces = [str(item["metadata"]["name"]) for item in last_first if item["kind"] == "Namespace"]
    kube.until("v1", "Namespace", "", lambda found: not any(name in found for name in namespaces), GONE_SECONDS)


def remove_node(kube: Kube) -> None:
    """Delete what `attach` and the node put into the cluster. Pods that were on the node are deleted without grace: nobody can end them.

    Raises: KubeError.
    """
    pods = kube.json("GET", "/api/v1/pods", {"fieldSelector": f"spec.nodeName={NODE}"})["items"]
    kube.delete("v1", "Node", NODE)
    kube.delete(COORDINATION, "Lease", NODE, "kube-node-lease")
    for pod in pods:
        path = f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}"
        body = {"gracePeriodSeconds": 0, "preconditions": {"uid": pod["metadata"]["uid"]}}
        try:
            kube.call("DELETE", path, body=body)
        except KubeError as exc:
            if exc.code not in (404, 409):  # gone, or another pod by now
                raise
    slices = kube.list(DISCOVERY, "EndpointSlice", "kube-system", f"endpointslice.kubernetes.io/managed-by={addons.MANAGER}")
    for item in slices:
        kube.delete(DISCOVERY, "EndpointSlice", item["metadata"]["name"], "kube-system")
        kube.delete("v1", "Service", item["metadata"]["name"], "kube-system")
    for item in documents(RBAC / "controllers.yaml"):
        kube.delete(str(item["apiVersion"]), str(item["kind"]), str(item["metadata"]["name"]), str(item["metadata"].get("namespace", "")))


def host_address(text: str) -> str:
    """"<ip>:<port>" of HOST:PORT as this host resolves it. Raises: CommandError."""
    host, _, port = text.rpartition(":")
    try:
        found = socket.getaddrinfo(host.removeprefix("[").removesuffix("]"), int(port), type=socket.SOCK_STREAM)
    except (OSError, ValueError) as exc:
        raise CommandError(f"{text!r} is no HOST:PORT that this machine can resolve: {exc}", USAGE) from exc
    address, number = str(found[0][4][0]), int(port)
    return f"[{address}]:{number}" if ":" in address else f"{address}:{number}"


def _known(layout: Layout) -> Attachment | None:
    found = Attachment.read(layout.attachment_file)
    if found is None and ((layout.root / "state.db").exists() or leftovers.namespaces(layout)):
        raise CommandError(f"sandbox {layout.name} has an API server of its own; take it down first, or use another --name", USAGE)
    return found


def _check_authority(keys: pki.Pki, cluster: Mapping[str, Any]) -> None:
    for path in (keys.ca, keys.key("ca")):
        if not path.is_file():
            raise CommandError(f"{path}: not found; name with --pki the directory of the CA (ca.crt, ca.key) that the server trusts for clients and kubelets", USAGE)
    if base64.b64decode(cluster.get("certificate-authority-data", "")).strip() != keys.ca.read_bytes().strip():
        raise CommandError(f"{keys.ca} is not the CA of the kubeconfig's cluster", USAGE)


def _address_inside(kube: Kube) -> tuple[str, int]:
    """Address and port of the `kubernetes` Service's endpoint, which must be the node's: that is where pods look for the server."""
    name = "kubernetes"
    kube.until("v1", "Service", "default", lambda found: name in found, KUBERNETES_SECONDS)
    slices = kube.until(DISCOVERY, "EndpointSlice", "default", lambda found: name in found, KUBERNETES_SECONDS)
    cluster_ip = str(kube.get("v1", "Service", name, "default")["spec"]["clusterIP"])
    if ipaddress.ip_address(cluster_ip) not in SERVICE_NETWORK:
        raise CommandError(f"the server's ClusterIPs are not in the sandbox's network: start it with --service-cluster-ip-range={SERVICE_NETWORK}")
    addresses = [address for endpoint in slices[name]["endpoints"] for address in endpoint["addresses"]]
    if addresses != [NODE_IP]:
        raise CommandError(f"pods would look for the server at {', '.join(addresses)}: start it with --advertise-address={NODE_IP}")
    return NODE_IP, int(slices[name]["ports"][0]["port"])


def _held(kube: Kube, namespace: str) -> set[str]:
    """Names of the Leases that somebody holds now."""
    now = datetime.now(UTC)
    found = set()
    for item in kube.list(COORDINATION, "Lease", namespace):
        spec = item["spec"]
        if spec.get("holderIdentity") and spec.get("renewTime"):
            renewed = datetime.fromisoformat(spec["renewTime"])
            if now < renewed + timedelta(seconds=spec.get("leaseDurationSeconds", 0)):
                found.add(str(item["metadata"]["name"]))
    return found


def _exists(kube: Kube, api_version: str, kind: str, name: str, namespace: str = "") -> bool:
    try:
        kube.get(api_version, kind, name, namespace)
    except KubeError as exc:
        if exc.code == 404:
            return False
        raise
    return True


def _check_node_authorizer(kube: Kube) -> None:
    """A node's rights are no role: the server must give them."""
    wish = {"resource": "nodes", "subresource": "status", "verb": "patch", "name": NODE}
    review = {"spec": {"user": NODE_USER, "groups": [NODE_GROUP, "system:authenticated"], "resourceAttributes": wish}}
    answer = kube.json("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", body=review)
    if not answer["status"].get("allowed"):
        raise CommandError(f"the server lets no node in (user {NODE_USER}, group {NODE_GROUP}): start it with --authorization-mode=Node,RBAC")


def _make_dns(kube: Kube) -> None:
    """kube-dns with our node behind it, where there is none."""
    (_, service), _ = made = addons.dns_objects()
    if not _exists(kube, "v1", "Service", service["metadata"]["name"], service["metadata"]["namespace"]):
        apply_all(kube, [body for _, body in made])


def _rbac(managers: Iterable[str]) -> list[Document]:
    """Roles of those of our controllers that run, and of what all of them do."""
    wanted = set(managers)
    return [item for item in documents(RBAC / "controllers.yaml") if wanted and item["metadata"]["labels"].get(CONTROLLER_LABEL, "") in {"", *wanted}]


def _host_address(server: str) -> str:
    parts = urlsplit(server)
    host = f"[{parts.hostname}]" if ":" in str(parts.hostname) else parts.hostname
    return host_address(f"{host}:{parts.port or 443}")


def _flattened(path: Path) -> dict[str, Any]:
    """The current context of a kubeconfig alone, with the files that it names inside. Raises: CommandError."""
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
        context = _named(config, "contexts", config["current-context"])
        cluster = _named(config, "clusters", context["context"]["cluster"])
        user = _named(config, "users", context["context"]["user"])
        for part, names in ((cluster["cluster"], ("certificate-authority",)), (user["user"], ("client-certificate", "client-key"))):
            for name in names:
                if name in part:
                    content = (path.resolve().parent / part.pop(name)).read_bytes()
                    part[f"{name}-data"] = base64.b64encode(content).decode()
        urlsplit(cluster["cluster"]["server"])
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError, AttributeError, StopIteration) as exc:
        raise CommandError(f"{path}: not a kubeconfig with a current context: {exc!r}", UNREACHABLE) from exc
    return {"apiVersion": "v1", "kind": "Config", "clusters": [cluster], "users": [user], "contexts": [context], "current-context": context["name"]}


def _named(config: dict[str, Any], section: str, name: str) -> dict[str, Any]:
    return dict(next(entry for entry in config[section] if entry["name"] == name))


def _inside_kubeconfig(keys: pki.Pki, name: str, inside: tuple[str, int], server_name: str, cluster: Mapping[str, Any]) -> dict[str, Any]:
    def data(path: Path) -> str:
        return base64.b64encode(path.read_bytes()).decode()

    # The certificate need not be for the node's address: it is checked against the name in the kubeconfig that was given.
    place = {"server": f"https://{inside[0]}:{inside[1]}", "tls-server-name": cluster.get("tls-server-name", server_name), "certificate-authority-data": data(keys.ca)}
    user = {"client-certificate-data": data(keys.cert(name)), "client-key-data": data(keys.key(name))}
    context = {"cluster": "attached", "user": name}
    return {"apiVersion": "v1", "kind": "Config", "clusters": [{"name": "attached", "cluster": place}], "users": [{"name": name, "user": user}],
            "contexts": [{"name": name, "context": context}], "current-context": name}  # fmt: skip


def _write(path: Path, document: Mapping[str, Any]) -> None:
    part = path.with_name(path.name + ".part")
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(document, file, indent=2)  # JSON is YAML
    part.replace(path)
