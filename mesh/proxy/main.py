"""Main: the proxy process. Sidecar and router are the same program with another node id.

python -m mesh.proxy sidecar|router [--config FILE [--status]]
python -m mesh.proxy wait [--timeout SECONDS]          until this pod's proxy is ready (postStart)
python -m mesh.proxy request GET|POST PATH             ask its admin port
"""

from __future__ import annotations

import argparse
import gc
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import trio

from mesh import __version__
from mesh.model.node import Role
from mesh.model.snapshot import Snapshot
from mesh.proxy.admin import Admin, Controls
from mesh.proxy.ads_thread import AdsThread
from mesh.proxy.bootstrap import BadEnvironment, Bootstrap, read_environment
from mesh.proxy.health import Readiness
from mesh.proxy.heap import share_heap, trim_heap
from mesh.proxy.identity import Identity
from mesh.proxy.identity_keeper import IdentityKeeper
from mesh.proxy.introspect import identity_families
from mesh.proxy.local_http import Handler, serve
from mesh.proxy.observe.clock import WALL
from mesh.proxy.observe.telemetry import Telemetry
from mesh.proxy.pipeline import Proxy
from mesh.proxy.poller import raise_descriptor_limit
from mesh.proxy.snapshots import OwnSecrets
from mesh.proxy.status_server import StatusServer
from mesh.xds.ads_client import AdsClient, Update
from mesh.xds.bootstrap import load_bootstrap
from mesh.xds.error import XdsError

_log = logging.getLogger("mesh.proxy")
_LEVELS = {"trace": "DEBUG", "warn": "WARNING", "off": "CRITICAL"}
ADMIN_PORT, STATUS_PORT, READY_PORT, METRICS_PORT = 15000, 15020, 15021, 15090
# Objects of a running proxy are mostly long-lived: the default of 700 would scan them all the time.
_GC_THRESHOLD = 50_000


def main(arguments: list[str] | None = None) -> int:
    """Returns: the exit code: 0 ended in order, 1 could not start or was refused, 2 wrong usage."""
    options = _parser().parse_args(arguments)
    if options.verb == "wait":
        return wait_ready(options.timeout)
    if options.verb == "request":
        return ask_admin(options.method, options.path)
    try:
        bootstrap = read_environment(os.environ, Role(options.verb), is_static=options.config is not None)
        snapshot = load_bootstrap(options.config.read_text()) if options.config is not None else None
    except (BadEnvironment, XdsError, OSError) as exc:
        print(f"triomesh-proxy: {exc}", file=sys.stderr)
        return 1
    level = _LEVELS.get(bootstrap.log_level, bootstrap.log_level.upper())
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    raise_descriptor_limit()
    share_heap()
    gc.set_threshold(_GC_THRESHOLD, 20, 20)
    has_status = options.config is None or options.status
    try:
        trio.run(_Process(bootstrap, snapshot, has_status).run)
    except KeyboardInterrupt:
        return 130
    return 0


