"""A running AdsServer in a thread of its own, a source that tests fill, and the real Envoy as its client."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import subprocess
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mesh.control.ads_server import AdsLimits, AdsServer, Nack
from mesh.model.node import Node
from mesh.model.snapshot import EMPTY_SNAPSHOT, Snapshot

ROOT = Path(__file__).resolve().parents[2]
ENVOY = next(iter((ROOT / ".venv-envoy" / "bin").glob("envoy")), None)
NO_ENVOY = "the real Envoy is not installed; run: sh scripts/setup.sh bench"


class Source:
    """Every node gets `snapshot`; gRPC targets are found in `targets`."""

    def __init__(self) -> None:
        self.ready = True
        self.snapshot: Snapshot = EMPTY_SNAPSHOT
        self.targets: dict[str, Snapshot] = {}
        self.subscribers: dict[object, Callable[[], None]] = {}
        self.asked: list[Node] = []

    def snapshot_for(self, node: Node) -> Snapshot:
        self.asked.append(node)
        return self.snapshot

    def named_listener(self, node: Node, name: str) -> Snapshot | None:
        return self.targets.get(name)

    def subscribe(self, callback: Callable[[], None]) -> Callable[[], None]:
        token = object()
        self.subscribers[token] = callback
        return lambda: self.subscribers.pop(token, None) and None

    def publish(self, snapshot: Snapshot) -> None:
        """On the server's loop."""
        self.snapshot = snapshot
        for callback in list(self.subscribers.values()):
            callback()


class Counts:
    """Metrics as counters, with an event per change so that tests need not poll by sleeping."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, ...]] = Counter()
        self.gauges: dict[tuple[str, ...], float] = {}
        self.observed: Counter[str] = Counter()
        self.changed = threading.Condition()

    def count(self, name, labels=(), by=1) -> None:
        with self.changed:
            self.counts[name, *(value for _, value in labels)] += by
            self.changed.notify_all()

    def gauge(self, name, value, labels=()) -> None:
        with self.changed:
            self.gauges[name, *(text for _, text in labels)] = value
            self.changed.notify_all()

    def observe(self, name, value, labels=()) -> None:
        with self.changed:
            self.observed[name] += 1
            self.changed.notify_all()

    def wait_for(self, predicate: Callable[[], bool], seconds: float = 20.0) -> None:
        with self.changed:
            assert self.changed.wait_for(predicate, seconds), (self.counts, self.gauges, self.observed)


class RunningServer:
    """`with RunningServer() as server:` — `server.port`, `server.publish(snapshot)`, `server.nacks`."""

    def __init__(self, limits: AdsLimits = AdsLimits(grace_seconds=0.2), source: Source | None = None) -> None:
        self.source = source or Source()
        self.metrics = Counts()
        self.nacks: list[Nack] = []
        self.ads = AdsServer(self.source, self.metrics, self.nacks.append, limits)
        self.loop = asyncio.new_event_loop()
        self.port = 0

    def __enter__(self) -> RunningServer:
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()
        self.port = self._await(self.ads.start("127.0.0.1:0"))
        return self

    def __exit__(self, *exc_info: Any) -> None:
        self._await(self.ads.stop())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()

    def publish(self, snapshot: Snapshot) -> None:
        async def run() -> None:
            self.source.publish(snapshot)

        self._await(run())

    def _await(self, awaitable: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(awaitable, self.loop).result(30)


class Envoy:
    """The real Envoy on an ADS server. `admin(path)` reads its admin port; `wait_for` reads until it is so."""

    def __init__(
        self, directory: Path, ads_port: int, delta: bool, node_id: str, bootstrap: dict | None = None
    ) -> None:
        self.directory = directory
        self.config = bootstrap or _bootstrap(ads_port, delta, node_id)
        self.config["admin"] = {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}}

    def __enter__(self) -> Envoy:
        config = self.directory / "envoy.json"
        config.write_text(json.dumps(self.config))
        self._admin_file = self.directory / "admin"
        self.log = self.directory / "envoy.log"
        command = [
            str(ENVOY),
            "-c",
            str(config),
            "--admin-address-path",
            str(self._admin_file),
            "--log-path",
            str(self.log),
        ]
        command += ["--use-dynamic-base-id", "--concurrency", "1", "--disable-hot-restart", "-l", "info"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._wait_for_admin()
        return self

    def __exit__(self, *exc_info: Any) -> None:
        self.process.terminate()
        self.process.wait(10)

    def admin(self, path: str) -> str:
        host, port = self._admin_file.read_text().rsplit(":", 1)
        connection = http.client.HTTPConnection(host, int(port), timeout=5)
        try:
            connection.request("GET", path)
            return connection.getresponse().read().decode()
        finally:
            connection.close()

    def stats(self, prefix: str) -> dict[str, int]:
        lines = self.admin(f"/stats?filter=^{prefix}").splitlines()
        pairs = (line.rsplit(": ", 1) for line in lines)
        return {name: int(value) for name, value in pairs if value.isdigit()}

    def wait_for(self, path: str, predicate: Callable[[str], bool], seconds: float = 20.0) -> str:
        """Asks again every 20 ms: a foreign process offers no event to wait for."""
        pause = threading.Event()
        for _ in range(int(seconds / 0.02)):
            if self.process.poll() is not None:
                raise AssertionError(f"Envoy ended with {self.process.returncode}: {self.log.read_text()[-2000:]}")
            if predicate(answer := self.admin(path)):
                return answer
            pause.wait(0.02)
        raise AssertionError(f"{path} never became as expected:\n{answer[-2000:]}\n{self.log.read_text()[-3000:]}")

    def _wait_for_admin(self) -> None:
        pause = threading.Event()
        for _ in range(1000):
            if self._admin_file.exists() and ":" in self._admin_file.read_text():
                return
            if self.process.poll() is not None:
                break
            pause.wait(0.02)
        raise AssertionError(f"Envoy did not start: {self.log.read_text()[-2000:] if self.log.exists() else ''}")


def _bootstrap(ads_port: int, delta: bool, node_id: str) -> dict[str, Any]:
    endpoint = {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": ads_port}}}}
    http2 = {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
    own = {"ads": {}, "resource_api_version": "V3"}
    return {
        "node": {"id": node_id, "cluster": "test", "metadata": {"NAMESPACE": "default", "LABELS": {"app": "web"}}},
        "dynamic_resources": {
            "ads_config": {
                "api_type": "DELTA_GRPC" if delta else "GRPC",
                "transport_api_version": "V3",
                "grpc_services": [{"envoy_grpc": {"cluster_name": "xds"}}],
            },
            "cds_config": own,
            "lds_config": own,
        },
        "static_resources": {
            "clusters": [
                {
                    "name": "xds",
                    "type": "STATIC",
                    "connect_timeout": "5s",
                    "typed_extension_protocol_options": {
                        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http2
                    },
                    "load_assignment": {"cluster_name": "xds", "endpoints": [{"lb_endpoints": [endpoint]}]},
                }
            ]
        },
    }


def environment() -> dict[str, str]:
    """For subprocesses that import the checkout."""
    return os.environ | {"PYTHONPATH": str(ROOT)}
