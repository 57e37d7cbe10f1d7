"""Status server: what the kubelet and Prometheus ask a pod's proxy.

15020: `/stats/prometheus` (ours and the application's, merged), `/app-health/…` and `/app-lifecycle/…`, `/quitquitquit`;
15021: `/healthz/ready`; 15090: `/stats/prometheus` (ours alone). One handler per port.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import trio

from mesh.proxy.local_http import Answer, FetchError, Request, fetch, method_not_allowed, text
from mesh.proxy.observe.metrics import OPENMETRICS_CONTENT_TYPE, TEXT_CONTENT_TYPE, Kind, Metric
from mesh.proxy.observe.telemetry import Telemetry
from mesh.proxy.probes import Prober, execute

_log = logging.getLogger(__name__)

_MAX_APP_METRICS_BYTES = 16 << 20
_SCRAPE_SECONDS = 5.0
_ACCEPT = b"accept: text/plain;version=0.0.4;q=1,*/*;q=0.1\r\nuser-agent: triomesh-status\r\n"


@dataclass(frozen=True, slots=True)
class AppMetrics:
    """Where the application's own metrics are (its `prometheus.io/…` annotations)."""

    port: int
    path: str = "/metrics"


def parse_app_metrics(document: str) -> AppMetrics | None:
    """TRIOMESH_PROMETHEUS_ANNOTATIONS; None when the application is not to be scraped. Raises ValueError naming the key."""
    if not document:
        return None
    value = json.loads(document)
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    if value.get("scrape") != "true":
        return None
    port = str(value.get("port") or "80")
    if not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"port {port!r} is not a port number")
    path = str(value.get("path") or "/metrics")
    if any(ord(char) <= 32 or ord(char) >= 127 for char in path):
        raise ValueError(f"path {path!r} holds a character that must be percent-encoded")
    return AppMetrics(int(port), path if path.startswith("/") else "/" + path)


