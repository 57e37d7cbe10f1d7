"""A node agent's parts in this process, over a real API server (in this process too) and a real container runtime (a process). Needs root.

    async with node(tmp_path) as here:
        await here.create("p", "sleep 1000")                     # a pod on the node's network, bound to this node
        pod = await here.until("p", is_running)                  # waits for its watch, not for time
        await here.event("p", "Killing")

`networked=True` also makes the node's network namespace, for pods with networks of their own.
"""

import gc
import secrets
import socket
import subprocess
import time
import warnings
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trio
import trio.testing

from mesh.sandbox import netns
from mesh.sandbox.apiserver.main import run as run_api
from mesh.sandbox.events import EventRecorder
from mesh.sandbox.images import load_table
from mesh.sandbox.informer import Informer
from mesh.sandbox.ipam import AddressPool
from mesh.sandbox.kubeclient import (
    CONFIGMAPS,
    EVENTS,
    PODS,
    SECRETS,
    SERVICE_ACCOUNTS,
    SERVICES,
    KubeClient,
    Resource,
    read_kubeconfig,
)
from mesh.sandbox.layout import Layout
from mesh.sandbox.network import NODE_IP
from mesh.sandbox.node.context import NodeContext
from mesh.sandbox.node.main import Node
from mesh.sandbox.node.probing import Prober
from mesh.sandbox.node.references import References
from tests.support.node_runtime import runtime

Json = dict[str, Any]
Holds = Callable[[Json | None], bool]


