"""The control plane's process: builds everything, runs it on one asyncio loop, stops it on SIGTERM."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import logging
import os
import random
import signal
import socket
import sys
import time
from dataclasses import dataclass

from mesh.control.ads_server import AdsServer, Nack
from mesh.control.blame import Refusals
from mesh.control.ca_keeper import CaKeeper
from mesh.control.holdoff import HoldOff, Limits
from mesh.control.kube import kinds
from mesh.control.kube.client import KubeClient, KubeError
from mesh.control.kube.watch import Scope, Watchers
from mesh.control.kube.world import WorldStore
from mesh.control.mesh_config import CONFIG_MAP_NAME
from mesh.control.metrics import MetricsRegistry
from mesh.control.monitoring import DebugView, application, connection_json, serve_http, sync_json
from mesh.control.publisher import Publisher
from mesh.control.secure_door import SecureDoor
from mesh.control.status_writer import StatusWriter
from mesh.control.trust import DEFAULT_OVERLAP_SECONDS
from mesh.http_faults import log_in_one_line

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Options:
    """The command line."""

    kubeconfig: str
    xds: str
    secure_xds: str
    monitoring: str
    namespace: str
    identity: str
    debounce_after: float
    debounce_max: float
    ca_overlap: float
    log_level: str


def options(argv: list[str] | None = None) -> Options:
    parser = argparse.ArgumentParser(prog="python -m mesh.control", description="Triomesh control plane.")
    add = functools.partial(parser.add_argument)
    add("--kubeconfig", default=os.environ.get("KUBECONFIG", ""), help="file; default: $KUBECONFIG, else in-cluster")
    add("--xds", default="0.0.0.0:15010", metavar="HOST:PORT", help="plaintext ADS, default %(default)s; port 0 = any")
    add(
        "--secure-xds",
        default="0.0.0.0:15012",
        metavar="HOST:PORT",
        help="ADS and certificates over TLS, callers by token, default %(default)s; port 0 = any",
    )
    add("--monitoring", default="0.0.0.0:15014", metavar="HOST:PORT", help="metrics, ready, debug; default %(default)s")
    add(
        "--namespace",
        default=os.environ.get("POD_NAMESPACE", "triomesh-system"),
        help="system namespace: mesh config and root DestinationRules; default: $POD_NAMESPACE, else triomesh-system",
    )
    add(
        "--identity",
        default=os.environ.get("POD_NAME", "") or f"{socket.gethostname()}-{os.getpid()}",
        help="name in the status leader's Lease; default: $POD_NAME, else host and process id",
    )
    add("--debounce-after", type=float, default=0.1, metavar="SECONDS", help="quiet time before a build, default 0.1")
    add("--debounce-max", type=float, default=10.0, metavar="SECONDS", help="longest wait for it, default 10")
    add(
        "--ca-overlap",
        type=float,
        default=os.environ.get("TRIOMESH_CA_OVERLAP") or str(DEFAULT_OVERLAP_SECONDS),
        metavar="SECONDS",
        help="how long a new root is published before its CA signs; 0 = at once, and the old root goes at once: only "
        "when a key was stolen; default: $TRIOMESH_CA_OVERLAP, else 86400",
    )
    add("--log-level", default="info", choices=["debug", "info", "warning", "error"])
    given = parser.parse_args(argv)
    for name in ("xds", "secure_xds", "monitoring"):
        host, colon, port = getattr(given, name).rpartition(":")
        if not colon or not port.isdigit() or int(port) > 65535:
            parser.error(f"--{name.replace('_', '-')} must be host:port, is {host}{colon}{port}")
    if not 0 <= given.ca_overlap < float("inf"):
        parser.error(f"--ca-overlap must be 0 or more seconds, is {given.ca_overlap}")
    return Options(
        given.kubeconfig,
        given.xds,
        given.secure_xds,
        given.monitoring,
        given.namespace,
        given.identity,
        given.debounce_after,
        given.debounce_max,
        given.ca_overlap,
        given.log_level,
    )


# Certificates are in Secrets of type kubernetes.io/tls or, with roots for clients, in generic ones.
_SECRETS = ",".join(
    f"type!={name}"
    for name in (
        "kubernetes.io/service-account-token",
        "kubernetes.io/dockercfg",
        "kubernetes.io/dockerconfigjson",
        "kubernetes.io/basic-auth",
        "kubernetes.io/ssh-auth",
        "bootstrap.kubernetes.io/token",
        "helm.sh/release.v1",
    )
)


async def run(settings: Options, stop: asyncio.Event) -> None:
    """The whole control plane, until `stop` is set. Raises KubeError without a usable configuration."""
    metrics, store, rng = MetricsRegistry(), WorldStore(), random.Random()
    publisher = Publisher(store, metrics, settings.namespace)
    refusals = Refusals()
    client = await KubeClient.connect(settings.kubeconfig)
    loop = Loop(publisher, store, metrics, Limits(settings.debounce_after, settings.debounce_max))
    scopes = {
        kinds.CONFIG_MAP: Scope(settings.namespace, {"fieldSelector": f"metadata.name={CONFIG_MAP_NAME}"}),
        kinds.SECRET: Scope(query={"fieldSelector": _SECRETS}),
    }
    watchers = Watchers(client, store, loop.on_change, metrics, scopes, rng)
    writer = StatusWriter(
        client,
        store,
        publisher,
        metrics,
        watchers.versions,
        lambda: refusals.of_objects(publisher.graph.world) if publisher.graph is not None else {},
        settings.namespace,
        settings.identity,
        lambda: keeper.wake(),
    )
    keeper = CaKeeper(
        client,
        metrics,
        settings.namespace,
        lambda: writer.is_leader,
        lambda: door.wake(),
        settings.ca_overlap,
        rng,
    )
    publisher.subscribe(writer.wake)

    def on_nack(nack: Nack) -> None:
        _log.error("%s refuses %s %s: %s", nack.node.id, nack.kind.name, nack.resource or "(a response)", nack.message)
        if publisher.graph is not None:
            snapshot = publisher.snapshot_for(nack.node)
            kind, world = nack.kind.name, publisher.graph.world
            refusals.note(world, snapshot, nack.node.id, kind, nack.resource, nack.message)
            writer.wake()

    ads = AdsServer(publisher, metrics, on_nack)
    door = SecureDoor(ads, settings.secure_xds, client, keeper.trust, publisher, metrics, settings.namespace)
    publisher.subscribe(door.wake)
    views: dict[str, DebugView] = {
        "nacks": refusals.view,
        "connections": lambda: [connection_json(connection) for connection in ads.connections()],
        "syncz": lambda: [sync_json(connection) for connection in ads.connections()],
    }
    app = application(publisher, metrics, lambda: publisher.ready and door.is_open, views)
    listening = _listen(settings.monitoring)
    print(f"monitoring {_name(listening)}", flush=True)
    tasks: list[asyncio.Task[None]] = []
    try:
        xds_port = await ads.start(settings.xds)
        print(f"xds {settings.xds.rpartition(':')[0]}:{xds_port}", flush=True)
        tasks = [
            asyncio.create_task(watchers.run(), name="watchers"),
            asyncio.create_task(loop.run(watchers.synced), name="builds"),
            asyncio.create_task(writer.run(), name="status"),
            asyncio.create_task(keeper.run(), name="CA"),
            asyncio.create_task(door.run(), name="secure port"),
            asyncio.create_task(serve_http(app, listening, stop), name="monitoring"),
        ]
        stopping = asyncio.create_task(stop.wait(), name="stop")
        done, _ = await asyncio.wait([*tasks, stopping], return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        stop.set()
        for task in tasks[:-1]:
            task.cancel()
        # Nobody opens a door any more when all are closed.
        await asyncio.gather(*tasks[:-1], return_exceptions=True)
        await ads.stop()
        await asyncio.gather(*tasks, return_exceptions=True)
        await client.close()


class Loop:
    """Turns changes of the store into builds, held off."""

    def __init__(self, publisher: Publisher, store: WorldStore, metrics: MetricsRegistry, limits: Limits) -> None:
        self._publisher = publisher
        self._store = store
        self._metrics = metrics
        self._holdoff = HoldOff(limits)
        self._changed = asyncio.Event()

    def on_change(self) -> None:
        """The store changed."""
        pending = self._store.pending()
        is_urgent = bool(pending) and (pending.endpoints_only or pending.has_deletion)
        self._holdoff.note(time.monotonic(), is_urgent)
        self._changed.set()

    async def run(self, synced: asyncio.Event) -> None:
        """Until cancelled. The first build waits for every first list."""
        await synced.wait()
        self._publisher.rebuild()
        while True:
            await self._changed.wait()
            self._changed.clear()
            deadline = self._holdoff.deadline
            while deadline is not None and (wait := deadline - time.monotonic()) > 0:
                # A later change may move the deadline either way.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        await self._changed.wait()
                self._changed.clear()
                deadline = self._holdoff.deadline
            held = self._holdoff.take(time.monotonic())
            if held is not None:
                self._metrics.observe("pilot_debounce_time", held.waited)
                self._publisher.rebuild()


def _listen(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host.strip("[]"), int(port)), family=family, backlog=128)


def _name(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"{host}:{port}"


async def _main(settings: Options) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    log_in_one_line(loop)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await run(settings, stop)


def main(argv: list[str] | None = None) -> None:
    """Exits 0 after SIGTERM, 1 with one line when it cannot start."""
    settings = options(argv)
    logging.basicConfig(
        level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr
    )
    try:
        asyncio.run(_main(settings))
    except (KubeError, OSError) as error:
        print(f"mesh.control: {error}", file=sys.stderr)
        sys.exit(1)