class StatusServer:
    """Handlers for `local_http.serve`, one per port: `handle_status`, `handle_ready`, `handle_metrics`.

    Args: is_ready: first full configuration is in use and no drain has begun. quit: end the process in order.
        pod_ip: where the application listens. now: the records' clock. lacks: what is still to come before it is ready.
    """

    def __init__(
        self,
        telemetry: Telemetry,
        *,
        now: Callable[[], float],
        is_ready: Callable[[], bool],
        quit: Callable[[], None],
        probers: Mapping[str, Prober],
        app_metrics: AppMetrics | None,
        pod_ip: str,
        lacks: Callable[[], str] = lambda: "",
    ) -> None:
        self._telemetry = telemetry
        self._now = now
        self._is_ready = is_ready
        self._lacks = lacks
        self._quit = quit
        self._probers = probers
        self._app_metrics = app_metrics
        self._pod_ip = pod_ip or "127.0.0.1"
        registry = telemetry.registry
        failures = Metric("triomesh_scrape_failures_total", "Scrapes of the application's metrics that failed.", Kind.COUNTER)
        self._failures = registry.group(failures, ("type",)).series(("application",), 0.0)
        scrapes = Metric("triomesh_scrapes_total", "Scrapes of the merged metrics.", Kind.COUNTER)
        self._scrapes = registry.group(scrapes).series((), 0.0)

    async def handle_status(self, request: Request) -> Answer:
        """Port 15020."""
        prober = self._probers.get(request.path)
        if prober is not None:
            return await execute(prober, self._pod_ip)
        if request.path == "/stats/prometheus":
            return await self._merged(request) if _reads(request) else method_not_allowed("GET")
        if request.path == "/healthz/ready":
            return self._ready()
        if request.path == "/quitquitquit":
            return self._handle_quit(request)
        if request.path.startswith(("/app-health/", "/app-lifecycle/")):
            return text(f"no probe is known for {request.path}\n", 404)
        return text("not found; there are /stats/prometheus, /healthz/ready, /app-health/…, /quitquitquit (POST)\n", 404)

    async def handle_ready(self, request: Request) -> Answer:
        """Port 15021."""
        if request.path != "/healthz/ready":
            return text("not found; there is /healthz/ready\n", 404)
        return self._ready() if _reads(request) else method_not_allowed("GET")

    async def handle_metrics(self, request: Request) -> Answer:
        """Port 15090."""
        if request.path != "/stats/prometheus":
            return text("not found; there is /stats/prometheus\n", 404)
        if not _reads(request):
            return method_not_allowed("GET")
        openmetrics = b"application/openmetrics-text" in (request.head.get(b"accept") or b"")
        body = await self._telemetry.scrape(self._now(), openmetrics=openmetrics)
        return Answer(200, body, OPENMETRICS_CONTENT_TYPE if openmetrics else TEXT_CONTENT_TYPE)

    def _ready(self) -> Answer:
        if self._is_ready():
            return text("ready\n")
        lacks = self._lacks()
        return text(f"not ready: there is no {lacks} yet\n" if lacks else "not ready\n", 503)

    def _handle_quit(self, request: Request) -> Answer:
        if request.method != "POST":
            return method_not_allowed("POST")
        if not request.is_local:
            return text("only from within the pod\n", 403)
        self._quit()
        return text("OK\n")

    async def _merged(self, request: Request) -> Answer:
        self._scrapes.values[0] += 1
        theirs = b""
        if self._app_metrics is not None:
            try:
                theirs = await self._scrape(self._app_metrics, _scrape_seconds(request))
            except (FetchError, OSError) as exc:
                self._failures.values[0] += 1
                _log.info("metrics of the application on port %s: %s", self._app_metrics.port, exc)
        return Answer(200, await self._telemetry.scrape(self._now()) + theirs, TEXT_CONTENT_TYPE)

    async def _scrape(self, app: AppMetrics, seconds: float) -> bytes:
        with trio.move_on_after(seconds):
            async with await _connect_local(app.port) as stream:
                found = await fetch(stream, f"localhost:{app.port}", app.path, _ACCEPT, _MAX_APP_METRICS_BYTES)
            if found.status != 200:
                raise FetchError(f"GET {app.path} answered {found.status}")
            if not found.content_type.startswith(("text/plain", "application/openmetrics-text")):
                raise FetchError(f"GET {app.path} answered {found.content_type or 'no content type'}, not metrics")
            return _as_text_format(found.body)
        raise FetchError(f"no answer within {seconds:g} s")


def _reads(request: Request) -> bool:
    return request.method in ("GET", "HEAD")


def _scrape_seconds(request: Request) -> float:
    """A part of what Prometheus allows for the whole scrape, so that ours is not lost with the application's."""
    header = request.head.get(b"x-prometheus-scrape-timeout-seconds")
    if header is not None and re.fullmatch(rb"\d{1,4}(\.\d{1,9})?", header):
        return min(_SCRAPE_SECONDS, max(0.1, float(header) * 0.8))
    return _SCRAPE_SECONDS


async def _connect_local(port: int) -> trio.SocketStream:
    # Loopback is not captured. An application may listen on one family only.
    try:
        return await _dial("127.0.0.1", port)
    except OSError:
        return await _dial("::1", port)


async def _dial(host: str, port: int) -> trio.SocketStream:
    sock = trio.socket.socket(trio.socket.AF_INET6 if ":" in host else trio.socket.AF_INET, trio.socket.SOCK_STREAM)
    try:
        await sock.connect((host, port))
    except BaseException:
        sock.close()
        raise
    return trio.SocketStream(sock)


def _as_text_format(body: bytes) -> bytes:
    """Usable after our own families in one document: ends with a line feed and has no OpenMetrics end mark."""
    body = body.removesuffix(b"\n").removesuffix(b"# EOF").rstrip(b"\n")
    return body + b"\n" if body else b""
