"""The life of one pod on this node.

    volumes → network → init containers and sidecars in order → containers in order → (all ended | deletion | deadline)
            ephemeral containers at any time after the network; another image of a container: its minder starts it again
            → preStop, SIGTERM, SIGKILL: ordinary containers together, then sidecars in reverse order
            → network freed → last status → removed from the API when it was deleted
"""

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

import trio

from mesh.sandbox import netns
from mesh.sandbox.kubeclient import PODS, ApiError, Unreachable
from mesh.sandbox.node import podstatus, volumefiles
from mesh.sandbox.node.container import PodFiles, not_enforced
from mesh.sandbox.node.context import NodeContext
from mesh.sandbox.node.grace import Grace
from mesh.sandbox.node.minder import Minder
from mesh.sandbox.node.podnetwork import PodNetwork
from mesh.sandbox.node.podstatus import Role, Terminated, Waiting
from mesh.sandbox.node.podvolumes import PodVolumes
from mesh.sandbox.node.runtimeclient import RuntimeFailure
from mesh.sandbox.times import parse_stamp

Json = dict[str, Any]
_log = logging.getLogger("node")
_RETRY_SECONDS = 2.0


class PodWorker:
    """Concurrency: one `run` task; `update`, `gone` and `poke` from the informers' callbacks."""

    def __init__(self, node: NodeContext, pod: Json) -> None:
        self.node = node
        self.pod = pod
        self.uid: str = pod["metadata"]["uid"]
        self.files = PodFiles(node.layout.pod(self.uid))
        self.stopping = False
        self.grace = Grace()
        self.config_changed = trio.Event()
        self.records = podstatus.make_records(pod)
        self.minders: dict[str, Minder] = {}
        self._started_at = node.clock()
        self._network = PodNetwork(self)
        self._volumes = PodVolumes(self)
        self._failure: tuple[str, str] | None = None
        self._stop = trio.Event()
        self._deleted = trio.Event()
        self._is_gone = False
        self._dirty = trio.Event()
        self._change = trio.Event()
        self._written: Json | None = None
        self._scopes: set[trio.CancelScope] = set()
        if "deletionTimestamp" in pod["metadata"]:
            self._begin_deletion()

    @property
    def ip(self) -> str:
        """The pod's address; "" before it has one."""
        return self._network.ip

    # -- told by the API ------------------------------------------------------------------------------------------------

    def update(self, pod: Json) -> None:
        """The pod changed in the API: labels, annotations, conditions, images, ephemeral containers, or its deletion was asked for."""
        self.pod = pod
        if "deletionTimestamp" in pod["metadata"]:
            self._begin_deletion()
        self.poke()

    def gone(self) -> None:
        """The pod is no longer in the API (removed by force): stop at once."""
        self._is_gone = True
        self._deleted.set()
        self.grace.shorten(trio.current_time())
        self.request_stop()

    def poke(self) -> None:
        """Something that volumes or environments may refer to has changed."""
        self.config_changed.set()
        self.config_changed = trio.Event()

    def request_stop(self) -> None:
        """Start nothing more and stop what runs."""
        self.stopping = True
        self._stop.set()
        for scope in list(self._scopes):
            scope.cancel()

    def _begin_deletion(self) -> None:
        seconds = float(self.pod["metadata"].get("deletionGracePeriodSeconds") or 0)
        self.grace.shorten(trio.current_time() + seconds)
        self._deleted.set()
        self.request_stop()

    # -- for the minders --------------------------------------------------------------------------------------------------

    def changed(self) -> None:
        """Something that the status shows has changed."""
        self._dirty.set()
        self._change.set()
        self._change = trio.Event()

    def event(self, kind: str, reason: str, message: str, container: str = "") -> None:
        """Record an Event about the pod or one of its containers."""
        path = ""
        if container:
            path = f"spec.{self.records[container].role.field}{{{container}}}"
        self.node.events.record(self.pod, kind, reason, message, field_path=path)

    def running_key(self, container: str) -> str | None:
        """The runtime's id of a container of the pod that runs, or None."""
        minder = self.minders.get(container)
        return minder.key if minder is not None and minder.is_running() else None

    @contextlib.contextmanager
    def interruptible(self) -> Iterator[trio.CancelScope]:
        """A wait that ends early when the pod stops."""
        with trio.CancelScope() as scope:
            self._scopes.add(scope)
            if self.stopping:
                scope.cancel()
            try:
                yield scope
            finally:
                self._scopes.discard(scope)

    # -- the life -------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """From the first volume to the removal from the API."""
        finished = (self.pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._write_statuses)
            if not finished:
                await self._live()
            await self._network.tear_down()
            await self._push_status()
            await self._deleted.wait()
            nursery.cancel_scope.cancel()
        await self._remove()

    async def _live(self) -> None:
        if fields := not_enforced(self.pod):
            self.event("Warning", "NotEnforced", f"the sandbox does not act on: {', '.join(fields)}")
        with self.interruptible():
            await self._volumes.prepare()
            await self._set_up_network()
        if not self._network.ready:
            return
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._deadline)
            nursery.start_soon(self._volumes.refresh)
            async with trio.open_nursery() as minders:
                minders.start_soon(self._follow_spec, minders)
                with self.interruptible():
                    await self._start_all(minders)
                if not self.stopping:
                    minders.start_soon(self._wait_for_mains)
                await self._stop.wait()
                await self._stop_all()
            nursery.cancel_scope.cancel()

    async def _start_all(self, minders: trio.Nursery) -> None:
        """Init containers and sidecars in order, then the others; each starts when the one before lets it."""
        for record in [record for record in self.records.values() if record.role is not Role.EPHEMERAL]:
            if record.role is Role.INIT and isinstance(record.state, Terminated) and record.state.exit_code == 0:
                continue  # done before the node agent was restarted
            if record.role is Role.MAIN and isinstance(record.state, Waiting):
                record.state = Waiting("ContainerCreating")
            minder = self.minders[record.name] = Minder(self, self._spec_of(record), record)
            minders.start_soon(minder.run)
            await minder.passed.wait()
            if record.role is Role.INIT and not (isinstance(record.state, Terminated) and record.state.exit_code == 0):
                self.request_stop()
                return

    async def _follow_spec(self, minders: trio.Nursery) -> None:
        """Start ephemeral containers as the spec gets them, and tell of other images."""
        with self.interruptible():
            while True:
                changed = self.config_changed
                for minder in self.minders.values():
                    minder.redefine(self._spec_of(minder.record))
                for container in self.pod["spec"].get("ephemeralContainers") or ():
                    if container["name"] not in self.minders:
                        self._start_ephemeral(minders, container)
                await changed.wait()

    def _start_ephemeral(self, minders: trio.Nursery, container: Json) -> None:
        name = container["name"]
        if name not in self.records:
            self.records[name] = podstatus.make_records(self.pod)[name]
        if not isinstance(self.records[name].state, Terminated):  # it may have ended before the node agent was restarted
            self.minders[name] = Minder(self, container, self.records[name])
            minders.start_soon(self.minders[name].run)
            self.changed()

    def _spec_of(self, record: podstatus.Record) -> Json:
        """The container as the pod's spec has it now."""
        return next(item for item in self.pod["spec"][record.role.field] if item["name"] == record.name)

    async def _wait_for_mains(self) -> None:
        """When every ordinary container has ended for good, the sidecars go too."""
        if self.pod["spec"].get("restartPolicy", "Always") == "Always":
            return
        while not self.stopping:
            if podstatus.phase(self.pod, list(self.records.values())) in ("Succeeded", "Failed"):
                self.request_stop()
                return
            await self._change.wait()

    async def _deadline(self) -> None:
        while (left := self._seconds_left()) > 0:
            changed = self.config_changed
            with trio.move_on_after(left):
                await changed.wait()
        self._failure = ("DeadlineExceeded", "Pod was active on the node longer than the specified deadline")
        self.event("Normal", "DeadlineExceeded", self._failure[1])
        self.request_stop()

    def _seconds_left(self) -> float:
        """Until the pod's deadline, which may be set or brought forward while it runs; inf = there is none."""
        seconds = self.pod["spec"].get("activeDeadlineSeconds")
        begun = (self.pod.get("status") or {}).get("startTime")
        started = parse_stamp(begun) if begun else self._started_at
        return float("inf") if seconds is None else started + float(seconds) - self.node.clock()

    async def _stop_all(self) -> None:
        """Ordinary containers together, then sidecars one by one, the last started first."""
        default = float(self.pod["spec"].get("terminationGracePeriodSeconds", 30))
        end = min(self.grace.deadline, trio.current_time() + default)
        self.grace.shorten(end)
        async with trio.open_nursery() as nursery:
            for minder in self.minders.values():
                if minder.record.role is not Role.SIDECAR:
                    nursery.start_soon(self._kill, minder)
        for minder in reversed(list(self.minders.values())):
            if minder.record.role is Role.SIDECAR:
                await self._kill(minder)

    async def _kill(self, minder: Minder) -> None:
        await minder.kill(max(0.0, self.grace.deadline - trio.current_time()), f"Stopping container {minder.spec['name']}")

    async def _set_up_network(self) -> None:
        try:
            if not await self._network.set_up():
                self._forget_runs()
        except (netns.CommandFailed, OSError) as exc:
            self.event("Warning", "FailedCreatePodSandBox", f"Failed to create pod sandbox: {exc}")
            self._failure = ("FailedCreatePodSandBox", str(exc))
            self.request_stop()

    def _forget_runs(self) -> None:
        """A new network means new containers: what the status says of earlier ones becomes their last state."""
        for record in self.records.values():
            if record.container_id:
                if isinstance(record.state, Terminated):
                    record.last = record.state
                record.restarts += 1
                record.container_id = ""
                record.state = Waiting("PodInitializing")
                record.ready = record.started = False

    async def _remove(self) -> None:
        """Leave neither files nor an API object."""
        for known in await self.node.runtime.containers():
            if known.startswith(f"{self.uid}/"):
                with contextlib.suppress(RuntimeFailure):
                    await self.node.runtime.forget(known)
        await trio.to_thread.run_sync(volumefiles.remove_tree, self.files.directory)
        meta = self.pod["metadata"]
        while not self._is_gone:
            try:
                await self.node.client.delete(PODS, meta["namespace"], meta["name"], grace_seconds=0, uid=self.uid)
                return
            except (ApiError, Unreachable) as exc:
                _log.warning("delete pod %s/%s: %s", meta["namespace"], meta["name"], exc)
                await trio.sleep(_RETRY_SECONDS)

    # -- status -------------------------------------------------------------------------------------------------------------

    async def _write_statuses(self) -> None:
        self._dirty.set()
        while True:
            await self._dirty.wait()
            await self._push_status()

    async def _push_status(self) -> None:
        if self._is_gone:
            return
        self._dirty = trio.Event()
        status = podstatus.build(
            self.pod,
            list(self.records.values()),
            pod_ip=self.ip,
            node_ip=self.node.node_ip,
            network_ready=self._network.ready,
            started_at=self._started_at,
            now=self.node.clock(),
            failure=self._failure,
        )
        if status == self._written:
            return
        meta = self.pod["metadata"]
        patch = {"metadata": {"uid": self.uid}, "status": status}
        try:
            self.pod = await self.node.client.patch(PODS, meta["namespace"], meta["name"], patch, sub="status")
            self._written = status
        except ApiError as exc:
            if exc.code not in (404, 409):  # gone, or replaced by another of its name: the informer will tell
                _log.warning("status of pod %s/%s: %s", meta["namespace"], meta["name"], exc)
        except Unreachable as exc:
            _log.info("status of pod %s/%s: %s", meta["namespace"], meta["name"], exc)
            await trio.sleep(_RETRY_SECONDS)
            self.changed()
