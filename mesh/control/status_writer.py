"""StatusWriter: the shell around `status` and `lease`: leads or waits, patches what the planner asks for."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from mesh.control.facts import StatusPatch
from mesh.control.kube.client import KubeClient, KubeError
from mesh.control.kube.kinds import Kind
from mesh.control.kube.world import WorldStore
from mesh.control.lease import RENEW_SECONDS, Candidate, Move
from mesh.control.metrics import MetricsRegistry
from mesh.control.publisher import Publisher
from mesh.control.status import plan
from mesh.model.origin import ObjectRef

_log = logging.getLogger(__name__)
LEASE_NAME = "triomesh-status-leader"
RETRY_SECONDS = 1.0


class StatusWriter:
    """Concurrency: `run` once. Everything else is told by `wake` (after builds and NACKs)."""

    def __init__(
        self,
        client: KubeClient,
        store: WorldStore,
        publisher: Publisher,
        metrics: MetricsRegistry,
        versions: Mapping[Kind, str],
        nacks: Callable[[], Mapping[ObjectRef, str]],
        namespace: str,
        identity: str,
        on_leadership: Callable[[], None] = lambda: None,
    ) -> None:
        self._client = client
        self._store = store
        self._publisher = publisher
        self._metrics = metrics
        self._versions = versions
        self._nacks = nacks
        self._path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self._candidate = Candidate(identity)
        self._on_leadership = on_leadership
        self._woken = asyncio.Event()

    @property
    def is_leader(self) -> bool:
        """Whether this process writes what is to be written once in the mesh."""
        return self._candidate.is_leader(time.monotonic())

    def wake(self) -> None:
        """Something that a status depends on may have changed."""
        self._woken.set()

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._lead(), name="lease")
            group.create_task(self._write(), name="status")

    async def _lead(self) -> None:
        was_leader, trouble = False, ""
        while True:
            try:
                await self._contend()
                trouble = ""
            except KubeError as error:
                # Once per kind of trouble, not once per attempt.
                if str(error) != trouble:
                    trouble = str(error)
                    _log.warning("no statuses are written: lease %s: %s", LEASE_NAME, trouble)
            is_leader = self._candidate.is_leader(time.monotonic())
            if is_leader != was_leader:
                _log.info("%s the lease %s", "holds" if is_leader else "does not hold", LEASE_NAME)
                was_leader = is_leader
                self._woken.set()
                self._on_leadership()
            await asyncio.sleep(RENEW_SECONDS)

    async def _contend(self) -> None:
        lease: dict[str, Any] | None
        try:
            lease = await self._client.request("GET", f"{self._path}/{LEASE_NAME}")
        except KubeError as error:
            if error.status != 404:
                raise
            lease = None
        asked_at = time.monotonic()
        move = self._candidate.decide(lease, asked_at)
        if move is Move.WAIT:
            self._candidate.lost()
            return
        spec = self._candidate.spec(
            lease, move, datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        )
        try:
            if lease is None:
                body = {
                    "apiVersion": "coordination.k8s.io/v1",
                    "kind": "Lease",
                    "metadata": {"name": LEASE_NAME},
                    "spec": spec,
                }
                await self._client.request("POST", self._path, body=body)
            else:
                await self._client.request("PUT", f"{self._path}/{LEASE_NAME}", body={**lease, "spec": spec})
        except KubeError as error:
            if error.status != 409:
                raise
            self._candidate.lost()
            return
        self._candidate.won(asked_at)

    async def _write(self) -> None:
        while True:
            await self._woken.wait()
            self._woken.clear()
            graph = self._publisher.graph
            if graph is None or not self._candidate.is_leader(time.monotonic()):
                continue
            now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            patches = plan(graph, lambda ref: self._store.status(ref)[1], self._nacks(), now)
            for patch in patches:
                if not self._candidate.is_leader(time.monotonic()):
                    break
                await self._patch(patch)

    async def _patch(self, patch: StatusPatch) -> None:
        meta = patch.meta
        version = self._versions.get(patch.kind, "")
        resource_version, seen = self._store.status(meta.ref)
        if not version or not resource_version:
            return
        # A merge patch leaves out what is gone unless it says null; lists are replaced whole.
        status = {**{key: None for key in seen if key not in patch.status}, **patch.status}
        body = {"metadata": {"resourceVersion": resource_version}, "status": status}
        path = patch.kind.path(version, meta.namespace, meta.name, "status")
        result = "ok"
        try:
            answer = await self._client.request("PATCH", path, None, body, "application/merge-patch+json")
        except KubeError as error:
            # Conflict or gone: the watch brings the newer object within the second.
            result = "conflict" if error.status in (404, 409) else "error"
            if result == "error":
                _log.warning("status of %s: %s", meta.ref, error)
            asyncio.get_running_loop().call_later(RETRY_SECONDS, self.wake)
        else:
            if self._store.status(meta.ref)[0] == resource_version:
                self._store.put(patch.kind, answer)
        self._metrics.count("triomesh_status_writes_total", (("result", result),))
