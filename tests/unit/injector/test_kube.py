import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from injector.kube import ApiFailed, Changed, Cluster, Listed
from tests.support.injector_api import FakeApi

PATH = "/api/v1/namespaces"


def with_cluster(directory: Path, story: Callable[[FakeApi, Cluster], Awaitable[None]]) -> None:
    async def run() -> None:
        api = FakeApi()
        api.objects[PATH] = {}
        async with api.running(directory) as kubeconfig:
            cluster = await Cluster.connect(str(kubeconfig))
            try:
                async with asyncio.timeout(20):
                    await story(api, cluster)
            finally:
                await cluster.close()

    asyncio.run(run())


def space(name: str, **labels: str) -> dict[str, object]:
    return {"metadata": {"name": name, "labels": labels}}


def test_follow_lists_then_tells_changes(tmp_path: Path) -> None:
    async def story(api: FakeApi, cluster: Cluster) -> None:
        await api.put(PATH, space("a"))
        events = cluster.follow(PATH)
        first = await anext(events)
        assert isinstance(first, Listed)
        assert [item["metadata"]["name"] for item in first.items] == ["a"]
        await api.put(PATH, space("b"))
        await api.delete(PATH, "a")
        seen = [await anext(events), await anext(events)]
        assert [(event.item["metadata"]["name"], event.gone) for event in seen if isinstance(event, Changed)] == [("b", False), ("a", True)]
        await events.aclose()  # type: ignore[attr-defined]

    with_cluster(tmp_path, story)


def test_lost_watch_is_taken_up_where_it_ended(tmp_path: Path) -> None:
    async def story(api: FakeApi, cluster: Cluster) -> None:
        events = cluster.follow(PATH)
        await anext(events)
        waiting = asyncio.ensure_future(anext(events))
        await api.until(lambda a: a.calls.count(("WATCH", PATH)) == 1)
        await api.drop_watches()
        await api.until(lambda a: a.calls.count(("WATCH", PATH)) == 2)
        await api.put(PATH, space("late"))
        event = await waiting
        assert isinstance(event, Changed)
        assert event.item["metadata"]["name"] == "late"
        assert api.calls.count(("GET", PATH)) == 1
        await events.aclose()  # type: ignore[attr-defined]

    with_cluster(tmp_path, story)


def test_410_lists_again_and_503_is_tried_again(tmp_path: Path) -> None:
    async def story(api: FakeApi, cluster: Cluster) -> None:
        api.fail[("GET", PATH)] = 503
        events = cluster.follow(PATH)
        assert isinstance(await anext(events), Listed)
        api.fail[("WATCH", PATH)] = 410
        assert isinstance(await anext(events), Listed)
        assert api.calls[:4] == [("GET", PATH), ("GET", PATH), ("WATCH", PATH), ("GET", PATH)]
        await events.aclose()  # type: ignore[attr-defined]

    with_cluster(tmp_path, story)


def test_refusal_has_the_code_and_the_servers_words(tmp_path: Path) -> None:
    async def story(api: FakeApi, cluster: Cluster) -> None:
        api.fail[("GET", PATH)] = 403
        with pytest.raises(ApiFailed, match=r"403: GET /api/v1/namespaces: told to fail with 403") as caught:
            await cluster.request("GET", PATH)
        assert caught.value.code == 403
        assert await cluster.find(f"{PATH}/none") is None

    with_cluster(tmp_path, story)


def test_unreachable_server_is_code_0(tmp_path: Path) -> None:
    async def story(api: FakeApi, cluster: Cluster) -> None:
        pass

    with_cluster(tmp_path, story)

    async def after() -> None:
        cluster = await Cluster.connect(str(tmp_path / "kubeconfig"))
        with pytest.raises(ApiFailed) as caught:
            await cluster.request("GET", "/version")
        assert caught.value.code == 0
        await cluster.close()

    asyncio.run(after())


def test_no_way_to_the_api_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(ApiFailed, match="no way to the Kubernetes API"):
        asyncio.run(Cluster.connect(None))
