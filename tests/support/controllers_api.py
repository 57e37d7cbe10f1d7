"""A controller over a real API server in the test's process."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trio
import trio.testing

from mesh.sandbox.controllers.shell import Shell
from mesh.sandbox.events import EventRecorder
from mesh.sandbox.kubeclient import EVENTS, KubeClient, Resource
from tests.support.node import Holds, api_client, until

Json = dict[str, Any]
NOW = 1_767_225_600.0
"""2026-01-01T00:00:00Z: what the controllers' clock says."""


@dataclass
class Controllers:
    """A Shell whose informers run once `start` was called."""

    shell: Shell
    client: KubeClient
    nursery: trio.Nursery

    async def start(self, *tasks: Any) -> None:
        """Run the informers that have been asked for, then `tasks`."""
        informers = list(self.shell.informers.values())
        for informer in informers:
            self.nursery.start_soon(informer.run)
        for informer in informers:
            await informer.synced.wait()
        for task in tasks:
            self.nursery.start_soon(task)

    async def until(self, resource: Resource, name: str, holds: Holds, namespace: str = "default") -> Json:
        """Wait until the object is as `holds` says; returns it."""
        return await until(self.shell.informer(resource), name, holds, "" if not resource.namespaced else namespace) or {}


@asynccontextmanager
async def controllers(directory: Path) -> AsyncIterator[Controllers]:
    """Nothing runs yet but the API server and the recorder of Events."""
    async with api_client(directory) as client, trio.open_nursery() as nursery:
        events = EventRecorder(client, "unit", "", lambda: NOW)
        shell = Shell(client, events, lambda: NOW)
        shell.informer(EVENTS)
        nursery.start_soon(events.run)
        yield Controllers(shell, client, nursery)
        # A connection that is cancelled while it is being made is closed by nobody (httpcore): let the last writes end.
        await trio.testing.wait_all_tasks_blocked(0.02)
        nursery.cancel_scope.cancel()


def exists(found: Json | None) -> bool:
    return found is not None


def is_gone(found: Json | None) -> bool:
    return found is None
