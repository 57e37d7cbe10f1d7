"""The namespace controller's shell: fill new namespaces, empty those that go."""

from functools import partial
from pathlib import Path
from typing import Any

from mesh.sandbox.controllers import namespaces
from mesh.sandbox.controllers.discovery import Discovery
from mesh.sandbox.controllers.queue import Queue
from mesh.sandbox.controllers.shell import Shell
from mesh.sandbox.informer import key_of
from mesh.sandbox.kubeclient import CONFIGMAPS, NAMESPACES, PODS, SERVICE_ACCOUNTS, ApiError, Resource

Json = dict[str, Any]
_AGAIN_SECONDS = 0.25
"""Most kinds in a namespace have no informer here that would tell when the last object has gone."""


def namespace_queue(shell: Shell, discovery: Discovery, ca_file: Path) -> Queue[str]:
    """Fill and empty namespaces."""
    every, accounts, maps = shell.informer(NAMESPACES), shell.informer(SERVICE_ACCOUNTS), shell.informer(CONFIGMAPS)

    async def reconcile(name: str) -> float | None:
        found = every.get("", name)
        if found is None:
            return None
        if "deletionTimestamp" in found["metadata"]:
            return await _empty(shell, discovery, found)
        plan = namespaces.contents(found, accounts.get(name, "default"), maps.get(name, namespaces.ROOT_CA), ca_file.read_text())
        return await shell.execute(plan)

    queue: Queue[str] = Queue("namespaces", reconcile)
    every.subscribe(lambda old, new: queue.add(key_of(new or old or {})[1]))
    for informer, name in ((accounts, "default"), (maps, namespaces.ROOT_CA)):
        informer.subscribe(partial(_on_content, queue, name))
    shell.informer(PODS).subscribe(lambda old, new: queue.add(key_of(old)[0]) if new is None and old is not None else None)
    return queue


def _on_content(queue: Queue[str], name: str, old: Json | None, new: Json | None) -> None:
    where, what = key_of(new or old or {})
    if what == name:
        queue.add(where)


async def _empty(shell: Shell, discovery: Discovery, namespace: Json) -> float | None:
    name = namespace["metadata"]["name"]
    left: list[tuple[Resource, Json]] = []
    for resource in await discovery.resources():
        if resource.namespaced and resource.plural != "events":
            try:
                items = (await shell.client.list(resource, name))["items"]
            except ApiError as exc:
                if exc.code not in (404, 405):
                    raise
                continue
            left += [(resource, item) for item in items]
    await shell.execute(namespaces.empty(left))
    if left:
        return _AGAIN_SECONDS
    rest = [item for item in (namespace["spec"].get("finalizers") or ()) if item != "kubernetes"]
    body = {**namespace, "spec": {**namespace["spec"], "finalizers": rest}}
    try:
        await shell.client.update(NAMESPACES, body, sub="finalize")
    except ApiError as exc:
        if exc.code != 404:
            raise
    return None
