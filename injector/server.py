"""Server: the webhook process. HTTPS on 15017, its own certificates, and its standing order to the API server.

One asyncio loop (the Kubernetes client and Hypercorn both live on it) with a task per thing followed: settings,
namespaces, the certificates' Secret, the webhook configuration. Decisions are made in `review` and `certs`.
"""

import argparse
import asyncio
import datetime as dt
import functools
import logging
import os
import signal
import socket
import ssl
from collections.abc import Callable, Mapping, Sequence

from hypercorn.asyncio import serve
from hypercorn.config import Config

from injector.certs import Certs
from injector.events import skipped_event
from injector.fields import BadField
from injector.keeper import Keeper
from injector.kube import ApiFailed, Changed, Cluster, Listed
from injector.review import Answer, Question
from injector.settings import SYSTEM_NAMESPACE, Settings, parse_settings, with_server_version
from injector.web import Web
from mesh.http_faults import log_in_one_line

_log = logging.getLogger("injector")
DEFAULT_PORT = 15017


def main(words: Sequence[str]) -> int:
    """`python -m injector serve`. Returns: 0 after SIGTERM or SIGINT, 1 when it cannot start."""
    parser = argparse.ArgumentParser(prog="injector serve", description="The sidecar injection webhook.")
    parser.add_argument("--bind", default="", metavar="ADDRESS", help=f"default: every address, port {DEFAULT_PORT}")
    parser.add_argument("--namespace", default=SYSTEM_NAMESPACE, help="where the injector's own objects are")
    parser.add_argument("--kubeconfig", default=None, help="default: $KUBECONFIG, else the pod's service account")
    args = parser.parse_args(list(words))
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        listener = _listen(args.bind)
        asyncio.run(Injector(args.namespace).run(args.kubeconfig, listener))
    except (ApiFailed, OSError) as exc:
        _log.error("cannot start: %s", exc)
        return 1
    return 0


