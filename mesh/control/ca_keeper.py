"""CaKeeper: the shell around `trust`: follows the cluster, writes what is to be written, tells who signs by."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Callable

from mesh.control.ca import unix
from mesh.control.kube import kinds
from mesh.control.kube.client import KubeClient, KubeError
from mesh.control.kube.watch import Metrics, Scope, Watchers
from mesh.control.trust import DEFAULT_OVERLAP_SECONDS, ROOT_CONFIG_MAP, Trust, Write

_log = logging.getLogger(__name__)
RETRY_SECONDS = 2.0


class CaKeeper:
    """Concurrency: `run` once. on_change: called when authority or bundle differ, on the loop."""

    def __init__(
        self,
        client: KubeClient,
        metrics: Metrics,
        namespace: str,
        is_leader: Callable[[], bool],
        on_change: Callable[[], None],
        overlap_seconds: float = DEFAULT_OVERLAP_SECONDS,
        rng: random.Random | None = None,
    ) -> None:
        self._client = client
        self._metrics = metrics
        self._is_leader = is_leader
        self._on_change = on_change
        self._woken = asyncio.Event()
        self._told: dict[str, str] = {}
        self.trust = Trust(namespace, overlap_seconds)
        scopes = {
            kinds.SECRET: Scope(namespace),
            kinds.CONFIG_MAP: Scope(query={"fieldSelector": f"metadata.name={ROOT_CONFIG_MAP}"}),
        }
        watched = (kinds.NAMESPACE, kinds.SECRET, kinds.CONFIG_MAP)
        self._watchers = Watchers(client, self.trust, self.wake, _Apart(metrics), scopes, rng, watched)

    def wake(self) -> None:
        """Something changed: an object, or who leads."""
        self._woken.set()

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watchers.run(), name="watches of the CA")
            group.create_task(self._act(), name="writes of the CA")

    async def _act(self) -> None:
        await self._watchers.synced.wait()
        while True:
            self._woken.clear()
            self._refresh()
            is_done = await self._write()
            now = time.time()
            wait = min(self.trust.deadline - now, 3600.0) if is_done else RETRY_SECONDS
            # Not wait_for: before Python 3.12 it loses a cancellation that comes together with the event.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(wait, 0.0)):
                    await self._woken.wait()

    def _refresh(self) -> None:
        trust, now = self.trust, time.time()
        before = trust.authority, trust.roots_pem
        trust.refresh(now)
        self._say("CA", trust.trouble, logging.ERROR)
        self._say("change of CA", trust.note, logging.INFO)
        if trust.authority is None:
            return
        end = unix(trust.authority.anchor.not_valid_after_utc)
        self._metrics.gauge("citadel_server_root_cert_expiry_timestamp", end)
        self._metrics.gauge("citadel_server_root_cert_expiry_seconds", end - now)
        self._metrics.gauge("citadel_server_cert_chain_expiry_timestamp", trust.authority.not_after)
        self._metrics.gauge("citadel_server_cert_chain_expiry_seconds", trust.authority.not_after - now)
        if before[0] is None or before[0].certificate != trust.authority.certificate:
            name = trust.authority.certificate.subject.rfc4514_string()
            _log.info("signs by %r, serial %x", name, trust.authority.certificate.serial_number)
        elif before[1] == trust.roots_pem:
            return
        self._on_change()

    async def _write(self) -> bool:
        """Whether all of it was written (or need not be)."""
        is_done = True
        for write in self.trust.writes(time.time(), self._is_leader()):
            try:
                await self._client.request(write.method, write.path, body=write.body)
            except KubeError as error:
                is_done = self._may_be(write, error) and is_done
            else:
                self._told.pop(write.what, None)
                _log.info("wrote %s", write.what)
        return is_done

    def _may_be(self, write: Write, error: KubeError) -> bool:
        """Somebody else was first, or the namespace is going: the watch tells what is to be done then, if anything."""
        if error.status in (404, 409) or (error.status == 403 and "being terminated" in error.message):
            return True
        self._say(write.what, f"cannot write {write.what}: {error}", logging.WARNING)
        return False

    def _say(self, about: str, text: str, level: int) -> None:
        """Once per trouble, not once per attempt."""
        if text and self._told.get(about) != text:
            _log.log(level, "%s", text)
        self._told[about] = text


class _Apart:
    """The watches' metrics under types of their own: what the graph is built from is counted by itself."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def count(self, name: str, labels: tuple[tuple[str, str], ...] = (), by: int = 1) -> None:
        self._metrics.count(name, _apart(labels), by)

    def gauge(self, name: str, value: float, labels: tuple[tuple[str, str], ...] = ()) -> None:
        self._metrics.gauge(name, value, _apart(labels))


def _apart(labels: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    return tuple((name, f"CA/{value}" if name == "type" else value) for name, value in labels)
