"""KubeClient over real HTTP."""

from __future__ import annotations

import asyncio
import pathlib

import pytest

from mesh.control.kube import kinds
from mesh.control.kube.client import KubeClient, KubeError
from tests.support.world_api import KubeApi

PODS = kinds.POD.path("v1")


def test_lists_are_read_page_by_page(tmp_path: pathlib.Path) -> None:
    async def run() -> None:
        api = KubeApi()
        for index in range(1201):
            api.put(PODS, {"metadata": {"name": f"p{index}", "namespace": "n"}})
        async with api.client(tmp_path) as client:
            items, version = await client.list(PODS)
        assert len(items) == 1201
        assert version == str(api.version)
        assert api.requests.count(("GET", PODS)) == 3
        assert api.tokens == {"Bearer secret"}

    asyncio.run(run())


def test_watch_yields_events_of_any_size_until_the_end(tmp_path: pathlib.Path) -> None:
    async def run() -> None:
        api = KubeApi()
        async with api.client(tmp_path) as client:
            events = client.watch(PODS, "1")
            reading = asyncio.create_task(anext(events))  # type: ignore[arg-type]
            await api.wait_for("WATCH", PODS)
            api.put(PODS, {"metadata": {"name": "big", "annotations": {"a": "x" * 3_000_000}}})
            first = await reading
            assert (first["type"], first["object"]["metadata"]["name"]) == ("ADDED", "big")
            api.end(PODS)
            assert [event async for event in events] == []

    asyncio.run(run())


def test_errors_carry_the_status_and_the_servers_words(tmp_path: pathlib.Path) -> None:
    async def run() -> None:
        api = KubeApi()
        api.refuse[PODS] += [403]
        async with api.client(tmp_path) as client:
            with pytest.raises(KubeError, match="403: refused with 403") as caught:
                await client.list(PODS)
            assert caught.value.status == 403

    asyncio.run(run())


def test_an_error_event_is_an_error(tmp_path: pathlib.Path) -> None:
    async def run() -> None:
        api = KubeApi()
        async with api.client(tmp_path) as client:
            events = client.watch(PODS, "1")
            reading = asyncio.create_task(anext(events))  # type: ignore[arg-type]
            await api.wait_for("WATCH", PODS)
            api.gone(PODS)
            with pytest.raises(KubeError) as caught:
                await reading
            assert caught.value.status == 410

    asyncio.run(run())


def test_no_configuration_is_one_clear_error(tmp_path: pathlib.Path) -> None:
    with pytest.raises(KubeError, match="no usable Kubernetes configuration"):
        asyncio.run(KubeClient.connect(str(tmp_path / "nowhere")))


def test_an_unreachable_server_is_an_error_without_status(tmp_path: pathlib.Path) -> None:
    async def run() -> None:
        api = KubeApi()
        async with api.serving(tmp_path) as kubeconfig:
            client = await KubeClient.connect(kubeconfig)
        try:
            with pytest.raises(KubeError) as caught:
                await client.list(PODS)
            assert caught.value.status == 0
        finally:
            await client.close()

    asyncio.run(run())
