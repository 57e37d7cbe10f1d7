"""The HTTP port 15014."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass
from typing import Any

import httpx

from mesh.control.metrics import MetricsRegistry
from mesh.control.monitoring import application, connection_json, serve_http, sync_json
from mesh.control.publisher import Publisher
from mesh.model.node import Node
from mesh.xds.kind import Kind
from mesh.xds.resource_status import ResourceStatus
from mesh.xds.subscription import Status
from tests.support.world import SYSTEM, Cluster, bookinfo, sidecar_node


def app(is_built: bool = True) -> Any:
    cluster, metrics = Cluster(), MetricsRegistry()
    cluster.apply(bookinfo("platform/kube/bookinfo.yaml", "networking/virtual-service-reviews-v3.yaml"))
    publisher = Publisher(cluster.store, metrics, SYSTEM)
    if is_built:
        publisher.rebuild()
    return application(publisher, metrics, lambda: publisher.ready, {"extra": lambda: [1]})


def get(path: str, is_built: bool = True) -> httpx.Response:
    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app=app(is_built))
        async with httpx.AsyncClient(transport=transport, base_url="http://control") as client:
            return await client.get(path)

    return asyncio.run(ask())


def test_ready_follows_the_first_build() -> None:
    assert get("/ready").status_code == 200
    assert get("/ready", is_built=False).status_code == 503


def test_metrics() -> None:
    response = get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert "pilot_services 4" in response.text


def test_debug_pages() -> None:
    assert [service["name"] for service in get("/debug/registryz").json()] == ["details", "productpage", "ratings", "reviews"]
    assert get("/debug/configz").json()[0]["kind"] == "VirtualService"
    assert get("/debug/problems").json()[0]["reason"] == "ReferencedResourceNotFound"
    assert {entry["cluster"].split("|")[3].split(".")[0] for entry in get("/debug/endpointz").json()} == {
        "details",
        "productpage",
        "ratings",
        "reviews",
    }
    assert get("/debug/extra").json() == [1]
    assert get("/debug/nothing").status_code == 404
    assert "registryz" in get("/debug").json()["pages"]
    assert get("/debug/registryz", is_built=False).json() == {"error": "not synced yet"}


@dataclass
class Stream:
    """What the pages read of an ADS connection."""

    node: Node
    resources: list[ResourceStatus]
    opened_at: float = 0.0

    def status(self, with_bodies: bool) -> list[ResourceStatus]:
        assert not with_bodies
        return self.resources


def test_connections_and_their_state() -> None:
    node = sidecar_node("reviews")
    resources = [
        ResourceStatus(Kind.CLUSTER, "a", "1", Status.SYNCED, 0.0),
        ResourceStatus(Kind.CLUSTER, "b", "1", Status.SYNCED, 0.0),
        ResourceStatus(Kind.ROUTE, "9080", "2", Status.ERROR, 0.0, "bad regex"),
    ]
    stream: Any = Stream(node, resources)
    assert sync_json(stream) == {
        "node": node.id,
        "types": {"CLUSTER": {"synced": 2}, "ROUTE": {"error": 1}},
        "errors": [{"type": "ROUTE", "name": "9080", "message": "bad regex"}],
    }
    shown = connection_json(stream)
    assert (shown["node"], shown["role"], shown["address"]) == (node.id, "sidecar", "198.18.0.200")


def test_serves_a_socket_until_told_to_stop() -> None:
    async def run() -> int:
        listening = socket.create_server(("127.0.0.1", 0))
        port = listening.getsockname()[1]
        stop = asyncio.Event()
        serving = asyncio.create_task(serve_http(app(), listening, stop))
        async with httpx.AsyncClient() as client:
            status = (await client.get(f"http://127.0.0.1:{port}/ready")).status_code
        stop.set()
        await serving
        return status

    assert asyncio.run(run()) == 200