class Injector:
    """The process: what it knows, and the tasks that keep that current."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        # None: not heard of yet. Settings are made of both, so of nothing before both have come.
        self._texts: dict[str, str | None] = {"triomesh-injector": None, "triomesh": None}
        self._settings: Settings | None = None
        self._problem = "the settings have not been read yet"
        self._server_version = ("0", "0")
        self._namespaces: dict[str, Mapping[str, str]] = {}
        self._listed: set[str] = set()
        self._background: set[asyncio.Task[None]] = set()
        # Hypercorn is given this one context; loading a new certificate into it changes new handshakes only.
        self._tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._tls.minimum_version = ssl.TLSVersion.TLSv1_2
        self._tls.set_alpn_protocols(["h2", "http/1.1"])

    async def run(self, kubeconfig: str | None, listener: socket.socket) -> None:
        """Serve until SIGTERM or SIGINT. Raises: ApiFailed: the API server cannot be reached at the start."""
        stop = asyncio.Event()
        log_in_one_line(asyncio.get_running_loop())
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        self._cluster = await Cluster.connect(kubeconfig)
        try:
            await self._run(listener, stop)
        finally:
            await self._cluster.close()

    async def _run(self, listener: socket.socket, stop: asyncio.Event) -> None:
        version = await self._cluster.request("GET", "/version")
        self._server_version = (str(version.get("major", "0")), str(version.get("minor", "0")))
        self._keeper = Keeper(self._cluster, self._namespace, self._use)
        web = Web(self._answer_inputs, self._ready, self._answered)
        follow = self._follow
        prefix = f"/api/v1/namespaces/{self._namespace}/configmaps"
        tasks = [
            follow("/api/v1/namespaces", "", self._on_namespaces),
            *(follow(prefix, f"metadata.name={name}", functools.partial(self._on_config, name)) for name in self._texts),
            self._keeper.run(),
        ]
        running = [asyncio.create_task(task) for task in tasks]
        serving = asyncio.create_task(self._serve(web, listener, stop))
        try:
            # Whatever ends first ends all: a follower never returns, so its end is a bug worth a restart.
            done, _ = await asyncio.wait([serving, *running], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            stop.set()
            for task in running:
                task.cancel()
            await asyncio.gather(serving, *running, *self._background, return_exceptions=True)

    async def _serve(self, web: Web, listener: socket.socket, stop: asyncio.Event) -> None:
        starting = asyncio.create_task(self._keeper.started.wait())
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait([starting, stopping], return_when=asyncio.FIRST_COMPLETED)
        starting.cancel()
        stopping.cancel()
        if stop.is_set():
            return
        _log.info("serving on %s port %d", *listener.getsockname()[:2])
        config = _HypercornConfig(self._tls)
        config.bind = [f"fd://{listener.detach()}"]
        config.graceful_timeout = 5.0
        config.accesslog = None
        config.loglevel = "WARNING"
        # A review is answered within milliseconds; a client that says nothing is not worth a socket.
        config.keep_alive_timeout = 120.0
        await serve(web.app, config, shutdown_trigger=stop.wait, mode="asgi")  # type: ignore[arg-type]

    async def _follow(self, path: str, selector: str, act: Callable[[Listed | Changed], None]) -> None:
        async for event in self._cluster.follow(path, selector):
            act(event)
            self._listed.add(path + selector)

    def _on_namespaces(self, event: Listed | Changed) -> None:
        if isinstance(event, Listed):
            self._namespaces = {item["metadata"]["name"]: item["metadata"].get("labels") or {} for item in event.items}
        elif event.gone:
            self._namespaces.pop(event.item["metadata"]["name"], None)
        else:
            self._namespaces[event.item["metadata"]["name"]] = event.item["metadata"].get("labels") or {}

    def _on_config(self, name: str, event: Listed | Changed) -> None:
        items = event.items if isinstance(event, Listed) else [] if event.gone else [event.item]
        key = "config" if name == "triomesh-injector" else "mesh"
        self._texts[name] = str((items[0].get("data") or {}).get(key) or "") if items else ""
        own, mesh = self._texts["triomesh-injector"], self._texts["triomesh"]
        if own is None or mesh is None:
            return
        try:
            settings = parse_settings(own, mesh)
        except BadField as exc:
            # What worked goes on working; a first start with bad settings stays unready and says why.
            self._problem = f"ConfigMaps triomesh-injector and triomesh in {self._namespace}: {exc}"
            _log.error("%s; %s", self._problem, "the last good settings stay in force" if self._settings else "not ready")
            return
        self._settings, self._problem = with_server_version(settings, *self._server_version), ""
        for warning in self._settings.warnings:
            _log.warning("ConfigMaps triomesh-injector and triomesh in %s: %s", self._namespace, warning)
        _log.info("settings read from the ConfigMaps in %s", self._namespace)

    def _use(self, certs: Certs) -> None:
        """Serve by this certificate from the next handshake on."""
        # OpenSSL reads files only; an anonymous one in memory never touches a disk.
        handle = os.memfd_create("serving", os.MFD_CLOEXEC)
        try:
            os.write(handle, (certs.leaf + certs.leaf_key).encode())
            self._tls.load_cert_chain(f"/proc/self/fd/{handle}")
        finally:
            os.close(handle)

    def _ready(self) -> str:
        """Why not ready; "" when ready."""
        if len(self._listed) < 1 + len(self._texts):
            return "namespaces and settings have not been listed yet"
        return self._problem if self._settings is None else ""

    async def _answer_inputs(self, question: Question) -> tuple[Mapping[str, str], Settings]:
        """(labels of the namespace, settings). Raises: ApiFailed: not to be had; answered 503, failurePolicy decides."""
        if self._settings is None:
            raise ApiFailed(0, self._problem)
        labels = self._namespaces.get(question.namespace)
        if labels is None:
            # Made a moment ago: the watch has not told yet.
            found = await self._cluster.request("GET", f"/api/v1/namespaces/{question.namespace}")
            labels = found["metadata"].get("labels") or {}
        return labels, self._settings

    def _answered(self, question: Question, answer: Answer) -> None:
        event = skipped_event(question, answer, dt.datetime.now(dt.UTC))
        if event is not None and not question.dry_run:
            task = asyncio.create_task(self._post(question.namespace, event))
            self._background.add(task)
            task.add_done_callback(self._background.discard)

    async def _post(self, namespace: str, event: object) -> None:
        try:
            await self._cluster.request("POST", f"/api/v1/namespaces/{namespace}/events", event)
        except ApiFailed as exc:
            _log.warning("Event InjectionSkipped not stored: %s", exc)


class _HypercornConfig(Config):  # type: ignore[misc]
    """Hypercorn's settings with our own TLS context."""

    def __init__(self, tls: ssl.SSLContext) -> None:
        super().__init__()
        self._our_tls = tls

    @property
    def ssl_enabled(self) -> bool:
        return True

    def create_ssl_context(self) -> ssl.SSLContext:
        return self._our_tls


def _listen(bind: str) -> socket.socket:
    """A listening socket: on every address of both families, or where `bind` ("host:port") says."""
    if bind:
        host, _, port = bind.rpartition(":")
        return socket.create_server((host.strip("[]"), int(port)), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    if socket.has_dualstack_ipv6():
        return socket.create_server(("::", DEFAULT_PORT), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", DEFAULT_PORT))
