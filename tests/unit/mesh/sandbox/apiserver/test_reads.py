from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.apiserver_local import local

CM = "/api/v1/namespaces/default/configmaps"


async def test_pages_and_their_token(tmp_path: Path) -> None:
    async with local(tmp_path) as api:
        for name in "abc":
            await api.create(CM, name)
        _, first = await api.call("GET", CM, limit="2")
        assert [i["metadata"]["name"] for i in first["items"]] == ["a", "b"] and first["metadata"]["remainingItemCount"] == 1
        await api.call("DELETE", f"{CM}/c")
        _, rest = await api.call("GET", CM, **{"continue": first["metadata"]["continue"]})
        assert [i["metadata"]["name"] for i in rest["items"]] == ["c"] and "continue" not in rest["metadata"]


async def test_exact_revision(tmp_path: Path) -> None:
    async with local(tmp_path) as api:
        made = await api.create(CM, "a")
        await api.create(CM, "b")
        _, then = await api.call("GET", CM, resourceVersion=made["metadata"]["resourceVersion"], resourceVersionMatch="Exact")
        assert [i["metadata"]["name"] for i in then["items"]] == ["a"] and then["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"resourceVersion": "x"}, 400), ({"limit": "-1"}, 400), ({"continue": "???"}, 400), ({"resourceVersionMatch": "Exact"}, 422), ({"resourceVersionMatch": "Maybe", "resourceVersion": "1"}, 422),
        ({"resourceVersionMatch": "Exact", "resourceVersion": "0"}, 422), ({"resourceVersion": "999"}, 504), ({"labelSelector": "a in"}, 400), ({"fieldSelector": "x=y"}, 400), ({"includeObject": "Some"}, 400),
        ({"watch": "1", "sendInitialEvents": "true"}, 422), ({"watch": "1", "sendInitialEvents": "yes", "resourceVersionMatch": "NotOlderThan"}, 400), ({"watch": "1", "timeoutSeconds": "soon"}, 400),
    ],
)  # fmt: skip
async def test_bad_questions(tmp_path: Path, query: dict[str, str], code: int) -> None:
    async with local(tmp_path) as api:
        assert (await api.call("GET", CM, **query))[0] == code


async def test_watch_starts_where_it_is_told(tmp_path: Path) -> None:
    async with local(tmp_path) as api:
        made = await api.create(CM, "a")
        await api.create(CM, "b")
        now = str(api.cluster.store.revision)
        assert [(e["type"], e["object"]["metadata"]["name"]) for e in await api.events(CM, 2)] == [("ADDED", "a"), ("ADDED", "b")]
        assert [e["object"]["metadata"]["name"] for e in await api.events(CM, 1, resourceVersion=made["metadata"]["resourceVersion"])] == ["b"]
        events = await api.events(CM, 3, sendInitialEvents="true", resourceVersionMatch="NotOlderThan", allowWatchBookmarks="true", resourceVersion=now)
        assert [e["type"] for e in events] == ["ADDED", "ADDED", "BOOKMARK"]
        assert [e["object"]["metadata"]["name"] for e in await api.events(CM, 1, fieldSelector="metadata.name=b")] == ["b"]


async def test_all_namespaces(tmp_path: Path) -> None:
    async with local(tmp_path) as api:
        await api.create(CM, "a")
        await api.create("/api/v1/namespaces/kube-system/configmaps", "b")
        _, found = await api.call("GET", "/api/v1/configmaps")
        assert [i["metadata"]["name"] for i in found["items"]] == ["a", "b"]
        assert (await api.call("GET", f"{CM}/none"))[0] == 404
