"""The life of one pod on this node.

    volumes → network → init containers and sidecars in order → containers in order → (all ended | deletion | deadline)
            → preStop, SIGTERM, SIGKILL: ordinary containers together, then sidecars in reverse order
            → network freed → last status → removed from the API when it was deleted
"""

import contextlib
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import trio

from mesh.sandbox import netns
from mesh.sandbox.kubeclient import PODS, SERVICE_ACCOUNTS, ApiError, Unreachable
from mesh.sandbox.layout import NETNS_DIR
from mesh.sandbox.node import podstatus, volumefiles, volumes
from mesh.sandbox.node.container import PodFiles, not_enforced
from mesh.sandbox.node.context import NodeContext
from mesh.sandbox.node.minder import Grace, Minder
from mesh.sandbox.node.podspec import SpecError, hostname
from mesh.sandbox.node.podstatus import Role, Terminated, Waiting
from mesh.sandbox.node.runtimeclient import RuntimeFailure
from mesh.sandbox.node.volumes import TokenWish
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
        self.ip = ""
        self.stopping = False
        self.grace = Grace()
        self.config_changed = trio.Event()
        self.records = podstatus.make_records(pod)
        self.minders: dict[str, Minder] = {}
        self._started_at = node.clock()
        self._network_ready = False
        self._failure: tuple[str, str] | None = None
        self._stop = trio.Event()
        self._deleted = trio.Event()
        self._is_gone = False
        self._dirty = trio.Event()
        self._change = trio.Event()
        self._written: Json | None = None
        self._scopes: set[trio.CancelScope] = set()
        self._tokens: dict[TokenWish, tuple[str, float]] = {}
        if "deletionTimestamp" in pod["metadata"]:
            self._begin_deletion()

    # -- told by the API ------------------------------------------------------------------------------------------------

    def update(self, pod: Json) -> None:
        """The pod changed in the API: labels, annotations, conditions, or its deletion was asked for."""
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
            role = self.records[container].role
            path = f"spec.{'containers' if role is Role.MAIN else 'initContainers'}{{{container}}}"
        self.node.events.record(self.pod, kind, reason, message, field_path=path)

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
                nursery.start_soon(self._refresh_volumes)
                await self._live()
            await self._tear_down()
            await self._push_status()
            await self._deleted.wait()
            nursery.cancel_scope.cancel()
        await self._remove()

    async def _live(self) -> None:
        if fields := not_enforced(self.pod):
            self.event("Warning", "NotEnforced", f"the sandbox does not act on: {', '.join(fields)}")
        with self.interruptible():
            await self._prepare_volumes()
            await self._set_up_network()
        if not self._network_ready:
            return
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._deadline)
            async with trio.open_nursery() as minders:
                with self.interruptible():
                    await self._start_all(minders)
                if not self.stopping:
                    minders.start_soon(self._wait_for_mains)
                await self._stop.wait()
                await self._stop_all()
            nursery.cancel_scope.cancel()

    async def _start_all(self, minders: trio.Nursery) -> None:
        """Init containers and sidecars in order, then the others; each starts when the one before lets it."""
        spec = self.pod["spec"]
        for container in [*(spec.get("initContainers") or ()), *spec["containers"]]:
            record = self.records[container["name"]]
            if record.role is Role.INIT and isinstance(record.state, Terminated) and record.state.exit_code == 0:
                continue  # done before the node agent was restarted
            if record.role is Role.MAIN and isinstance(record.state, Waiting):
                record.state = Waiting("ContainerCreating")
            minder = self.minders[record.name] = Minder(self, container, record)
            minders.start_soon(minder.run)
            await minder.passed.wait()
            if record.role is Role.INIT and not (isinstance(record.state, Terminated) and record.state.exit_code == 0):
                self.request_stop()
                return

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
        seconds = self.pod["spec"].get("activeDeadlineSeconds")
        if seconds is None:
            return
        begun = (self.pod.get("status") or {}).get("startTime")
        started = parse_stamp(begun) if begun else self._started_at
        await trio.sleep(max(0.0, started + float(seconds) - self.node.clock()))
        self._failure = ("DeadlineExceeded", "Pod was active on the node longer than the specified deadline")
        self.event("Normal", "DeadlineExceeded", self._failure[1])
        self.request_stop()

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

    # -- volumes ----------------------------------------------------------------------------------------------------------

    async def _prepare_volumes(self) -> None:
        while True:
            changed = self.config_changed
            try:
                for volume in self.pod["spec"].get("volumes") or ():
                    await self._prepare_volume(volume)
                return
            except (SpecError, ApiError, Unreachable) as exc:
                self.event("Warning", "FailedMount", str(exc))
            with trio.move_on_after(_RETRY_SECONDS * 5):
                await changed.wait()

    async def _prepare_volume(self, volume: Json) -> None:
        path = self.files.volume(volume["name"])
        group = (self.pod["spec"].get("securityContext") or {}).get("fsGroup")
        if not volumes.is_data(volume):
            volumefiles.make_directory(path, volumes.directory(volume), group)
            return
        tokens = {wish: await self._token(wish) for wish in volumes.token_wishes(volume)}
        namespace = self.pod["metadata"]["namespace"]
        content = volumes.files(
            volume, self.pod, self.node.facts(self.ip), lambda kind, name: self.node.lookup(namespace, kind, name), tokens
        )
        volumefiles.write_files(path, content, group)

    async def _token(self, wish: TokenWish) -> str:
        now = self.node.clock()
        known = self._tokens.get(wish)
        if known is not None and now < known[1]:
            return known[0]
        meta, account = self.pod["metadata"], self.pod["spec"].get("serviceAccountName", "default")
        spec: Json = {
            "expirationSeconds": wish.seconds,
            "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": meta["name"], "uid": meta["uid"]},
        }
        if wish.audience:
            spec["audiences"] = [wish.audience]
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        answer = await self.node.client.create(SERVICE_ACCOUNTS, meta["namespace"], request, name=account, sub="token")
        ends = parse_stamp(answer["status"]["expirationTimestamp"])
        # Replaced at 80% of its life, as the kubelet does, so that no reader ever meets an expired one.
        self._tokens[wish] = (answer["status"]["token"], now + 0.8 * (ends - now))
        return str(answer["status"]["token"])

    async def _refresh_volumes(self) -> None:
        """Follow changed ConfigMaps, Secrets and labels, and renew tokens."""
        data = [volume for volume in self.pod["spec"].get("volumes") or () if volumes.is_data(volume)]
        while data:
            due = min((until for _, until in self._tokens.values()), default=float("inf"))
            with trio.move_on_after(max(0.0, due - self.node.clock())):
                await self.config_changed.wait()
            if not self._network_ready:
                continue
            for volume in data:
                try:
                    await self._prepare_volume(volume)
                except (SpecError, ApiError, Unreachable) as exc:
                    self.event("Warning", "FailedMount", str(exc))
                    await trio.sleep(_RETRY_SECONDS)

    # -- network ------------------------------------------------------------------------------------------------------------

    async def _set_up_network(self) -> None:
        spec = self.pod["spec"]
        if spec.get("hostNetwork"):
            self.ip = self.node.node_ip
        elif not self._adopt_network():
            self._forget_runs()
            self.ip = self.node.addresses.take()
            try:
                await trio.to_thread.run_sync(
                    netns.set_up_pod,
                    self.node.layout.node_netns,
                    self.node.layout.pod_netns(self.uid),
                    self.ip,
                    hostname(self.pod),
                    self.files.namespaces,
                    limiter=self.node.setups,
                )
            except (netns.CommandFailed, OSError) as exc:
                self.event("Warning", "FailedCreatePodSandBox", f"Failed to create pod sandbox: {exc}")
                self._failure = ("FailedCreatePodSandBox", str(exc))
                self.request_stop()
                return
            self.files.sandbox.write_text(json.dumps({"ip": self.ip}))
        self._network_ready = True
        self.changed()

    def _adopt_network(self) -> bool:
        """Whether the pod's namespaces and containers are still there from before the node agent was restarted."""
        alive = any(key.startswith(f"{self.uid}/") for key in self.node.adopted)
        name = Path(NETNS_DIR, self.node.layout.pod_netns(self.uid))
        if not alive or not name.exists() or not self.files.sandbox.exists():
            return False
        self.ip = json.loads(self.files.sandbox.read_text())["ip"]
        self.node.addresses.adopt(self.ip)
        return True

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

    async def _tear_down(self) -> None:
        if not self.pod["spec"].get("hostNetwork"):
            await trio.to_thread.run_sync(
                netns.tear_down_pod,
                self.node.layout.node_netns,
                self.node.layout.pod_netns(self.uid),
                self.files.namespaces,
                limiter=self.node.setups,
            )
            self.node.addresses.release(self.ip)
        self._network_ready = False
        self.changed()

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
            network_ready=self._network_ready,
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
