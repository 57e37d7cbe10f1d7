from __future__ import annotations

from pathlib import Path
from typing import Any

import trio

from mesh.sandbox.apiserver import crd
from mesh.sandbox.apiserver.storage import Key
from tests.support.apiserver_local import MERGE, Local, local

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
GADGETS = "/apis/example.com/v1/namespaces/default/gadgets"
VERSION = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}
SPEC: dict[str, Any] = {"group": "example.com", "scope": "Namespaced", "names": {"plural": "gadgets", "kind": "Gadget"}, "versions": [VERSION]}


async def gone(api: Local, key: Key) -> None:
    """Wait until `key` is deleted."""
    event = trio.Event()
    api.cluster.store.on_change.append(lambda change: event.set() if change.key == key and change.deleted else None)
    if api.cluster.store.get(key) is not None:
        with trio.fail_after(10):
            await event.wait()


async def test_objects_go_before_their_definition(tmp_path: Path) -> None:
    async with local(tmp_path) as api:
        order: list[str] = []
        api.cluster.store.on_change.append(lambda change: order.append(change.key.name) if change.deleted else None)
        await api.create(CRDS, "gadgets.example.com", spec=SPEC)
        await api.create(GADGETS, "one")
        await api.create(GADGETS, "held", metadata={"finalizers": ["a/b"]})
        code, ending = await api.call("DELETE", f"{CRDS}/gadgets.example.com")
        assert code == 200 and ending["metadata"]["deletionTimestamp"]
        await gone(api, Key("gadgets.example.com", "default", "one"))
        assert api.cluster.store.get(Key(crd.KEY, "", "gadgets.example.com")) is not None
        await api.call("PATCH", f"{GADGETS}/held", {"metadata": {"finalizers": None}}, MERGE)
        await gone(api, Key(crd.KEY, "", "gadgets.example.com"))
        assert order == ["one", "held", "gadgets.example.com"] and api.cluster.registry.find("example.com", "v1", "gadgets") is None
