"""Keep the nat rules and the host forwards as Services and EndpointSlices say (what kube-proxy is in a cluster)."""

import json
import logging
from typing import Any

import trio

from mesh.sandbox import netns
from mesh.sandbox.events import EventRecorder
from mesh.sandbox.informer import Informer
from mesh.sandbox.layout import Layout
from mesh.sandbox.network import nat_rules
from mesh.sandbox.node.services import host_forwards, service_ports

_log = logging.getLogger("proxy")
_RETRY_SECONDS = 1.0
Json = dict[str, Any]


class ServiceProxy:
    """Concurrency: one `run` task."""

    def __init__(self, layout: Layout, services: Informer, slices: Informer, events: EventRecorder) -> None:
        self._layout, self._services, self._slices, self._events = layout, services, slices, events
        self._dirty = trio.Event()
        self._rules = ""

    async def run(self) -> None:
        """Write rules whenever they change; changes that come while rules are written are taken together."""
        await self._services.synced.wait()
        await self._slices.synced.wait()
        self._services.subscribe(self._on_service)
        self._slices.subscribe(self._on_change)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._forward)
            while True:
                await self._dirty.wait()
                self._dirty = trio.Event()
                await self._apply()

    async def _apply(self) -> None:
        rules = nat_rules(service_ports(self._services.all(), self._slices.all()))
        if rules == self._rules:
            return
        try:
            await trio.to_thread.run_sync(netns.load_rules, rules)
            self._rules = rules
        except netns.CommandFailed as exc:
            _log.error("service rules: %s", exc)
            await trio.sleep(_RETRY_SECONDS)  # xtables lock, memory: nothing announces that it got better
            self._dirty.set()

    async def _forward(self) -> None:
        """Tell the forwarder what to listen for; it keeps the addresses that it has."""
        while True:
            try:
                async with await trio.open_unix_socket(str(self._layout.forward_socket)) as stream:
                    await self._feed(stream)
            except (OSError, trio.BrokenResourceError) as exc:
                _log.info("host forwarder: %s", exc)
                await trio.sleep(_RETRY_SECONDS)

    async def _feed(self, stream: trio.abc.Stream) -> None:
        sent: Json | None = None
        while True:
            changed = self._dirty
            wanted = host_forwards(self._services.all())
            if wanted != sent:
                await stream.send_all(json.dumps({"forwards": wanted}).encode() + b"\n")
                sent = wanted
            await changed.wait()
            # _apply replaces the event in the same pass of the scheduler in which it was set
            await trio.lowlevel.checkpoint()

    def _on_service(self, old: Json | None, new: Json | None) -> None:
        if new is not None and new["spec"].get("sessionAffinity") == "ClientIP" and old is None:
            self._events.record(new, "Warning", "NotEnforced", "sessionAffinity ClientIP: the sandbox balances each connection at random")
        self._dirty.set()

    def _on_change(self, _old: Json | None, _new: Json | None) -> None:
        self._dirty.set()
