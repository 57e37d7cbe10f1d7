"""Which changes make which controller look again, in a real API."""

from pathlib import Path
from typing import Any

from mesh.sandbox.controllers import wiring
from mesh.sandbox.kubeclient import (
    DEPLOYMENTS,
    ENDPOINT_SLICES,
    ENDPOINTS,
    NODES,
    PODS,
    REPLICA_SETS,
    SERVICES,
    Resource,
)
from tests.support.controllers_api import Controllers, controllers, exists, is_gone
from tests.support.sandbox_controllers import template

Json = dict[str, Any]


def workload(resource: Resource, name: str = "web", **spec: Any) -> Json:
    body = {"selector": {"matchLabels": {"app": "web"}}, "template": template(), **spec}
    return {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": {"name": name}, "spec": body}


async def first(here: Controllers, resource: Resource) -> Json:
    """The first object of a kind that comes."""
    found: list[Json] = []
    await here.until(resource, "", lambda _: bool(found.extend(here.shell.informer(resource).all()) or found))
    return found[0]


async def test_a_deployment_has_its_set_and_the_set_its_pods_made_again_when_they_go(tmp_path: Path) -> None:
    async with controllers(tmp_path) as here:
        made = [wiring.deployments(here.shell), wiring.replica_sets(here.shell)]
        assert here.shell.informer(PODS) in wiring.informers_of(here.shell)
        await here.start(*(workload.queue.run for workload in made))
        await here.client.create(DEPLOYMENTS, "default", workload(DEPLOYMENTS, replicas=1))
        pod = await first(here, PODS)
        await here.client.delete(PODS, "default", pod["metadata"]["name"], grace_seconds=0)
        await here.until(PODS, pod["metadata"]["name"], is_gone)
        again = await first(here, PODS)
        assert again["metadata"]["uid"] != pod["metadata"]["uid"]
        await here.client.patch(PODS, "default", again["metadata"]["name"], {"status": {"conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2025-01-01T00:00:00Z"}], "phase": "Running"}}, sub="status")
        await here.until(DEPLOYMENTS, "web", lambda found: (found or {}).get("status", {}).get("readyReplicas") == 1)


async def test_a_recreated_deployment_waits_for_the_last_old_pod(tmp_path: Path) -> None:
    async with controllers(tmp_path) as here:
        made = [wiring.deployments(here.shell), wiring.replica_sets(here.shell)]
        await here.start(*(workload.queue.run for workload in made))
        await here.client.create(DEPLOYMENTS, "default", workload(DEPLOYMENTS, replicas=1, strategy={"type": "Recreate"}))
        old = await first(here, PODS)
        name = old["metadata"]["name"]
        await here.client.patch(PODS, "default", name, {"metadata": {"finalizers": ["example.com/hold"]}})
        await here.client.patch(DEPLOYMENTS, "default", "web", {"spec": {"template": template("2")}}, kind="strategic")
        await here.until(PODS, name, lambda found: "deletionTimestamp" in (found or {})["metadata"])
        assert len(list(here.shell.informer(REPLICA_SETS).all())) == 1
        await here.client.patch(PODS, "default", name, {"metadata": {"finalizers": None}})
        await here.until(PODS, name, is_gone)
        new = await first(here, PODS)
        assert new["spec"]["containers"][0]["image"] == "image:2"


async def test_an_orphan_is_adopted_by_who_selects_it(tmp_path: Path) -> None:
    async with controllers(tmp_path) as here:
        made = wiring.replica_sets(here.shell)
        await here.start(made.queue.run)
        await here.client.create(REPLICA_SETS, "default", workload(REPLICA_SETS, replicas=0))
        await here.until(REPLICA_SETS, "web", lambda found: (found or {}).get("status", {}).get("observedGeneration") == 1)
        await here.client.create(PODS, "default", {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "lost", "labels": {"app": "web"}}, "spec": template()["spec"]})
        await here.until(PODS, "lost", is_gone)  # adopted, and one too many


async def test_endpoints_follow_services_pods_and_nodes(tmp_path: Path) -> None:
    async with controllers(tmp_path) as here:
        queue = wiring.service_endpoints(here.shell)
        await here.start(queue.run)
        service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}}
        await here.client.create(SERVICES, "default", service)
        await here.until(ENDPOINTS, "web", exists)
        await here.client.create(NODES, "", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node", "labels": {"topology.kubernetes.io/zone": "z"}}})
        await here.client.create(PODS, "default", {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": {"app": "web"}}, "spec": {**template()["spec"], "nodeName": "node"}})
        status = {"status": {"phase": "Running", "podIP": "198.18.1.9", "podIPs": [{"ip": "198.18.1.9"}], "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2025-01-01T00:00:00Z"}]}}
        await here.client.patch(PODS, "default", "p", status, sub="status")
        addresses: list[Any] = []

        def has_endpoint(_: Json | None) -> bool:
            addresses[:] = [e for item in here.shell.informer(ENDPOINT_SLICES).all("default") if item["metadata"]["name"].startswith("web-") for e in item.get("endpoints") or ()]
            return bool(addresses) and addresses[0]["conditions"]["ready"] and addresses[0].get("zone") == "z"

        await here.until(ENDPOINT_SLICES, "", has_endpoint)
        assert addresses[0]["addresses"] == ["198.18.1.9"]
        await here.client.patch(PODS, "default", "p", {"metadata": {"labels": {"app": "other"}}})  # it is not selected any more
        await here.until(ENDPOINT_SLICES, "", lambda _: not has_endpoint(None))


async def test_load_balancers_get_different_addresses(tmp_path: Path) -> None:
    async with controllers(tmp_path) as here:
        queue = wiring.load_balancers(here.shell)
        await here.start(queue.run)
        for name in ("a", "b"):
            service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {"type": "LoadBalancer", "ports": [{"port": 80}]}}
            await here.client.create(SERVICES, "default", service)
        given = [
            (await here.until(SERVICES, name, lambda found: bool((found or {}).get("status", {}).get("loadBalancer", {}).get("ingress"))))["status"]["loadBalancer"]["ingress"][0]["ip"]
            for name in ("a", "b")
        ]
        assert len(set(given)) == 2 and all(ip.startswith("198.18.255.") for ip in given)
