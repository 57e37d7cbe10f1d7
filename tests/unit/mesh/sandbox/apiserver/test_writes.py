from __future__ import annotations

from pathlib import Path
from typing import Any

import trio

from mesh.sandbox.apiserver.storage import Key
from tests.support.apiserver_local import MERGE, local

CM = "/api/v1/namespaces/default/configmaps"


async def test_unconditional_writers_of_one_object_all_succeed(tmp_path: Path) -> None:
    async with local(tmp_path) as api:
        await api.create(CM, "shared")
        async with trio.open_nursery() as nursery:
            for number in range(12):
                nursery.start_soon(lambda n=number: api.call("PATCH", f"{CM}/shared", {"data": {f"k{n}": "v"}}, MERGE))
        _, found = await api.call("GET", f"{CM}/shared")
        assert len(found["data"]) == 12


async def test_of_conditional_writers_one_succeeds(tmp_path: Path) -> None:
    async with local(tmp_path) as api:
        made = await api.create(CM, "shared")
        codes: list[int] = []

        async def write(number: int) -> None:
            codes.append((await api.call("PUT", f"{CM}/shared", {**made, "data": {"n": str(number)}}))[0])

        async with trio.open_nursery() as nursery:
            for number in range(5):
                nursery.start_soon(write, number)
        assert sorted(codes) == [200, 409, 409, 409, 409]


async def test_update_of_what_is_not_there(tmp_path: Path) -> None:
    async with local(tmp_path) as api:
        assert (await api.call("PUT", f"{CM}/none", {"metadata": {"name": "none"}}))[0] == 404
        assert (await api.call("DELETE", f"{CM}/none"))[0] == 404
        assert (await api.call("PATCH", f"{CM}/none", {}, MERGE))[0] == 404


async def test_dry_run_of_every_verb(tmp_path: Path) -> None:
    async with local(tmp_path) as api:
        await api.create(CM, "a", data={"x": "1"})
        before = api.cluster.store.revision
        _, patched = await api.call("PATCH", f"{CM}/a", {"data": {"x": "2"}}, MERGE, dryRun="All")
        assert patched["data"] == {"x": "2"}
        for method in ("DELETE", "GET"):
            assert (await api.call(method, f"{CM}/a", dryRun="All"))[0] == 200
        assert (await api.call("POST", CM, {"metadata": {"name": "b"}}, dryRun="Some"))[0] == 422
        assert api.cluster.store.revision == before


async def test_last_finalizer_taken_from_an_ending_object_removes_it(tmp_path: Path) -> None:
    async with local(tmp_path) as api:
        await api.create(CM, "held", metadata={"finalizers": ["a/b"]})
        await api.call("DELETE", f"{CM}/held")
        assert (await api.call("PATCH", f"{CM}/held", {"metadata": {"finalizers": None}}, MERGE))[0] == 200
        assert api.cluster.store.get(Key("configmaps", "default", "held")) is None


async def test_delete_answers_with_status_and_pods_with_themselves(tmp_path: Path) -> None:
    async with local(tmp_path) as api:
        made = await api.create(CM, "a")
        _, said = await api.call("DELETE", f"{CM}/a", {"preconditions": {"uid": made["metadata"]["uid"]}})
        assert (said["status"], said["details"]) == ("Success", {"name": "a", "kind": "configmaps", "uid": made["metadata"]["uid"]})
        pods = "/api/v1/namespaces/default/pods"
        spec: dict[str, Any] = {"containers": [{"name": "a", "image": "i:1"}]}
        await api.create(pods, "p", spec=spec)
        assert (await api.call("DELETE", f"{pods}/p"))[1]["kind"] == "Pod"


async def test_delete_options_are_checked(tmp_path: Path) -> None:
    async with local(tmp_path) as api:
        await api.create(CM, "a")
        for body, code in (({"propagationPolicy": "Sideways"}, 422), ({"gracePeriodSeconds": "soon"}, 400), ({"preconditions": {"uid": "other"}}, 409), ({"orphanDependents": True, "propagationPolicy": "Orphan"}, 422)):
            assert (await api.call("DELETE", f"{CM}/a", body))[0] == code


async def test_write_only_kinds_warn(tmp_path: Path) -> None:
    async with local(tmp_path) as api:
        warnings = await api.warnings("POST", "/apis/storage.k8s.io/v1/storageclasses", {"metadata": {"name": "s"}, "provisioner": "p"})
        assert warnings == ['299 - "the sandbox stores StorageClasses but has no volume provisioner"']
