"""Wire the controllers: the only place that constructs things."""

import argparse
import logging
import sys
import time
from pathlib import Path
from typing import Any

import trio

from mesh.sandbox.controllers import wiring
from mesh.sandbox.controllers.collector import Collector
from mesh.sandbox.controllers.discovery import Discovery
from mesh.sandbox.controllers.emptying import namespace_queue
from mesh.sandbox.controllers.queue import Queue
from mesh.sandbox.controllers.shell import Shell
from mesh.sandbox.events import EventRecorder
from mesh.sandbox.kubeclient import CRDS, KubeClient, read_kubeconfig


async def run(state: Path) -> None:
    """Run every controller until cancelled."""
    client = KubeClient(read_kubeconfig(state / "kubeconfig.node"), "triomesh-controllers")
    events = EventRecorder(client, "triomesh-controllers", "", time.time)
    shell = Shell(client, events, time.time)
    discovery = Discovery(client, shell.informer(CRDS))
    kinds = (wiring.deployments, wiring.replica_sets, wiring.stateful_sets, wiring.daemon_sets, wiring.jobs, wiring.cron_jobs)
    workloads = [make(shell) for make in kinds]
    queues: list[Queue[Any]] = [workload.queue for workload in workloads]
    queues += [wiring.service_endpoints(shell), wiring.load_balancers(shell)]
    queues += [namespace_queue(shell, discovery, state / "pki" / "ca.crt")]
    collector = Collector(shell, discovery)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(events.run)
        informers = wiring.informers_of(shell)
        for informer in informers:
            nursery.start_soon(informer.run)
        for informer in informers:
            await informer.synced.wait()
        for queue in queues:
            nursery.start_soon(queue.run)
        nursery.start_soon(collector.run)
        print("ready", flush=True)


def main() -> None:
    """`python -m mesh.sandbox.controllers --state DIR`"""
    parser = argparse.ArgumentParser(prog="mesh.sandbox.controllers")
    parser.add_argument("--state", required=True, type=Path)
    state = parser.parse_args().state
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    trio.run(run, state)
