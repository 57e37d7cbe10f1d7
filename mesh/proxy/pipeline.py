"""Pipeline: the parts of a running proxy, and the one place where they are put together.

    intercept -> arrival -> (downstream_h1 -> exchange -> upstream_h1) | relay

Everything a connection needs is reached through its `Proxy`; there are no globals.
"""

from __future__ import annotations

import logging

import trio

from mesh.model.cluster import Cluster, Discovery
from mesh.model.endpoint import LoadAssignment
from mesh.model.listener import Direction, FilterChain, TcpProxy
from mesh.model.snapshot import Snapshot
from mesh.proxy.clusters import ClusterRuntime
from mesh.proxy.connection import Accepted
from mesh.proxy.deadlines import Deadlines
from mesh.proxy.downstream_h1 import Downstream
from mesh.proxy.drain import Drain
from mesh.proxy.intercept import Listeners
from mesh.proxy.mirror import Mirrors
from mesh.proxy.observe.collector import target_of
from mesh.proxy.observe.metrics import Family, Kind, Metric, Sample
from mesh.proxy.observe.telemetry import Telemetry
from mesh.proxy.poller import Poller
from mesh.proxy.resolve import keep_resolved
from mesh.proxy.snapshots import (
    EMPTY,
    NO_SECRETS,
    Compiled,
    HttpTerminal,
    OwnSecrets,
    TcpTerminal,
    compile_snapshot,
    with_secrets,
)
from mesh.proxy.superseded import judge

_log = logging.getLogger(__name__)
_DIRECTIONS = {
    (True, False): Direction.INBOUND,
    (False, True): Direction.OUTBOUND,
    (False, False): Direction.UNSPECIFIED,
}


