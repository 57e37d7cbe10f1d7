"""Wire the node agent: the only place that constructs things."""

import argparse
import logging
import os
import random
import sys
import time
from pathlib import Path

import trio

from mesh.sandbox import netns
from mesh.sandbox.dnsserver import DnsServer
from mesh.sandbox.events import EventRecorder
from mesh.sandbox.images import ImageResolver
from mesh.sandbox.informer import Informer
from mesh.sandbox.ipam import AddressPool
from mesh.sandbox.kubeclient import (
    CONFIGMAPS,
    ENDPOINT_SLICES,
    NODES,
    PODS,
    SECRETS,
    SERVICES,
    Json,
    KubeClient,
    read_kubeconfig,
)
from mesh.sandbox.layout import Layout
from mesh.sandbox.network import NODE_IP
from mesh.sandbox.node import registration, volumefiles
from mesh.sandbox.node.container import PodFiles
from mesh.sandbox.node.context import MAX_PARALLEL_SETUPS, NodeContext
from mesh.sandbox.node.podworker import PodWorker
from mesh.sandbox.node.probing import Prober
from mesh.sandbox.node.proxy import ServiceProxy
from mesh.sandbox.node.references import References
from mesh.sandbox.node.runtimeclient import RuntimeClient, RuntimeFailure
from mesh.sandbox.node.scheduler import Scheduler
from mesh.sandbox.node.server import KubeletServer

NODE_NAME = "node"
REFERENCES_SECONDS = 10.0
"""How long a pod waits until it is known whether what it refers to is there; then it says so in an Event, and tries again."""
_log = logging.getLogger("node")


class Node:
    """The pods of this node and what they share."""

    def __init__(self, context: NodeContext, pods: Informer, nursery: trio.Nursery) -> None:
        self._context, self._pods, self._nursery = context, pods, nursery
        self._references = (context.configmaps, context.secrets)
        self.workers: dict[str, PodWorker] = {}

    def on_pod(self, old: Json | None, new: Json | None) -> None:
        """A pod was added, changed or deleted."""
        if new is None:
            if old is not None and (worker := self.workers.get(old["metadata"]["uid"])) is not None:
                worker.gone()
            return
        if new["spec"].get("nodeName") != self._context.name:
            return
        uid = new["metadata"]["uid"]
        for references in self._references:
            references.hold(new)
        if (worker := self.workers.get(uid)) is not None:
            worker.update(new)
            return
        worker = self.workers[uid] = PodWorker(self._context, new)
        self._nursery.start_soon(self._run, worker)

    def on_config(self, old: Json | None, new: Json | None) -> None:
        """A ConfigMap, Secret or Service changed: who waits for one looks again."""
        meta = (new or old or {})["metadata"]
        for worker in self.workers.values():
            if worker.pod["metadata"]["namespace"] == meta.get("namespace"):
                worker.poke()

    async def _run(self, worker: PodWorker) -> None:
        try:
            with trio.move_on_after(REFERENCES_SECONDS):
                for references in self._references:
                    await references.synced(worker.uid)
            await worker.run()
        except RuntimeFailure:
            raise
        except Exception:  # the boundary of one pod: it must not take the others with it
            meta = worker.pod["metadata"]
            _log.exception("pod %s/%s", meta["namespace"], meta["name"])
            worker.event("Warning", "FailedSync", "the sandbox's node failed on this pod; see logs/node.log")
        finally:
            self.workers.pop(worker.uid, None)
            for references in self._references:
                references.release(worker.uid)


