"""The node agent's pods, and what an earlier one left."""

import os
from pathlib import Path

import pytest

from mesh.sandbox.kubeclient import PODS
from mesh.sandbox.node.main import _remove_orphans
from tests.support.node import is_running, node
from tests.support.node_runtime import runtime

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root (namespaces, mounts)")


@needs_root
@pytest.mark.root
async def test_pods_of_other_nodes_are_left_alone_and_an_end_by_force_is_noticed(tmp_path: Path) -> None:
    async with node(tmp_path) as here:
        await here.create("elsewhere", nodeName="other")
        pod = await here.create("p")
        await here.until("p", is_running)
        assert list(here.node.workers) == [pod["metadata"]["uid"]]
        await here.client.delete(PODS, "default", "p", grace_seconds=0)
        while here.node.workers:
            await here.context.runtime.containers()
        assert await here.context.runtime.containers() == {}


@needs_root
@pytest.mark.root
async def test_what_is_left_of_pods_that_are_gone_is_removed_and_the_rest_kept(tmp_path: Path) -> None:
    (tmp_path / "r").mkdir()
    async with node(tmp_path) as here, runtime(tmp_path / "r") as box:
        for uid in ("gone", "kept"):
            await box.start("exec sleep 1000", id=f"{uid}/c/0", directory=str(tmp_path / uid))
            (here.context.layout.pods / uid / "volumes").mkdir(parents=True)
        object.__setattr__(here.context, "runtime", box.client)
        here.context.adopted.update(await box.client.containers())
        await _remove_orphans(here.context, {"kept"})
        assert list(here.context.adopted) == ["kept/c/0"] and (await box.client.containers()).keys() == {"kept/c/0"}
        assert [path.name for path in here.context.layout.pods.iterdir()] == ["kept"]
