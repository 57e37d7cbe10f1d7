"""Admin: Envoy's introspection endpoints on 127.0.0.1:15000, for people, meshctl, istioctl and Kiali.

Reads answer GET; what changes something wants POST, as in Envoy. Every answer is made from the current snapshot; nothing is
kept for introspection's sake.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import trio

from mesh.proxy.introspect import (
    certificates,
    cluster_families,
    clusters_json,
    clusters_text,
    listeners_json,
    listeners_text,
    memory_bytes,
    proxy_families,
)
from mesh.proxy.local_http import Answer, Request, as_json, method_not_allowed, text
from mesh.proxy.observe.metrics import OPENMETRICS_CONTENT_TYPE, TEXT_CONTENT_TYPE, number
from mesh.xds.dump import config_dump

if TYPE_CHECKING:
    from mesh.proxy.pipeline import Proxy

_log = logging.getLogger(__name__)
_LEVELS = ("trace", "debug", "info", "warning", "error", "critical", "off")
_OFF = logging.CRITICAL + 1


@dataclass(frozen=True, slots=True)
class Controls:
    """What the admin may ask of the process. quit: end it in order; drain: begin draining."""

    is_ready: Callable[[], bool]
    quit: Callable[[], None]
    drain: Callable[[], None]


class Admin:
    """`handle` is for `local_http.serve`. now: the records' clock; started_at on it. version: ours."""

    def __init__(
        self,
        proxy: Proxy,
        controls: Controls,
        *,
        node_id: str,
        metadata: Mapping[str, Any],
        version: str,
        now: Callable[[], float],
    ) -> None:
        self._proxy = proxy
        self._controls = controls
        self._node_id = node_id
        self._metadata = metadata
        self._version = version
        self._now = now
        self._started_at = now()
        self.is_failed = False
        """`/healthcheck/fail` was asked for: not ready until `/healthcheck/ok`."""
        reads: dict[str, Callable[[Request], Awaitable[Answer]]] = {
            "/": self._help,
            "/help": self._help,
            "/config_dump": self._config_dump,
            "/clusters": self._clusters,
            "/listeners": self._listeners,
            "/certs": self._certs,
            "/stats": self._stats,
            "/stats/prometheus": self._prometheus,
            "/server_info": self._server_info,
            "/ready": self._ready,
            "/memory": self._memory,
        }
        changes: dict[str, Callable[[Request], Awaitable[Answer]]] = {
            "/logging": self._logging,
            "/healthcheck/fail": self._fail,
            "/healthcheck/ok": self._ok,
            "/drain_listeners": self._drain,
            "/quitquitquit": self._quit,
        }
        self._reads, self._changes = reads, changes
        proxy.telemetry.registry.add_collector(lambda _: proxy_families(proxy))
        proxy.telemetry.registry.add_collector(lambda _: cluster_families(proxy.current.clusters.values()))

    async def handle(self, request: Request) -> Answer:
        read = self._reads.get(request.path)
        if read is not None:
            return await read(request) if request.method in ("GET", "HEAD") else method_not_allowed("GET")
        change = self._changes.get(request.path)
        if change is None:
            return text("invalid path. /help lists the admin endpoints\n", 404)
        if request.method != "POST" and not (request.path == "/logging" and not request.query):
            return method_not_allowed("POST")
        return await change(request)

    async def _help(self, request: Request) -> Answer:
        lines = [*(f"  {path}" for path in self._reads), *(f"  {path} (POST)" for path in self._changes)]
        return text("admin commands are:\n" + "\n".join(sorted(lines)) + "\n")

    async def _config_dump(self, request: Request) -> Answer:
        unknown = set(request.query) - {"include_eds", "resource", "name_regex"}
        if unknown:
            return text(f"unknown parameter {min(unknown)}: there are include_eds, resource, name_regex\n", 400)
        try:
            name = re.compile(request.query["name_regex"]) if "name_regex" in request.query else None
        except re.error as exc:
            return text(f"name_regex: {exc}\n", 400)
        # Megabytes of protobuf JSON in a large mesh: not on the thread that serves traffic.
        current = self._proxy.current
        # With the proxy's own, as a dump of Envoy has what SDS brought.
        dump = await trio.to_thread.run_sync(config_dump, replace(current.source, secrets=current.secrets))
        if "include_eds" not in request.query and "resource" not in request.query:
            dump["configs"] = [part for part in dump["configs"] if not str(part["@type"]).endswith("EndpointsConfigDump")]
        if name is not None:
            dump = _only_named(dump, name)
        if "resource" in request.query:
            wanted = request.query["resource"]
            found = [entry for part in dump["configs"] for entry in part.get(wanted, [])]
            if not found and not any(wanted in part for part in dump["configs"]):
                return text(f"{wanted} not found in config dump\n", 404)
            dump = {"configs": found}
        return as_json(dump)

    async def _clusters(self, request: Request) -> Answer:
        clusters = self._proxy.current.clusters.values()
        return as_json(clusters_json(clusters)) if _wants_json(request) else text(clusters_text(clusters))

    async def _listeners(self, request: Request) -> Answer:
        models = [runtime.model for runtime in self._proxy.current.listeners.values()]
        return as_json(listeners_json(models)) if _wants_json(request) else text(listeners_text(models))

    async def _certs(self, request: Request) -> Answer:
        return as_json({"certificates": certificates(self._proxy.current.secrets.values())})

    async def _stats(self, request: Request) -> Answer:
        if request.query.get("format") == "prometheus":
            return await self._prometheus(request)
        try:
            wanted = re.compile(request.query.get("filter", ""))
        except re.error as exc:
            return text(f"filter: {exc}\n", 400)
        rows = []
        for family in self._proxy.telemetry.registry.families(self._now()):
            for sample in family.samples:
                labels = f"{{{sample.labels}}}" if sample.labels else ""
                name = f"{family.metric.name}{sample.suffix}{labels}"
                if wanted.search(name):
                    rows.append((name, sample.value))
        if _wants_json(request):
            return as_json({"stats": [{"name": name, "value": value} for name, value in rows]})
        return text("".join(f"{name}: {number(value)}\n" for name, value in rows))

    async def _prometheus(self, request: Request) -> Answer:
        openmetrics = b"application/openmetrics-text" in (request.head.get(b"accept") or b"")
        body = await self._proxy.telemetry.scrape(self._now(), openmetrics=openmetrics)
        return Answer(200, body, OPENMETRICS_CONTENT_TYPE if openmetrics else TEXT_CONTENT_TYPE)

    async def _server_info(self, request: Request) -> Answer:
        uptime = f"{int(self._now() - self._started_at)}s"
        return as_json(
            {
                "version": f"triomesh/{self._version}",
                "state": self._state(),
                "uptime_current_epoch": uptime,
                "uptime_all_epochs": uptime,
                "node": {"id": self._node_id, "metadata": dict(self._metadata)},
                "command_line_options": {"concurrency": 1, "service_node": self._node_id},
                "snapshots_applied": self._proxy.version,
                "problems": dict(self._proxy.current.problems),
            }
        )

    def _state(self) -> str:
        if self._proxy.drain.is_draining:
            return "DRAINING"
        return "LIVE" if self._controls.is_ready() else "INITIALIZING"

    async def _ready(self, request: Request) -> Answer:
        state = self._state()
        if self.is_failed:
            return text("FAILED: /healthcheck/fail was asked for\n", 503)
        return text(f"{state}\n", 200 if state == "LIVE" else 503)

    async def _memory(self, request: Request) -> Answer:
        resident, virtual = memory_bytes()
        return as_json({"resident": str(resident), "virtual": str(virtual)})

    async def _logging(self, request: Request) -> Answer:
        for name, level in request.query.items():
            if level not in _LEVELS:
                return text(f"{level!r} is not a level: {', '.join(_LEVELS)}\n", 400)
            if name != "level" and name not in logging.root.manager.loggerDict:
                return text(f"no logger is called {name!r}\n", 404)
            target = logging.getLogger() if name == "level" else logging.getLogger(name)
            number_of = {"trace": logging.DEBUG, "off": _OFF}.get(level, logging.getLevelName(level.upper()))
            target.setLevel(number_of)
            _log.warning("log level of %s is now %s, by the admin port", name if name != "level" else "all", level)
        names = sorted(name for name in logging.root.manager.loggerDict if name.startswith(("mesh", "trio")))
        lines = [f"  level: {logging.getLevelName(logging.getLogger().level).lower()}"]
        lines += [f"  {name}: {logging.getLevelName(logging.getLogger(name).getEffectiveLevel()).lower()}" for name in names]
        return text("active loggers:\n" + "\n".join(lines) + "\n")

    async def _fail(self, request: Request) -> Answer:
        self.is_failed = True
        return text("OK\n")

    async def _ok(self, request: Request) -> Answer:
        self.is_failed = False
        return text("OK\n")

    async def _drain(self, request: Request) -> Answer:
        self._controls.drain()
        return text("OK\n")

    async def _quit(self, request: Request) -> Answer:
        self._controls.quit()
        return text("OK\n")


def _wants_json(request: Request) -> bool:
    return request.query.get("format") == "json"


def _only_named(dump: dict[str, Any], name: re.Pattern[str]) -> dict[str, Any]:
    configs = []
    for part in dump["configs"]:
        kept = {key: value for key, value in part.items() if not isinstance(value, list)}
        for key, entries in part.items():
            if isinstance(entries, list):
                kept[key] = [entry for entry in entries if name.search(_resource_name(entry))]
        configs.append(kept)
    return {"configs": configs}


def _resource_name(entry: Mapping[str, Any]) -> str:
    """The name of a dump's entry: its own, or its resource's (`cluster`, `route_config`, …)."""
    if isinstance(entry.get("name"), str):
        return str(entry["name"])
    for value in entry.values():
        if isinstance(value, Mapping):
            found = value.get("name") or value.get("cluster_name")
            if isinstance(found, str):
                return found
    return ""