@asynccontextmanager
async def api_client(directory: Path) -> AsyncIterator[KubeClient]:
    """An API server with the `default` service account, and its admin."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    try:
        async with _serving(directory, listener) as client:
            yield client
    finally:
        # httpcore leaves a connection that was cancelled while it was being made to the garbage collector: collect it here, and
        # not in the middle of another test, which would be blamed for it.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()


@asynccontextmanager
async def _serving(directory: Path, listener: socket.socket) -> AsyncIterator[KubeClient]:
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run_api, directory, [listener])
            await trio.testing.wait_all_tasks_blocked()  # it has written its kubeconfig
            client = KubeClient(read_kubeconfig(directory / "kubeconfig"), "unit")
            account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
            await client.create(SERVICE_ACCOUNTS, "default", account)
            try:
                yield client
            finally:
                nursery.cancel_scope.cancel()
                with trio.CancelScope(shield=True):
                    await client.aclose()


async def until(informer: Informer, name: str, holds: Holds, namespace: str = "default") -> Json | None:
    """Wait until the object (None when there is none) is as `holds` says; returns it."""
    changed = trio.Event()

    def on_change(_old: Json | None, _new: Json | None) -> None:
        changed.set()

    informer.subscribe(on_change)
    while not holds(informer.get(namespace, name)):
        await changed.wait()
        changed = trio.Event()
    return informer.get(namespace, name)


@dataclass
class Here:
    """The running parts."""

    context: NodeContext
    node: Node
    client: KubeClient
    informers: dict[Resource, Informer]
    state: Path
    runtime: "subprocess.Popen[bytes]"

    async def create(self, name: str, script: str = "sleep 1000", container: Json | None = None, **spec: Any) -> Json:
        """Create a pod whose container `main` runs `sh -c script`."""
        main = {"name": "main", "image": "busybox:1", "command": ["sh", "-c", script], **(container or {})}
        body = {"nodeName": "node", "hostNetwork": True, "terminationGracePeriodSeconds": 1, "automountServiceAccountToken": False, **spec}
        body.setdefault("containers", [main])
        return await self.client.create(PODS, "default", {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": body})

    async def until(self, name: str, holds: Holds) -> Json:
        """Wait until the pod is as `holds` says; returns it."""
        return await until(self.informers[PODS], name, holds) or {}

    async def event(self, name: str, reason: str, count: int = 1) -> Json:
        """Wait until an Event with this reason about the pod has been written; returns it."""
        found: list[Json] = []

        def seen(_: Json | None) -> bool:
            found[:] = [e for e in self.informers[EVENTS].all() if e["involvedObject"]["name"] == name and e["reason"] == reason]
            return sum(e["count"] for e in found) >= count

        await until(self.informers[EVENTS], "", seen)
        return found[-1]

    async def said(self, pod: Json, words: str, container: str = "main") -> None:
        """Wait until a container has written `words`: asked of the runtime again and again, which writes them."""
        while words not in self.log(pod, container):
            await self.context.runtime.containers()

    def log(self, pod: Json, container: str = "main", attempt: int = 0) -> str:
        """What a container has written."""
        return self.context.layout.pod(pod["metadata"]["uid"]).joinpath("logs", container, f"{attempt}.log").read_text()


@asynccontextmanager
async def node(directory: Path, *, networked: bool = False) -> AsyncIterator[Here]:
    """A node called `node`."""
    name = f"u{secrets.token_hex(4)}"
    layout = Layout(name, directory / name)
    layout.pods.mkdir(parents=True)
    if networked:
        netns.set_up_node(layout.node_netns)
    try:
        async with api_client(directory / "api") as client, runtime(directory) as box, trio.open_nursery() as nursery:
            events = EventRecorder(client, "kubelet", "node", time.time)
            informers = {r: Informer(client, r) for r in (PODS, SERVICES, EVENTS)}

            def on_config(old: Json | None, new: Json | None) -> None:
                made.on_config(old, new)

            maps, hidden = References(client, CONFIGMAPS, on_config), References(client, SECRETS, on_config)
            for run in (events.run, maps.run, hidden.run, *(informer.run for informer in informers.values())):
                nursery.start_soon(run)
            for informer in informers.values():
                await informer.synced.wait()
            context = NodeContext(
                layout=layout,
                name="node",
                node_ip=NODE_IP,
                cpus=2,
                memory_bytes=1 << 30,
                client=client,
                runtime=box.client,
                prober=Prober(box.client),
                events=events,
                resolve_image=load_table(layout.images_file).resolve,
                addresses=AddressPool(layout.root / "ipam.json"),
                services=informers[SERVICES],
                configmaps=maps,
                secrets=hidden,
                adopted={},
                setups=trio.CapacityLimiter(4),
                clock=time.time,
            )
            made = Node(context, informers[PODS], nursery)
            informers[PODS].subscribe(made.on_pod)
            informers[SERVICES].subscribe(made.on_config)
            yield Here(context, made, client, informers, directory / "api", box.process)
            for pod in list(informers[PODS].all()):
                await client.delete(PODS, "default", pod["metadata"]["name"], grace_seconds=0)
            for pod in list(informers[PODS].all()):
                await until(informers[PODS], pod["metadata"]["name"], lambda found: found is None)
            while made.workers:
                await trio.testing.wait_all_tasks_blocked(0.01)
            # A connection that is cancelled while it is being made is closed by nobody (httpcore): let the last Events be written.
            await trio.testing.wait_all_tasks_blocked(0.02)
            nursery.cancel_scope.cancel()
    finally:
        for path in layout.pods.glob("*/ns/*"):
            netns.unmount_file(path)
        if networked:
            netns.remove_netns(layout.node_netns)


def is_running(pod: Json | None) -> bool:
    """Whether the pod's container `main` runs."""
    return state_of(pod, "main").keys() == {"running"}


def state_of(pod: Json | None, container: str) -> Json:
    """{"running": …}, {"waiting": …}, {"terminated": …} or {}."""
    return status_of(pod, container).get("state", {})


def status_of(pod: Json | None, container: str = "main") -> Json:
    """The ContainerStatus, or {}."""
    status = (pod or {}).get("status") or {}
    lists = ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses")
    return next((item for key in lists for item in status.get(key) or () if item["name"] == container), {})
