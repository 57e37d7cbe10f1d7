"""EndpointSlices and Endpoints."""

from typing import Any

from mesh.sandbox.controllers import endpoints
from mesh.sandbox.kubeclient import ENDPOINT_SLICES, ENDPOINTS, PODS
from tests.support.sandbox_controllers import World, make_ready, settle

NODES = {"node": {"metadata": {"name": "node", "labels": {"topology.kubernetes.io/zone": "z"}}}}


def service(world: World, **spec: Any) -> dict[str, Any]:
    body = {"selector": {"app": "web"}, "clusterIP": "198.19.1.1", "ports": [{"name": "http", "port": 80, "targetPort": "web", "appProtocol": "http"}], **spec}
    return world.add({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "labels": {"l": "1"}}, "spec": body})


def pod(world: World, name: str, port: int = 8000, *, ready: bool = True, **spec: Any) -> dict[str, Any]:
    containers = [{"name": "c", "ports": [{"name": "web", "containerPort": port}]}]
    made = world.add({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": "web"}}, "spec": {"containers": containers, **spec}})
    make_ready(made, ready=ready, ip=f"198.18.1.{len(world.objects)}")
    return made


def step(world: World, found: dict[str, Any]) -> bool:
    return world.execute(endpoints.plan(found, world.all(PODS), world.all(ENDPOINT_SLICES), next(iter(world.all(ENDPOINTS)), None), NODES))


def test_one_slice_says_everything_about_its_pods() -> None:
    world = World()
    found = service(world)
    a = pod(world, "a")
    settle(lambda: step(world, found))
    (item,) = world.all(ENDPOINT_SLICES)
    assert item["ports"] == [{"name": "http", "port": 8000, "protocol": "TCP", "appProtocol": "http"}]
    assert item["endpoints"] == [
        {
            "addresses": [a["status"]["podIP"]],
            "conditions": {"ready": True, "serving": True, "terminating": False},
            "targetRef": {"kind": "Pod", "namespace": "ns", "name": "a", "uid": a["metadata"]["uid"]},
            "nodeName": "node",
            "zone": "z",
        }
    ]
    assert item["metadata"]["labels"] == {"l": "1", endpoints.SERVICE_NAME: "web", endpoints.MANAGED_BY: endpoints.CONTROLLER}
    assert world.all(ENDPOINTS)[0]["subsets"][0]["addresses"][0]["ip"] == a["status"]["podIP"]


def test_pods_with_other_port_numbers_get_a_slice_of_their_own() -> None:
    world = World()
    found = service(world)
    pod(world, "a"), pod(world, "b", 9000)
    settle(lambda: step(world, found))
    assert sorted(item["ports"][0]["port"] for item in world.all(ENDPOINT_SLICES)) == [8000, 9000]


def test_a_terminating_pod_still_serves() -> None:
    world = World()
    found = service(world)
    pod(world, "a")["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    settle(lambda: step(world, found))
    assert world.all(ENDPOINT_SLICES)[0]["endpoints"][0]["conditions"] == {"ready": False, "serving": True, "terminating": True}
    assert world.all(ENDPOINTS)[0]["subsets"] == []


def test_unready_pods_are_published_when_asked_for() -> None:
    world = World()
    found = service(world, publishNotReadyAddresses=True, clusterIP="None")
    pod(world, "a", ready=False, hostname="a-0", subdomain="web")
    settle(lambda: step(world, found))
    (item,) = world.all(ENDPOINT_SLICES)
    assert item["endpoints"][0]["conditions"]["ready"] and item["endpoints"][0]["hostname"] == "a-0"
    assert "service.kubernetes.io/headless" in item["metadata"]["labels"]


def test_nothing_is_written_when_nothing_changed_and_all_goes_with_the_pods() -> None:
    world = World()
    found = service(world)
    pod(world, "a")
    assert settle(lambda: step(world, found)) == 1
    del world.objects["Pod", "a"]
    settle(lambda: step(world, found))
    assert [item["endpoints"] for item in world.all(ENDPOINT_SLICES)] == [[]]


def test_slices_that_somebody_else_made_are_left_alone() -> None:
    world = World()
    found = service(world, selector=None)
    world.add({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {"name": "mine", "labels": {endpoints.SERVICE_NAME: "web"}}, "endpoints": []})
    assert settle(lambda: step(world, found)) == 0
