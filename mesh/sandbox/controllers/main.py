"""Wire the controllers: the only place that constructs things."""

import argparse
import logging
import sys
import time
from collections.abc import Container
from contextlib import aclosing
from pathlib import Path
from typing import Any

import trio

from mesh.sandbox.attachment import CONTROLLERS, choose
from mesh.sandbox.controllers import wiring
from mesh.sandbox.controllers.collector import Collector
from mesh.sandbox.controllers.discovery import Discovery
from mesh.sandbox.controllers.emptying import namespace_queue
from mesh.sandbox.controllers.queue import Queue
from mesh.sandbox.controllers.shell import Shell
from mesh.sandbox.events import EventRecorder
from mesh.sandbox.kubeclient import CRDS, KubeClient, read_kubeconfig


async def run(state: Path, kubeconfig: Path, only: Container[str]) -> None:
    """Run controllers until cancelled.

    Args: only: which, by the names in `attachment.CONTROLLERS`.
    """
    async with aclosing(KubeClient(read_kubeconfig(kubeconfig), "triomesh-controllers")) as client:
        await _run(state, client, only)


async def _run(state: Path, client: KubeClient, only: Container[str]) -> None:
    events = EventRecorder(client, "triomesh-controllers", "", time.time)
    shell = Shell(client, events, time.time)
    queues: list[Queue[Any]] = []
    if "workloads" in only:
        kinds = (wiring.deployments, wiring.replica_sets, wiring.stateful_sets, wiring.daemon_sets, wiring.jobs, wiring.cron_jobs)
        queues += [make(shell).queue for make in kinds]
    if "endpoints" in only:
        queues.append(wiring.service_endpoints(shell))
    if "nodes" in only:
        queues.append(wiring.node_taints(shell))
    if "loadbalancers" in only:
        queues.append(wiring.load_balancers(shell))
    discovery = Discovery(client, shell.informer(CRDS)) if "namespaces" in only or "garbage" in only else None
    if discovery is not None and "namespaces" in only:
        queues.append(namespace_queue(shell, discovery, state / "pki" / "ca.crt"))
    collector = Collector(shell, discovery) if discovery is not None and "garbage" in only else None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(events.run)
        informers = wiring.informers_of(shell)
        for informer in informers:
            nursery.start_soon(informer.run)
        for informer in informers:
            await informer.synced.wait()
        for queue in queues:
            nursery.start_soon(queue.run)
        if collector is not None:
            nursery.start_soon(collector.run)
        print("ready", flush=True)


def main() -> None:
    """`python -m mesh.sandbox.controllers --state DIR [--kubeconfig FILE] [--only NAME,…]`"""
    parser = argparse.ArgumentParser(prog="mesh.sandbox.controllers")
    parser.add_argument("--state", required=True, type=Path)
    parser.add_argument("--kubeconfig", type=Path, help="default: the node's, in the state directory")
    parser.add_argument("--only", default="all", metavar="NAME,…", help=f"some of {', '.join(CONTROLLERS)} (default %(default)s)")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    trio.run(run, options.state, options.kubeconfig or options.state / "kubeconfig.node", choose(options.only, ()))
