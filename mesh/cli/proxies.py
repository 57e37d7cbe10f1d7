"""Which pods carry a proxy of ours, and what those proxies say of themselves."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import urllib3
from kubernetes import client
from kubernetes.stream import portforward

from mesh.cli.failure import UNREACHABLE, CommandError
from mesh.cli.kube import Kube, KubeError

CONTAINER = "triomesh-proxy"
ADMIN_PORT = 15000
METRICS_PORT = 15020
RELAY_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Proxy:
    """A running pod with our proxy. `workload` is the name of the Deployment (or other owner)."""

    name: str
    namespace: str
    ip: str
    workload: str
    is_ready: bool

    def __str__(self) -> str:
        return f"{self.name}.{self.namespace}"


def proxies(kube: Kube, namespace: str = "") -> list[Proxy]:
    """Every running pod with a proxy, sorted by namespace and name."""
    found = [_proxy(pod) for pod in kube.list("v1", "Pod", namespace) if _has_proxy(pod) and pod.get("status", {}).get("podIP")]
    return sorted(found, key=lambda proxy: (proxy.namespace, proxy.name))


def find(kube: Kube, target: str, namespace: str) -> Proxy:
    """The proxy meant by `POD`, `POD.NAMESPACE` or `deploy/NAME`. Raises: CommandError naming what was looked for."""
    kind, _, name = target.rpartition("/")
    if not kind and "." in name and not any(proxy.name == name for proxy in proxies(kube, namespace)):
        name, _, namespace = name.partition(".")
    candidates = proxies(kube, namespace)
    if kind in ("", "pod", "pods", "po"):
        chosen = [proxy for proxy in candidates if proxy.name == name]
    elif kind in ("deploy", "deployment", "deployments"):
        chosen = [proxy for proxy in candidates if proxy.workload == name]
    else:
        raise CommandError(f"{target}: name a pod or deploy/NAME")
    if not chosen:
        raise CommandError(f"no running pod with a {CONTAINER} container matches {target} in namespace {namespace}")
    return min(chosen, key=lambda proxy: not proxy.is_ready)


def scrape(kube: Kube, targets: Iterable[Proxy]) -> dict[Proxy, str]:
    """The metrics text of many proxies at once; a proxy that went away meanwhile is left out."""

    def one(proxy: Proxy) -> tuple[Proxy, str | None]:
        path = f"/api/v1/namespaces/{proxy.namespace}/pods/{proxy.name}:{METRICS_PORT}/proxy/stats/prometheus"
        try:
            return proxy, kube.call("GET", path, accept="text/plain").decode()
        except KubeError as exc:
            if exc.code in (404, 500, 502, 503, 504):
                return proxy, None
            raise

    with ThreadPoolExecutor(max_workers=8) as pool:
        return {proxy: text for proxy, text in pool.map(one, targets) if text is not None}


def admin(kube: Kube, proxy: Proxy, path: str) -> Any:
    """GET a JSON document of the proxy's admin listener (127.0.0.1:15000 inside the pod)."""
    with forward(kube, proxy.namespace, proxy.name, ADMIN_PORT) as port:
        try:
            answer = urllib3.request("GET", f"http://127.0.0.1:{port}{path}", timeout=30, retries=False)
        except urllib3.exceptions.HTTPError as exc:
            raise CommandError(f"{proxy}: the admin listener does not answer: {exc}", UNREACHABLE) from exc
    if answer.status != 200:
        raise CommandError(f"{proxy}: admin {path} answered {answer.status}: {answer.data[:200].decode(errors='replace')}", UNREACHABLE)
    return json.loads(answer.data)


@contextmanager
def forward(kube: Kube, namespace: str, pod: str, port: int) -> Iterator[int]:
    """A local 127.0.0.1 port that leads to a pod's port while the block runs, through the API server's port-forward.

    Yields: the local port. Concurrency: every accepted connection is a stream of its own.
    """
    core = client.CoreV1Api(kube.api)
    listener = socket.create_server(("127.0.0.1", 0))
    accepted: list[socket.socket] = []

    def serve() -> None:
        while True:
            try:
                local, _ = listener.accept()
            except OSError:
                return
            accepted.append(local)
            try:
                stream = portforward(core.connect_get_namespaced_pod_portforward, pod, namespace, ports=str(port))
                remote = stream.socket(port)
            except Exception as exc:
                # The client on `local` sees a closed connection and reports it; the reason belongs on stderr.
                print(f"meshctl: port-forward to {pod}.{namespace}:{port}: {exc}", flush=True)
                local.close()
                continue
            remote.setblocking(True)
            threading.Thread(target=_relay, args=(local, remote), daemon=True).start()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for local in accepted:  # a client that keeps its connection for later does not keep ours
            _end(local, socket.SHUT_RDWR)


def _relay(local: socket.socket, remote: socket.socket) -> None:
    """Both ways until both ends are through; closes both."""
    back = threading.Thread(target=_pump, args=(remote, local), daemon=True)
    back.start()
    _pump(local, remote)
    back.join()
    local.close()
    remote.close()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(RELAY_BYTES):
            sink.sendall(data)
    except OSError:
        pass  # either side may go first; the peer's read below reports it where it matters
    finally:
        _end(sink, socket.SHUT_WR)
        _end(source, socket.SHUT_RD)


def _end(end: socket.socket, how: int) -> None:
    try:
        end.shutdown(how)
    except OSError:
        pass  # it has ended already


def _has_proxy(pod: dict[str, Any]) -> bool:
    spec = pod["spec"]
    containers = spec["containers"] + spec.get("initContainers", [])
    return any(container["name"] == CONTAINER for container in containers) and pod.get("status", {}).get("phase") == "Running"


def _proxy(pod: dict[str, Any]) -> Proxy:
    meta, status = pod["metadata"], pod["status"]
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions", []))
    return Proxy(meta["name"], meta["namespace"], status["podIP"], workload(pod), ready and "deletionTimestamp" not in meta)


def workload(pod: dict[str, Any]) -> str:
    """The name a person knows a pod's owner by: the Deployment behind a ReplicaSet, else the owner, else the pod."""
    meta = pod["metadata"]
    for owner in meta.get("ownerReferences", []):
        if owner.get("controller"):
            suffix = meta.get("labels", {}).get("pod-template-hash")
            name = str(owner["name"])
            return name.removesuffix(f"-{suffix}") if owner["kind"] == "ReplicaSet" and suffix else name
    return str(meta["name"])
