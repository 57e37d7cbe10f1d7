"""Plans carried out through a real API."""

from pathlib import Path
from typing import Any

import pytest

from mesh.sandbox.controllers.plan import Create, Delete, Note, Patch, Plan
from mesh.sandbox.kubeclient import CONFIGMAPS, EVENTS, PODS, ApiError
from tests.support.controllers_api import controllers, exists

Json = dict[str, Any]


def config_map(name: str, **data: str) -> Json:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"}, "data": data}


def pod(name: str, **meta: Any) -> Json:
    containers = [{"name": "c", "image": "busybox"}]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default", **meta}, "spec": {"containers": containers}}


async def test_actions_are_done_in_order_and_seen_at_once(tmp_path: Path) -> None:
    async with controllers(tmp_path) as here:
        maps = here.shell.informer(CONFIGMAPS)  # it does not run: what it knows, it knows from our own writes
        assert await here.shell.execute(Plan([Create(CONFIGMAPS, config_map("a", k="1"))], again_seconds=7.0)) == 7.0
        made = maps.get("default", "a")
        assert made is not None and made["data"] == {"k": "1"}
        await here.shell.execute(Plan([Patch(CONFIGMAPS, made, {"data": {"k": "2"}}), Delete(CONFIGMAPS, made)]))
        assert (maps.get("default", "a") or {})["data"] == {"k": "2"}
        with pytest.raises(ApiError, match="404"):
            await here.client.get(CONFIGMAPS, "default", "a")
        await here.shell.execute(Plan([Patch(CONFIGMAPS, made, {"data": {}})]))  # gone meanwhile: the next look plans anew


async def test_what_exists_is_an_error_only_where_it_matters(tmp_path: Path) -> None:
    async with controllers(tmp_path) as here:
        await here.client.create(CONFIGMAPS, "default", config_map("a", k="mine"))
        await here.shell.execute(Plan([Create(CONFIGMAPS, config_map("a"), ignore_existing=True)]))
        assert (await here.client.get(CONFIGMAPS, "default", "a"))["data"] == {"k": "mine"}
        with pytest.raises(ApiError) as raised:
            await here.shell.execute(Plan([Create(CONFIGMAPS, config_map("a")), Create(CONFIGMAPS, config_map("b"))]))
        assert raised.value.code == 409
        with pytest.raises(ApiError, match="404"):  # what came after was not done
            await here.client.get(CONFIGMAPS, "default", "b")


async def test_an_object_that_was_replaced_is_not_deleted(tmp_path: Path) -> None:
    async with controllers(tmp_path) as here:
        old = await here.client.create(CONFIGMAPS, "default", config_map("a"))
        await here.client.delete(CONFIGMAPS, "default", "a")
        new = await here.client.create(CONFIGMAPS, "default", config_map("a"))
        await here.shell.execute(Plan([Delete(CONFIGMAPS, old)]))
        assert (await here.client.get(CONFIGMAPS, "default", "a"))["metadata"]["uid"] == new["metadata"]["uid"]


async def test_pods_are_announced_on_their_owner(tmp_path: Path) -> None:
    async with controllers(tmp_path) as here:
        owner = await here.client.create(CONFIGMAPS, "default", config_map("owner"))
        reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["metadata"]["uid"], "controller": True}
        await here.start()
        await here.shell.execute(Plan([Create(PODS, pod("p", ownerReferences=[reference])), Note(owner, "Normal", "Said", "so")]), owner)
        with pytest.raises(ApiError):
            await here.shell.execute(Plan([Create(PODS, pod("Bad_Name"))]), owner)
        seen: dict[str, str] = {}

        def all_three(_: Json | None) -> bool:
            seen.update({e["reason"]: e["message"] for e in here.shell.informer(EVENTS).all()})
            return seen.keys() == {"SuccessfulCreate", "Said", "FailedCreate"}

        await here.until(EVENTS, "", all_three)
        assert (seen["SuccessfulCreate"], seen["Said"]) == ("Created pod: p", "so") and "Bad_Name" in seen["FailedCreate"]
        assert exists(await here.client.get(PODS, "default", "p"))