async def run(layout: Layout, with_scheduler: bool) -> None:
    """Run the node, and unless somebody else does it the scheduler, until cancelled."""
    client = _client(layout, "node", "triomesh-node")
    runtime = await RuntimeClient.connect(layout.runtime_socket)
    cpus = os.cpu_count() or 1
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    events = EventRecorder(client, "kubelet", NODE_NAME, time.time)
    proxy_client = _client(layout, "proxy", "triomesh-proxy")
    pods = Informer(client, PODS, fieldSelector=f"spec.nodeName={NODE_NAME}")
    services, slices = Informer(proxy_client, SERVICES), Informer(proxy_client, ENDPOINT_SLICES)
    informers = [pods, services, slices]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(runtime.run)
        adopted = await runtime.containers()
        await registration.register(client, NODE_NAME, cpus, memory, time.time())
        for informer in informers:
            nursery.start_soon(informer.run)
        nursery.start_soon(events.run)
        for informer in informers:
            await informer.synced.wait()

        def on_config(old: Json | None, new: Json | None) -> None:
            node.on_config(old, new)

        configmaps, secrets = References(client, CONFIGMAPS, on_config), References(client, SECRETS, on_config)
        context = NodeContext(
            layout=layout,
            name=NODE_NAME,
            node_ip=NODE_IP,
            cpus=cpus,
            memory_bytes=memory,
            client=client,
            runtime=runtime,
            prober=Prober(runtime),
            events=events,
            resolve_image=ImageResolver(layout.images_file),
            addresses=AddressPool(layout.root / "ipam.json"),
            services=services,
            configmaps=configmaps,
            secrets=secrets,
            adopted=adopted,
            setups=trio.CapacityLimiter(MAX_PARALLEL_SETUPS),
            clock=time.time,
        )
        await _remove_orphans(context, {pod["metadata"]["uid"] for pod in pods.all()})
        node = Node(context, pods, nursery)
        proxy_events = EventRecorder(proxy_client, "kube-proxy", NODE_NAME, time.time)
        proxy = ServiceProxy(layout, services, slices, proxy_events)
        nursery.start_soon(configmaps.run)
        nursery.start_soon(secrets.run)
        nursery.start_soon(proxy_events.run)
        nursery.start_soon(DnsServer(services, slices, random.Random()).run, NODE_IP)
        nursery.start_soon(proxy.run)
        if with_scheduler:
            nursery.start_soon(_schedule, _client(layout, "scheduler", "triomesh-scheduler"))
        nursery.start_soon(registration.keep_lease, client, NODE_NAME, time.time)
        await nursery.start(KubeletServer(context, node.workers).run, layout.root / "pki")
        pods.subscribe(node.on_pod)
        services.subscribe(node.on_config)
        print("ready", flush=True)


def _client(layout: Layout, role: str, agent: str) -> KubeClient:
    """With the credentials of a role of its own, where there are some (on an API server that is not ours); else with the node's."""
    own = layout.root / f"kubeconfig.{role}"
    return KubeClient(read_kubeconfig(own if own.exists() else layout.node_kubeconfig), agent)


async def _schedule(client: KubeClient) -> None:
    events = EventRecorder(client, "default-scheduler", "", time.time)
    pods, nodes = Informer(client, PODS), Informer(client, NODES)
    async with trio.open_nursery() as nursery:
        for run in (events.run, pods.run, nodes.run):
            nursery.start_soon(run)
        nursery.start_soon(Scheduler(client, pods, nodes, events, time.time).run, NODE_NAME)


async def _remove_orphans(context: NodeContext, alive: set[str]) -> None:
    """What is left of pods that were removed from the API while no node agent was running."""
    for key in [key for key in context.adopted if key.split("/")[0] not in alive]:
        if context.adopted[key].exit is None:
            await context.runtime.signal(key, 9)
            await context.runtime.wait(key)
        await context.runtime.forget(key)
        del context.adopted[key]
    if not context.layout.pods.exists():
        return
    for directory in context.layout.pods.iterdir():
        if directory.name not in alive:
            files = PodFiles(directory)
            netns.tear_down_pod(context.layout.node_netns, context.layout.pod_netns(directory.name), files.namespaces)
            volumefiles.remove_tree(directory)


def main() -> None:
    """`python -m mesh.sandbox.node --state DIR [--no-scheduler]`"""
    parser = argparse.ArgumentParser(prog="mesh.sandbox.node")
    parser.add_argument("--state", required=True, type=Path)
    parser.add_argument("--no-scheduler", action="store_true", help="the cluster has a scheduler")
    options = parser.parse_args()
    root = options.state
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    trio.run(run, Layout(root.name, root), not options.no_scheduler)