class _Process:
    """A proxy with its ports, its source of configuration and its end."""

    def __init__(self, bootstrap: Bootstrap, snapshot: Snapshot | None, has_status: bool) -> None:
        self._bootstrap = bootstrap
        self._snapshot = snapshot
        self._has_status = has_status
        node = bootstrap.node
        self._version = __version__
        self._telemetry = Telemetry(node.id, node.metadata, bootstrap.telemetry, self._version)
        self._scope = trio.CancelScope()

    async def run(self) -> None:
        WALL.use(trio.current_time)
        proxy = self._proxy = Proxy(self._telemetry)
        proxy.drain.spares_outbound = self._bootstrap.node.role is Role.SIDECAR
        proxy.drain.seconds = self._bootstrap.drain_seconds
        bootstrap = self._bootstrap
        self._readiness = Readiness(proxy.drain, needs_identity=bootstrap.identity is not None)
        ads: AdsThread | None = None
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    await nursery.start(self._handle_signals)
                    nursery.start_soon(self._leave)
                    await nursery.start(proxy.run)
                    if self._has_status:
                        await self._open_ports(nursery)
                    if self._snapshot is not None:
                        self._apply(self._snapshot)
                        self._on_complete()
                    elif (discovery := bootstrap.discovery) is not None:
                        if bootstrap.identity is not None:
                            proxy.own = OwnSecrets(is_awaited=True)
                            keeper = IdentityKeeper(bootstrap.identity, self._on_identity)
                            proxy.telemetry.registry.add_collector(lambda _: identity_families(keeper))
                            nursery.start_soon(keeper.run)
                        client = AdsClient(bootstrap.node)
                        ads = AdsThread(client, discovery, self._on_update, bootstrap.state_file)
                        ads.start()
        finally:
            if ads is not None:
                ads.close()
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(self._telemetry.close)

    def _on_identity(self, identity: Identity) -> None:
        self._proxy.adopt(OwnSecrets(identity.secrets(), identity.principal))
        for name, problem in self._proxy.current.problems.items():
            if name in identity.secrets():
                _log.error("%s: %s", name, problem)
        self._readiness.on_identity()

    def _on_update(self, update: Update) -> Mapping[str, str]:
        problems = self._apply(update.snapshot) if update.snapshot is not None else {}
        if update.complete and not self._readiness.is_configured:
            self._on_complete()
        return problems

    def _apply(self, snapshot: Snapshot) -> Mapping[str, str]:
        problems = self._proxy.apply(snapshot)
        for name, problem in problems.items():
            _log.error("%s: %s", name, problem)
        return problems

    def _on_complete(self) -> None:
        self._readiness.on_configured()
        # What there is now stays: the collector need not look at it again.
        gc.collect()
        gc.freeze()
        trim_heap()
        current = self._proxy.current
        _log.info(
            "ready: %d listeners, %d clusters, %d route configs",
            len(current.listeners),
            len(current.clusters),
            len(current.routes),
        )

    async def _open_ports(self, nursery: trio.Nursery) -> None:
        bootstrap, proxy = self._bootstrap, self._proxy
        controls = Controls(lambda: self._readiness.is_ready, self._quit, proxy.drain.begin)
        admin = Admin(
            proxy,
            controls,
            node_id=bootstrap.node.id,
            metadata=bootstrap.node.metadata,
            version=self._version,
            now=trio.current_time,
        )
        status = StatusServer(
            self._telemetry,
            now=trio.current_time,
            is_ready=lambda: self._readiness.is_ready and not admin.is_failed,
            quit=self._quit,
            probers=bootstrap.probers,
            app_metrics=bootstrap.app_metrics,
            pod_ip=bootstrap.node.ip,
            lacks=lambda: self._readiness.lacks,
        )
        ports: tuple[tuple[int, str | None, Handler], ...] = (
            (ADMIN_PORT, "127.0.0.1", admin.handle),
            (STATUS_PORT, None, status.handle_status),
            (READY_PORT, None, status.handle_ready),
            (METRICS_PORT, None, status.handle_metrics),
        )
        for port, host, handler in ports:
            listeners = await trio.open_tcp_listeners(port, host=host)
            await nursery.start(partial(serve, listeners, handler))

    async def _handle_signals(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            task_status.started()
            async for number in signals:
                if self._proxy.drain.is_draining:
                    _log.warning("second %s: leaving now", signal.Signals(number).name)
                    self._quit()
                else:
                    _log.info("%s: draining", signal.Signals(number).name)
                    self._proxy.drain.begin()

    async def _leave(self) -> None:
        proxy, bootstrap = self._proxy, self._bootstrap
        await proxy.drain.wait_begun()
        began_at = trio.current_time()
        # Endpoints lag behind: until everybody knows, connections still come and are served.
        await trio.sleep(min(bootstrap.termination_drain_seconds, bootstrap.drain_seconds))
        proxy.listeners.close_inbound()
        proxy.close_idle_inbound()
        with trio.move_on_at(began_at + bootstrap.drain_seconds):
            await proxy.drain.wait_idle()
        _log.info("leaving, %d connections cut", proxy.drain.inbound + proxy.drain.outbound)
        self._quit()

    def _quit(self) -> None:
        self._scope.cancel()


def wait_ready(timeout_seconds: float) -> int:
    """Ask 15021 twice a second. Returns: 0 when ready, 1 after the timeout."""
    deadline = time.monotonic() + timeout_seconds
    reason = "never asked"
    while True:
        reason = _try(lambda: _get("127.0.0.1", READY_PORT, "GET", "/healthz/ready"))
        if not reason:
            return 0
        if time.monotonic() >= deadline:
            print(f"triomesh-proxy: not ready after {timeout_seconds:g} s: {reason}", file=sys.stderr)
            return 1
        time.sleep(0.5)


def ask_admin(method: str, path: str) -> int:
    """One request to 15000, its answer on stdout. Returns: 0 for a 2xx, 1 otherwise."""
    try:
        status, body = _get("127.0.0.1", ADMIN_PORT, method, path)
    except OSError as exc:
        print(f"triomesh-proxy: admin port {ADMIN_PORT}: {exc}", file=sys.stderr)
        return 1
    sys.stdout.buffer.write(body)
    sys.stdout.flush()
    return 0 if 200 <= status < 300 else 1


def _try(ask: Callable[[], tuple[int, bytes]]) -> str:
    # Why not ready; "" when ready.
    try:
        status, body = ask()
    except OSError as exc:
        return str(exc)
    return "" if status == 200 else f"{status} {body[:200].decode(errors='replace').strip()}"


def _get(host: str, port: int, method: str, path: str) -> tuple[int, bytes]:
    import http.client  # a megabyte that a running proxy has no use for

    connection = http.client.HTTPConnection(host, port, timeout=10)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, response.read()
    except http.client.HTTPException as exc:
        raise OSError(f"not HTTP: {exc!r}") from exc
    finally:
        connection.close()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="triomesh-proxy", description="Triomesh's data plane")
    verbs = parser.add_subparsers(dest="verb", required=True)
    for role in ("sidecar", "router"):
        verb = verbs.add_parser(role, help=f"run as a {role}")
        verb.add_argument("--config", type=Path, help="static configuration (Envoy bootstrap YAML); no control plane")
        verb.add_argument("--status", action="store_true", help="with --config: open the admin and status ports, too")
    wait = verbs.add_parser("wait", help="block until this pod's proxy is ready")
    wait.add_argument("--timeout", type=float, default=60.0, help="seconds (60)")
    request = verbs.add_parser("request", help="ask the local admin port")
    request.add_argument("method", choices=("GET", "POST"))
    request.add_argument("path")
    return parser
