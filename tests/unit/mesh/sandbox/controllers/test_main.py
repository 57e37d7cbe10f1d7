"""All controllers together."""

from pathlib import Path

import pytest
import trio
import trio.testing

from mesh.sandbox.attachment import CONTROLLERS
from mesh.sandbox.controllers.main import run
from mesh.sandbox.informer import Informer
from mesh.sandbox.kubeclient import (
    CRON_JOBS,
    DAEMON_SETS,
    DEPLOYMENTS,
    JOBS,
    PODS,
    REPLICA_SETS,
    SERVICES,
    STATEFUL_SETS,
)
from tests.support.node import api_client, until
from tests.support.sandbox_controllers import template


async def test_every_kind_of_workload_gets_its_pods_and_loses_them_with_itself(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    async with api_client(tmp_path) as client, trio.open_nursery() as nursery:
        nursery.start_soon(run, tmp_path, tmp_path / "kubeconfig", CONTROLLERS)
        pods = Informer(client, PODS)
        nursery.start_soon(pods.run)
        once = {**template(), "spec": {**template()["spec"], "restartPolicy": "Never"}}
        selector = {"selector": {"matchLabels": {"app": "web"}}, "template": template()}
        await client.create(DEPLOYMENTS, "default", {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": selector})
        await client.create(STATEFUL_SETS, "default", {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "s"}, "spec": {**selector, "serviceName": "s"}})
        await client.create(JOBS, "default", {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j"}, "spec": {"template": once}})

        def owners() -> set[str]:
            return {pod["metadata"]["ownerReferences"][0]["kind"] for pod in pods.all() if "deletionTimestamp" not in pod["metadata"]}

        await until(pods, "", lambda _: owners() == {"ReplicaSet", "StatefulSet", "Job"})
        await client.delete(DEPLOYMENTS, "default", "d", propagation="Background")
        await until(pods, "", lambda _: "ReplicaSet" not in owners())
        for resource in (DAEMON_SETS, CRON_JOBS, REPLICA_SETS):  # known to the same run: none is left behind or stuck
            assert (await client.list(resource, "default"))["items"] == []
        await trio.testing.wait_all_tasks_blocked(0.02)
        assert "ready" in capfd.readouterr().out
        nursery.cancel_scope.cancel()


async def test_only_what_was_asked_for_runs(tmp_path: Path) -> None:
    async with api_client(tmp_path) as client, trio.open_nursery() as nursery:
        nursery.start_soon(run, tmp_path, tmp_path / "kubeconfig", ("loadbalancers",))
        services, pods = Informer(client, SERVICES), Informer(client, REPLICA_SETS)
        nursery.start_soon(services.run)
        nursery.start_soon(pods.run)
        selector = {"selector": {"matchLabels": {"app": "web"}}, "template": template()}
        await client.create(DEPLOYMENTS, "default", {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": selector})
        body = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"type": "LoadBalancer", "ports": [{"port": 80}]}}
        await client.create(SERVICES, "default", body)
        await until(services, "s", lambda found: bool((found or {}).get("status", {}).get("loadBalancer", {}).get("ingress")))
        await trio.testing.wait_all_tasks_blocked(0.02)
        assert list(pods.all()) == []
        nursery.cancel_scope.cancel()
