"""What is done for one container while it runs: its postStart hook, then its probes.

    started → postStart → startup probe → readiness and liveness probes, until the container ends
A failed hook, and startup or liveness probes that have failed often enough, end the container; whether it is started again is its minder's affair.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import trio

from mesh.sandbox.node.context import Pod
from mesh.sandbox.node.podstatus import Record, Role
from mesh.sandbox.node.probes import ProbeSpec, Verdict, parse_probe
from mesh.sandbox.node.probing import Target

Json = dict[str, Any]
Kill = Callable[[float, str], Awaitable[None]]
"""(seconds of grace, why)"""


def grace_seconds(pod: Json, probe: ProbeSpec | None = None) -> float:
    """How long a container may take to stop; a probe may say so for the ends that it causes."""
    if probe is not None and probe.grace is not None:
        return float(probe.grace)
    return float(pod["spec"].get("terminationGracePeriodSeconds", 30))


class Attendant:
    """One run of one container. Sets `passed` when the next container of the pod may start: after the startup probe
    of a sidecar, after the postStart hook of an ordinary one."""

    def __init__(self, pod: Pod, target: Target, record: Record, passed: trio.Event, kill: Kill) -> None:
        self._pod, self._target, self._record = pod, target, record
        self._passed, self._kill = passed, kill
        self._spec = target.container

    async def run(self, adopted: bool) -> None:
        """Until cancelled. `adopted`: it was started by an earlier node agent, so its hook has run."""
        if not adopted and not await self._post_start():
            return
        if self._record.role is Role.MAIN:
            self._passed.set()
        if (probe := self._spec.get("startupProbe")) and not await self._start_up(parse_probe(probe)):
            return
        self._record.started = True
        if self._record.role is Role.SIDECAR:
            self._passed.set()
        if self._record.role is Role.INIT:
            return
        self._record.ready = "readinessProbe" not in self._spec
        self._pod.changed()
        async with trio.open_nursery() as nursery:
            if probe := self._spec.get("readinessProbe"):
                nursery.start_soon(self._readiness, parse_probe(probe))
            if probe := self._spec.get("livenessProbe"):
                nursery.start_soon(self._liveness, parse_probe(probe))

    async def _post_start(self) -> bool:
        hook = (self._spec.get("lifecycle") or {}).get("postStart")
        if not hook or (why := await self._pod.node.prober.hook(hook, self._target)) is None:
            return True
        name = self._spec["name"]
        self._pod.event("Warning", "FailedPostStartHook", f"PostStartHook failed: {why}", name)
        await self._kill(grace_seconds(self._pod.pod), f"FailedPostStartHook: container {name} will be restarted")
        return False

    async def _start_up(self, probe: ProbeSpec) -> bool:
        verdict = Verdict(probe, passing=False)
        await trio.sleep(probe.initial_delay)
        while not await self._probe_once("Startup", probe, verdict):
            if verdict.failed:
                await self._restart_for("startup", probe)
                return False
            await trio.sleep(probe.period)
        return True

    async def _readiness(self, probe: ProbeSpec) -> None:
        verdict = Verdict(probe, passing=False)
        await trio.sleep(probe.initial_delay)
        while True:
            ready = await self._probe_once("Readiness", probe, verdict)
            if ready != self._record.ready:
                self._record.ready = ready
                self._pod.changed()
            await trio.sleep(probe.period)

    async def _liveness(self, probe: ProbeSpec) -> None:
        verdict = Verdict(probe, passing=True)
        await trio.sleep(probe.initial_delay)
        while not self._pod.stopping:
            await self._probe_once("Liveness", probe, verdict)
            if verdict.failed:
                await self._restart_for("liveness", probe)
                return
            await trio.sleep(probe.period)

    async def _probe_once(self, kind: str, probe: ProbeSpec, verdict: Verdict) -> bool:
        why = await self._pod.node.prober.probe(probe, self._target)
        verdict.add(why is None)
        if why is not None and not self._pod.stopping:
            self._pod.event("Warning", "Unhealthy", f"{kind} probe failed: {why}", self._spec["name"])
        return verdict.passing

    async def _restart_for(self, kind: str, probe: ProbeSpec) -> None:
        await self._kill(grace_seconds(self._pod.pod, probe), f"Container {self._spec['name']} failed {kind} probe, will be restarted")
