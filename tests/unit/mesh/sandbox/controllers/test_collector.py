"""The garbage collector over every kind of a real API."""

from pathlib import Path
from typing import Any

import pytest

from mesh.sandbox.controllers.collector import Collector
from mesh.sandbox.controllers.discovery import Discovery
from mesh.sandbox.kubeclient import CONFIGMAPS, CRDS, SECRETS, Resource
from tests.support.controllers_api import Controllers, controllers, exists, is_gone

Json = dict[str, Any]
WIDGETS = Resource("example.com", "v1", "widgets", "Widget")
CRD = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "widgets.example.com"},
    "spec": {
        "group": "example.com",
        "scope": "Namespaced",
        "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
        "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}],
    },
}


async def begin(here: Controllers) -> None:
    for resource in (CONFIGMAPS, SECRETS):
        here.shell.informer(resource)
    collector = Collector(here.shell, Discovery(here.client, here.shell.informer(CRDS)))
    await here.start(collector.run)


def owned(kind: str, name: str, *owners: Json, block: bool = False) -> Json:
    references = [
        {"apiVersion": o["apiVersion"], "kind": o["kind"], "name": o["metadata"]["name"], "uid": o["metadata"]["uid"], "blockOwnerDeletion": block} for o in owners
    ]
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "ownerReferences": references}}


async def make(here: Controllers, resource: Resource, body: Json) -> Json:
    made = await here.client.create(resource, "default", body)
    return {**made, "kind": resource.kind, "apiVersion": resource.api_version}


async def test_what_has_lost_every_owner_goes_and_what_has_one_left_forgets_the_other(tmp_path: Path) -> None:
    async with controllers(tmp_path) as here:
        await begin(here)
        one, two = [await make(here, CONFIGMAPS, owned("ConfigMap", name)) for name in ("one", "two")]
        await make(here, SECRETS, owned("Secret", "both", one, two))
        await make(here, SECRETS, owned("Secret", "only", one))
        await here.until(SECRETS, "only", exists)
        await here.client.delete(CONFIGMAPS, "default", "one")
        await here.until(SECRETS, "only", is_gone)
        left = await here.until(SECRETS, "both", lambda found: len((found or {})["metadata"]["ownerReferences"]) == 1)
        assert left["metadata"]["ownerReferences"][0]["name"] == "two"


async def test_an_owner_that_never_was_is_gone(tmp_path: Path) -> None:
    async with controllers(tmp_path) as here:
        await begin(here)
        ghost = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "ghost", "uid": "00000000-0000-0000-0000-000000000000"}}
        unknown = {**ghost, "apiVersion": "none.example.com/v1", "kind": "None"}
        await make(here, SECRETS, owned("Secret", "kept", unknown))  # nobody knows its kind: nothing is deleted on a guess
        await make(here, SECRETS, owned("Secret", "orphan", ghost))
        await here.until(SECRETS, "orphan", exists)
        await here.until(SECRETS, "orphan", is_gone)
        assert here.shell.informer(SECRETS).get("default", "kept") is not None


@pytest.mark.parametrize("propagation", ["Foreground", "Orphan"])
async def test_propagation_is_the_deleters_choice(tmp_path: Path, propagation: str) -> None:
    async with controllers(tmp_path) as here:
        await begin(here)
        owner = await make(here, CONFIGMAPS, owned("ConfigMap", "owner"))
        child = owned("Secret", "child", owner, block=True)
        child["metadata"]["finalizers"] = ["example.com/hold"]
        await make(here, SECRETS, child)
        await here.until(SECRETS, "child", exists)
        await here.client.delete(CONFIGMAPS, "default", "owner", propagation=propagation)
        if propagation == "Orphan":
            await here.until(CONFIGMAPS, "owner", is_gone)
            found = await here.until(SECRETS, "child", lambda item: not (item or {})["metadata"].get("ownerReferences"))
            assert "deletionTimestamp" not in found["metadata"]
            return
        await here.until(SECRETS, "child", lambda item: item is not None and "deletionTimestamp" in item["metadata"])
        assert here.shell.informer(CONFIGMAPS).get("default", "owner") is not None  # it waits for its dependents
        await here.client.patch(SECRETS, "default", "child", {"metadata": {"finalizers": None}})
        await here.until(CONFIGMAPS, "owner", is_gone)


async def test_kinds_that_come_later_are_followed_too(tmp_path: Path) -> None:
    async with controllers(tmp_path) as here:
        await begin(here)
        await here.client.create(CRDS, "", CRD)
        await here.until(CRDS, "widgets.example.com", lambda item: any(c["type"] == "Established" and c["status"] == "True" for c in (item or {}).get("status", {}).get("conditions") or ()))
        widget = await make(here, WIDGETS, {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}})
        await make(here, SECRETS, owned("Secret", "of-widget", widget))
        await here.until(SECRETS, "of-widget", exists)
        await here.client.delete(WIDGETS, "default", "w")
        await here.until(SECRETS, "of-widget", is_gone)
