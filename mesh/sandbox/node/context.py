"""What every pod worker shares (built by `main`), and what the parts of one know of their pod."""

import base64
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import trio

from mesh.sandbox.events import EventRecorder
from mesh.sandbox.images import Image
from mesh.sandbox.informer import Informer
from mesh.sandbox.ipam import AddressPool
from mesh.sandbox.kubeclient import KubeClient
from mesh.sandbox.layout import Layout
from mesh.sandbox.node.container import PodFiles
from mesh.sandbox.node.grace import Grace
from mesh.sandbox.node.podspec import Facts
from mesh.sandbox.node.probing import Prober
from mesh.sandbox.node.references import References
from mesh.sandbox.node.runtimeclient import Known, RuntimeClient

Json = dict[str, Any]
MAX_PARALLEL_SETUPS = 4
"""Networks set up at once: each runs `ip` twice, and the sandbox shares a few cores with what it starts."""


@dataclass(frozen=True, slots=True)
class NodeContext:
    """One node."""

    layout: Layout
    name: str
    node_ip: str
    cpus: int
    memory_bytes: int
    client: KubeClient
    runtime: RuntimeClient
    prober: Prober
    events: EventRecorder
    resolve_image: Callable[[str], Image]
    addresses: AddressPool
    services: Informer
    configmaps: References
    secrets: References
    adopted: dict[str, Known]
    setups: trio.CapacityLimiter
    clock: Callable[[], float]

    def facts(self, pod_ip: str) -> Facts:
        """What a pod at `pod_ip` may ask about itself."""
        return Facts(pod_ip, self.node_ip, self.name, self.cpus, self.memory_bytes)

    def lookup(self, namespace: str, kind: str, name: str) -> Json | None:
        """The decoded data of a ConfigMap or Secret, or None."""
        references = self.configmaps if kind == "ConfigMap" else self.secrets
        found = references.get(namespace, name)
        if found is None:
            return None
        if kind == "Secret":
            return {key: base64.b64decode(value) for key, value in (found.get("data") or {}).items()}
        binary = {key: base64.b64decode(value) for key, value in (found.get("binaryData") or {}).items()}
        return {**(found.get("data") or {}), **binary}


class Pod(Protocol):
    """A pod as its containers, volumes and network see it (`podworker.PodWorker`)."""

    node: NodeContext
    files: PodFiles
    pod: Json
    stopping: bool
    grace: Grace
    config_changed: trio.Event
    """Set, and replaced, when something that volumes or environments may refer to has changed."""

    @property
    def uid(self) -> str: ...
    @property
    def ip(self) -> str:
        """The pod's address; "" before it has one."""

    def changed(self) -> None:
        """Something that the status shows has changed."""

    def event(self, kind: str, reason: str, message: str, container: str = "") -> None:
        """Record an Event about the pod or one of its containers."""

    def interruptible(self) -> AbstractContextManager[trio.CancelScope]:
        """A wait that ends early when the pod stops."""

    def running_key(self, container: str) -> str | None:
        """The runtime's id of a container of the pod that runs, or None."""
