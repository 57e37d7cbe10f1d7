"""StatusWriter against an API server."""

from __future__ import annotations

import asyncio
import pathlib

import pytest

from mesh.control import status_writer
from mesh.control.kube import kinds
from mesh.control.metrics import MetricsRegistry
from mesh.control.publisher import Publisher
from mesh.control.status_writer import LEASE_NAME, StatusWriter
from tests.support.world import SYSTEM, Cluster, bookinfo
from tests.support.world_api import Item, KubeApi

LEASES = f"/apis/coordination.k8s.io/v1/namespaces/{SYSTEM}/leases"
STATUS = kinds.VIRTUAL_SERVICE.path("v1", "default", "reviews", "status")


def test_the_leader_writes_differences_and_followers_nothing(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status_writer, "RENEW_SECONDS", 0.01)

    async def story(api: KubeApi) -> list[tuple[str, Item]]:
        cluster = Cluster()
        items = bookinfo("networking/virtual-service-reviews-v3.yaml")
        items[0]["metadata"]["resourceVersion"] = "7"
        cluster.apply(items)
        metrics = MetricsRegistry()
        publisher = Publisher(cluster.store, metrics, SYSTEM)
        async with api.client(tmp_path) as client:
            versions = dict.fromkeys(kinds.KINDS, "v1")
            writer = StatusWriter(client, cluster.store, publisher, metrics, versions, dict, SYSTEM, "me")
            publisher.subscribe(writer.wake)
            running = asyncio.create_task(writer.run())
            try:
                async with asyncio.timeout(10):
                    await api.wait_for("GET", f"{LEASES}/{LEASE_NAME}")
                    publisher.rebuild()
                    if not api.objects[LEASES]:
                        await api.wait_for("POST", LEASES)
                        await api.wait_for("PATCH", STATUS)
                    else:
                        # By the time it looks at the lease again, it has had its chance to write.
                        await api.wait_for("GET", f"{LEASES}/{LEASE_NAME}", 3)
            finally:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)
        return api.patches

    patches = dict(asyncio.run(story(KubeApi())))
    assert patches[f"POST {LEASES}"]["spec"]["holderIdentity"] == "me"
    body = patches[f"PATCH {STATUS}"]
    assert body["metadata"]["resourceVersion"] == "7"
    assert {condition["type"]: condition["status"] for condition in body["status"]["conditions"]}["ResolvedRefs"] == "False"

    held = KubeApi()
    spec = {"holderIdentity": "other", "renewTime": "t", "leaseDurationSeconds": 15}
    held.put(LEASES, {"metadata": {"name": LEASE_NAME}, "spec": spec})
    assert asyncio.run(story(held)) == []
