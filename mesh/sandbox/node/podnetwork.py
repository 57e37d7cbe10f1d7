"""The network of one pod, and the other namespaces that its containers share."""

import json
from collections.abc import Callable
from pathlib import Path

import trio

from mesh.sandbox import netns
from mesh.sandbox.layout import NETNS_DIR
from mesh.sandbox.node.context import Pod
from mesh.sandbox.node.podspec import hostname


class PodNetwork:
    """Concurrency: one task."""

    def __init__(self, pod: Pod) -> None:
        self._pod = pod
        self.ip = ""
        self.ready = False

    async def set_up(self) -> bool:
        """Make the namespaces, or find those of before the node agent was restarted. Returns whether its containers are still there.

        Raises: netns.CommandFailed, OSError: it cannot be made.
        """
        adopted = self._adopt()
        if not adopted:
            await self._make()
            self._pod.files.sandbox.parent.mkdir(parents=True, exist_ok=True)
            self._pod.files.sandbox.write_text(json.dumps({"ip": self.ip}))
        self.ready = True
        self._pod.changed()
        return adopted

    async def tear_down(self) -> None:
        """Remove what there is of it."""
        await self._in_thread(self._remove)
        if self.ip and not self._is_hosts:
            self._pod.node.addresses.release(self.ip)
        self.ready = False
        self._pod.changed()

    @property
    def _is_hosts(self) -> bool:
        return bool(self._pod.pod["spec"].get("hostNetwork"))

    @property
    def _name(self) -> str:
        return self._pod.node.layout.pod_netns(self._pod.uid)

    def _adopt(self) -> bool:
        files = self._pod.files
        alive = any(key.startswith(f"{self._pod.uid}/") for key in self._pod.node.adopted)
        if not alive or not files.sandbox.exists() or not (self._is_hosts or Path(NETNS_DIR, self._name).exists()):
            return False
        self.ip = json.loads(files.sandbox.read_text())["ip"]
        if not self._is_hosts:
            self._pod.node.addresses.adopt(self.ip)
        return True

    async def _make(self) -> None:
        node, spaces, name = self._pod.node, self._pod.files.namespaces, hostname(self._pod.pod)
        if any(path.exists() for path in spaces.values()):  # left by a node agent that ended half-way
            await self._in_thread(self._remove)
        if self._is_hosts:
            await self._in_thread(lambda: netns.make_spaces(spaces, name))
            self.ip = node.node_ip
            return
        ip = self.ip = node.addresses.take()
        await self._in_thread(lambda: netns.set_up_pod(node.layout.node_netns, self._name, ip, name, spaces))

    def _remove(self) -> None:
        if self._is_hosts:
            for path in self._pod.files.namespaces.values():
                netns.unmount_file(path)
        else:
            netns.tear_down_pod(self._pod.node.layout.node_netns, self._name, self._pod.files.namespaces)

    async def _in_thread(self, work: Callable[[], None]) -> None:
        await trio.to_thread.run_sync(work, limiter=self._pod.node.setups)
