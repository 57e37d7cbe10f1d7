"""The process, from its command line to its exit."""

from __future__ import annotations

import asyncio
import pathlib
import time

import pytest

from mesh.control.holdoff import Limits
from mesh.control.kube.world import WorldStore
from mesh.control.main import Loop, main, options, run
from mesh.control.metrics import MetricsRegistry
from mesh.control.publisher import Publisher
from tests.support.world import SYSTEM
from tests.support.world_api import KubeApi


def test_options_have_their_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("POD_NAME", "triomesh-control-x")
    monkeypatch.setenv("POD_NAMESPACE", "mesh")
    monkeypatch.setenv("TRIOMESH_CA_OVERLAP", "60")
    found = options([])
    assert found.ca_overlap == 60.0
    assert (found.xds, found.secure_xds, found.monitoring, found.namespace, found.identity) == (
        "0.0.0.0:15010",
        "0.0.0.0:15012",
        "0.0.0.0:15014",
        "mesh",
        "triomesh-control-x",
    )


@pytest.mark.parametrize("argv", [["--xds", "15010"], ["--monitoring", "a:b"], ["--xds", "a:70000"], ["--secure-xds", "a"]])
def test_bad_addresses_are_refused(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        options(argv)
    assert "must be host:port" in capsys.readouterr().err


def test_it_cannot_start_without_a_cluster(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--kubeconfig", str(tmp_path / "nowhere"), "--xds", "127.0.0.1:0", "--monitoring", "127.0.0.1:0"])
    assert caught.value.code == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_it_syncs_serves_and_stops(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def story() -> None:
        api = KubeApi()
        async with api.serving(tmp_path) as kubeconfig:
            argv = ["--kubeconfig", kubeconfig, "--xds", "127.0.0.1:0", "--monitoring", "127.0.0.1:0", "--secure-xds", "127.0.0.1:0", "--namespace", SYSTEM]
            stop = asyncio.Event()
            running = asyncio.create_task(run(options(argv), stop))
            async with asyncio.timeout(20):
                await api.wait_for("POST", f"/apis/coordination.k8s.io/v1/namespaces/{SYSTEM}/leases")
                stop.set()
                await running

    asyncio.run(story())
    printed = capsys.readouterr().out
    assert printed.startswith("monitoring 127.0.0.1:")
    assert "\nxds 127.0.0.1:" in printed


def test_builds_wait_for_the_first_full_list_and_follow_changes() -> None:
    async def story() -> None:
        store, metrics = WorldStore(), MetricsRegistry()
        publisher = Publisher(store, metrics, SYSTEM)
        loop = Loop(publisher, store, metrics, Limits(quiet=0.0, limit=0.0))
        synced, built = asyncio.Event(), asyncio.Event()
        publisher.subscribe(built.set)
        running = asyncio.create_task(loop.run(synced))
        loop.on_change()
        await asyncio.sleep(0)
        assert not publisher.ready
        synced.set()
        await built.wait()
        built.clear()
        from mesh.control.kube import kinds

        store.put(kinds.SERVICE, {"metadata": {"name": "s", "namespace": "n"}, "spec": {"ports": []}})
        started = time.monotonic()
        loop.on_change()
        async with asyncio.timeout(5):
            await built.wait()
        assert time.monotonic() - started < 5
        assert publisher.graph is not None and len(publisher.graph.names.registry.services) == 1
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(story())