class Proxy:
    """A data plane. `run` it, then `apply` snapshots from the trio thread.

    Attributes: current: what requests are served by; replaced whole. version: how many snapshots were applied.
        own: the secrets that do not come with the configuration.
        The counters only grow: requests that were malformed, connections no chain wanted, connections to ourselves,
        connections whose TLS handshake failed,
        and connections that ended in an exception (a bug of ours).
    """

    def __init__(self, telemetry: Telemetry) -> None:
        self.telemetry = telemetry
        self.poller = Poller()
        self.deadlines = Deadlines()
        self.drain = Drain()
        self.current: Compiled = EMPTY
        self.own: OwnSecrets = NO_SECRETS
        self.version = 0
        self.protocol_errors = 0
        self.no_filter_chain = 0
        self.loops = 0
        self.tls_failures = 0
        self.crashes = 0
        self.listeners = Listeners(self)
        self.mirrors = Mirrors(self)
        self.connections: set[Accepted] = set()
        self.downstreams: set[Downstream] = set()
        self._upstreams: trio.Nursery | None = None
        telemetry.registry.add_collector(self._families)
        self._resolvers: dict[ClusterRuntime, trio.CancelScope] = {}

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled. Nurseries end in the order listeners, connections, upstreams."""
        try:
            await self._run(task_status)
        finally:
            for runtime in self.current.clusters.values():
                runtime.close()
            self.poller.close()

    async def _run(self, task_status: trio.TaskStatus[None]) -> None:
        async with trio.open_nursery() as upstreams:
            self._upstreams = upstreams
            upstreams.start_soon(self.poller.run)
            upstreams.start_soon(self.deadlines.run)
            async with trio.open_nursery() as connections:
                self.mirrors.nursery = connections
                self.listeners.nursery = connections
                task_status.started()
                try:
                    await trio.sleep_forever()
                finally:
                    self.listeners.close()
            for accepted in tuple(self.connections):
                accepted.end()  # callbacks served it: the others ended with their tasks

    def apply(self, snapshot: Snapshot) -> dict[str, str]:
        """Make a configuration the current one. Returns: resource or listener name -> why it is not (fully) in use."""
        before = self.current.listeners
        self.current = compile_snapshot(snapshot, self.current, self.telemetry, self._make_cluster, self.own)
        self.version += 1
        for runtime in [
            runtime for runtime in self._resolvers if self.current.clusters.get(runtime.name) is not runtime
        ]:
            self._resolvers.pop(runtime).cancel()
        self.telemetry.aim(lambda name: self._collector(snapshot, name))
        problems = dict(self.current.problems)
        problems.update(self.listeners.update(self.current.listeners))
        if any(self.current.listeners.get(name) is not runtime for name, runtime in before.items()):
            is_superseded = judge({name: runtime.model for name, runtime in self.current.listeners.items()})
            for accepted in self.connections:
                accepted.supersede(is_superseded)
        return problems

    @staticmethod
    def _collector(snapshot: Snapshot, name: str) -> str:
        cluster = snapshot.clusters.get(name)
        service = cluster.eds_service_name or name if cluster is not None else name
        return target_of(cluster, snapshot.endpoints.get(service))

    def adopt(self, own: OwnSecrets) -> None:
        """Use other secrets of the proxy's own from now on; connections that are open go on with what they have."""
        self.own = own
        self.current = with_secrets(self.current, own)

    def _families(self, now: float) -> list[Family]:
        """The data plane's own counters, for the metrics."""
        mirrors = self.mirrors
        counters = (
            ("protocol_errors", "Requests that were malformed.", self.protocol_errors),
            ("no_filter_chain", "Connections that no filter chain wanted.", self.no_filter_chain),
            ("loops", "Connections to the capture ports themselves.", self.loops),
            ("tls_failures", "Downstream connections whose TLS handshake failed.", self.tls_failures),
            ("crashes", "Connections that ended in an exception.", self.crashes),
            ("mirrors_sent", "Copies of requests that were answered.", mirrors.sent),
            ("mirrors_skipped", "Copies not made: too large, or too many under way.", mirrors.skipped),
            ("mirrors_failed", "Copies that could not be delivered.", mirrors.failed),
        )
        families = [
            Family(Metric(f"triomesh_proxy_{name}_total", text, Kind.COUNTER), [Sample("", "", value)])
            for name, text, value in counters
        ]
        open_now = [
            Sample("", 'direction="inbound"', self.drain.inbound),
            Sample("", 'direction="outbound"', self.drain.outbound),
        ]
        metric = Metric("triomesh_proxy_connections", "Downstream connections that are open.", Kind.GAUGE)
        return [*families, Family(metric, open_now)]

    def close_idle_inbound(self) -> None:
        """For the end of a drain: keep-alive connections of others that carry no request now."""
        for down in tuple(self.downstreams):
            if self.drain.concerns(down.terminal.is_outbound):
                down.close_if_idle()

    def count_protocol_error(self, _terminal: HttpTerminal) -> None:
        self.protocol_errors += 1

    def opaque(self, target: TcpProxy, terminal: HttpTerminal) -> TcpTerminal:
        """A terminal for one connection of an HTTP chain that is relayed as it is."""
        direction = _DIRECTIONS[terminal.is_inbound, terminal.is_outbound]
        return TcpTerminal(FilterChain(target), target, direction, self.telemetry.tcp(target, direction))

    def _make_cluster(self, model: Cluster, assignment: LoadAssignment | None) -> ClusterRuntime:
        runtime = ClusterRuntime(model, assignment, self.poller, self.deadlines)
        if model.discovery in (Discovery.STRICT_DNS, Discovery.LOGICAL_DNS):
            assert self._upstreams is not None, "apply() before run()"
            scope = self._resolvers[runtime] = trio.CancelScope()
            self._upstreams.start_soon(self._resolve, runtime, scope)
        return runtime

    async def _resolve(self, runtime: ClusterRuntime, scope: trio.CancelScope) -> None:
        with scope:
            await keep_resolved(runtime)
