"""Watchers keep the store equal to the API server, whatever it does to them."""

from __future__ import annotations

import asyncio
import pathlib
import random
from collections.abc import Awaitable, Callable

import pytest

from mesh.control.kube import kinds, watch
from mesh.control.kube.kinds import Kind
from mesh.control.kube.watch import Watchers
from mesh.control.kube.world import WorldStore
from mesh.control.metrics import MetricsRegistry
from tests.support.world_api import Item, KubeApi

PODS, VS = kinds.POD.path("v1"), kinds.VIRTUAL_SERVICE.path("v1")
CRDS = kinds.CRD.path("v1")


def pod(name: str) -> Item:
    return {"metadata": {"name": name, "namespace": "n"}}


class Rig:
    """A running set of watchers."""

    def __init__(self, api: KubeApi) -> None:
        self.api = api
        self.store = WorldStore()
        self.metrics = MetricsRegistry()
        self.changed = asyncio.Condition()
        self.watchers: Watchers | None = None
        self._notes: set[asyncio.Task[None]] = set()

    def on_change(self) -> None:
        task = asyncio.get_running_loop().create_task(self._notify())
        self._notes.add(task)
        task.add_done_callback(self._notes.discard)

    async def _notify(self) -> None:
        async with self.changed:
            self.changed.notify_all()

    async def until(self, kind: Kind, names: set[str]) -> None:
        """The store holds exactly these names."""

        def is_so() -> bool:
            return {key[1] for key in self.store._parts[kind]} == names

        async with asyncio.timeout(10), self.changed:
            await self.changed.wait_for(is_so)


def run(tmp_path: pathlib.Path, api: KubeApi, story: Callable[[Rig], Awaitable[None]]) -> None:
    async def main() -> None:
        async with api.client(tmp_path) as client:
            rig = Rig(api)
            rig.watchers = Watchers(client, rig.store, rig.on_change, rig.metrics, rng=random.Random(1))
            running = asyncio.create_task(rig.watchers.run())
            try:
                async with asyncio.timeout(20):
                    await story(rig)
            finally:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)

    asyncio.run(main())


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> KubeApi:
    monkeypatch.setattr(watch, "FIRST_RETRY_SECONDS", 0.01)
    return KubeApi()


def test_list_then_watch(tmp_path: pathlib.Path, api: KubeApi) -> None:
    api.put(PODS, pod("old"))

    async def story(rig: Rig) -> None:
        await rig.until(kinds.POD, {"old"})
        await api.wait_for("WATCH", PODS)
        api.put(PODS, pod("new"))
        await rig.until(kinds.POD, {"old", "new"})
        api.delete(PODS, "n", "old")
        await rig.until(kinds.POD, {"new"})
        assert 'pilot_k8s_reg_events{type="Pod",event="delete"} 1' in rig.metrics.text()

    run(tmp_path, api, story)


def test_synced_means_every_kind_has_been_listed(tmp_path: pathlib.Path, api: KubeApi) -> None:
    api.refuse[PODS] += [500, 500]

    async def story(rig: Rig) -> None:
        assert rig.watchers is not None
        await api.wait_for("GET", VS)
        assert not rig.watchers.synced.is_set()
        await rig.watchers.synced.wait()
        assert api.requests.count(("GET", PODS)) == 3

    run(tmp_path, api, story)


def test_a_right_that_is_missing_for_what_has_no_effect_holds_nothing_up(tmp_path: pathlib.Path, api: KubeApi) -> None:
    inert = kinds.UNENFORCED[0]
    api.refuse[inert.path(inert.versions[0])] += [403] * 1000
    api.refuse[PODS] += [403]

    async def story(rig: Rig) -> None:
        assert rig.watchers is not None
        await rig.watchers.synced.wait()
        assert api.requests.count(("GET", PODS)) == 2, "what routes depend on is waited for"

    run(tmp_path, api, story)


def test_an_ended_watch_is_taken_up_where_it_ended(tmp_path: pathlib.Path, api: KubeApi) -> None:
    async def story(rig: Rig) -> None:
        await api.wait_for("WATCH", PODS)
        api.put(PODS, pod("a"))
        await rig.until(kinds.POD, {"a"})
        api.end(PODS)
        await api.wait_for("WATCH", PODS, 2)
        assert api.requests.count(("GET", PODS)) == 1

    run(tmp_path, api, story)


def test_gone_means_list_again_and_compare(tmp_path: pathlib.Path, api: KubeApi) -> None:
    api.put(PODS, pod("lost"))

    async def story(rig: Rig) -> None:
        await rig.until(kinds.POD, {"lost"})
        await api.wait_for("WATCH", PODS)
        api.forget(PODS, "n", "lost")
        api.objects[PODS]["n", "unseen"] = pod("unseen")
        api.gone(PODS)
        await rig.until(kinds.POD, {"unseen"})
        assert 'pilot_k8s_watch_relists{type="Pod"} 1' in rig.metrics.text()

    run(tmp_path, api, story)


def test_a_kind_without_crd_is_tried_again_when_the_crd_comes(tmp_path: pathlib.Path, api: KubeApi) -> None:
    paths = {kinds.VIRTUAL_SERVICE.path(version) for version in kinds.VIRTUAL_SERVICE.versions}
    api.absent |= paths

    async def story(rig: Rig) -> None:
        assert rig.watchers is not None
        await rig.watchers.synced.wait()
        await api.wait_for("WATCH", CRDS)
        assert rig.watchers.versions[kinds.VIRTUAL_SERVICE] == ""
        api.absent -= paths
        api.objects[VS]["n", "v"] = pod("v")
        spec = {"group": "networking.istio.io", "names": {"plural": "virtualservices"}, "versions": []}
        api.put(CRDS, {"metadata": {"name": "virtualservices.networking.istio.io"}, "spec": spec})
        await rig.until(kinds.VIRTUAL_SERVICE, {"v"})
        assert rig.watchers.versions[kinds.VIRTUAL_SERVICE] == "v1"

    run(tmp_path, api, story)


def test_an_older_version_of_a_crd_will_do(tmp_path: pathlib.Path, api: KubeApi) -> None:
    api.absent |= {kinds.VIRTUAL_SERVICE.path("v1")}

    async def story(rig: Rig) -> None:
        assert rig.watchers is not None
        await rig.watchers.synced.wait()
        assert rig.watchers.versions[kinds.VIRTUAL_SERVICE] == "v1beta1"

    run(tmp_path, api, story)
