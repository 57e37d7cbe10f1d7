"""Monitoring: the HTTP port 15014: /metrics, /ready and /debug/*. Read-only."""

from __future__ import annotations

import asyncio
import socket
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from hypercorn.asyncio import serve
from hypercorn.config import Config
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from mesh.control.ads_connection import AdsConnection
from mesh.control.kube import kinds
from mesh.control.metrics import MetricsRegistry
from mesh.control.publisher import Publisher
from mesh.control.translate.graph import Graph
from mesh.model.endpoint import Endpoint
from mesh.model.origin import Problem

DebugView = Callable[[], Any]


def application(
    publisher: Publisher, metrics: MetricsRegistry, is_ready: Callable[[], bool], views: Mapping[str, DebugView]
) -> Starlette:
    """The ASGI app. views: more /debug pages by name (connections, syncz)."""
    pages: dict[str, DebugView] = {
        "configz": lambda: _of(publisher, configz),
        "endpointz": lambda: _of(publisher, endpointz),
        "problems": lambda: _of(publisher, problemz),
        "registryz": lambda: _of(publisher, registryz),
        **views,
    }

    async def text_metrics(_request: Request) -> Response:
        return PlainTextResponse(metrics.text(), media_type="text/plain; version=0.0.4")

    async def ready(_request: Request) -> Response:
        if is_ready():
            return PlainTextResponse("ready\n")
        return PlainTextResponse(
            "not ready: the first full list is not translated yet, or there is no CA (see the log)\n", status_code=503
        )

    async def debug(request: Request) -> Response:
        page = pages.get(request.path_params["page"])
        if page is None:
            return JSONResponse({"error": "no such page", "pages": sorted(pages)}, status_code=404)
        return JSONResponse(page())

    async def index(_request: Request) -> Response:
        return JSONResponse({"pages": sorted(pages)})

    return Starlette(
        routes=[
            Route("/metrics", text_metrics),
            Route("/ready", ready),
            Route("/debug", index),
            Route("/debug/{page}", debug),
        ]
    )


async def serve_http(app: Starlette, listening: socket.socket, stop: asyncio.Event) -> None:
    """Until `stop` is set. Closes: the socket."""
    config = Config()
    config.bind = [f"fd://{listening.detach()}"]
    config.accesslog = None
    config.errorlog = "-"
    config.loglevel = "WARNING"
    config.graceful_timeout = 1.0
    await serve(app, config, shutdown_trigger=stop.wait)


def _of(publisher: Publisher, view: Callable[[Graph], Any]) -> Any:
    return view(publisher.graph) if publisher.graph is not None else {"error": "not synced yet"}


def configz(graph: Graph) -> Any:
    """The mesh objects in force."""
    watched = (
        kinds.VIRTUAL_SERVICE,
        kinds.DESTINATION_RULE,
        kinds.ISTIO_GATEWAY,
        kinds.SERVICE_ENTRY,
        kinds.SIDECAR,
        kinds.PEER_AUTHENTICATION,
        kinds.GATEWAY_CLASS,
        kinds.GATEWAY,
        kinds.HTTP_ROUTE,
        kinds.GRPC_ROUTE,
        kinds.REFERENCE_GRANT,
        *kinds.UNENFORCED,
    )
    return [
        {
            "kind": kind.name,
            "group": kind.group,
            "namespace": item.meta.namespace,
            "name": item.meta.name,
            "generation": item.meta.generation,
            "problems": len(item.problems),
        }
        for kind in watched
        for item in graph.world.of(kind).values()
    ]


def problem_json(problem: Problem) -> dict[str, str]:
    return {
        "kind": problem.ref.kind,
        "group": problem.ref.group,
        "namespace": problem.ref.namespace,
        "name": problem.ref.name,
        "field": problem.field,
        "message": problem.message,
        "reason": problem.reason,
        "severity": problem.severity.value,
    }


def problemz(graph: Graph) -> Any:
    """What is wrong with users' objects."""
    return [problem_json(problem) for problem in graph.problems()]


def registryz(graph: Graph) -> Any:
    """Every host of the mesh."""
    return [
        {
            "host": service.host,
            "name": service.name,
            "namespace": service.namespace,
            "object": str(service.meta.ref),
            "reach": service.reach.value,
            "addresses": list(service.vips),
            "ports": [
                {"number": p.number, "name": p.name, "protocol": p.protocol.value, "target": p.target}
                for p in service.ports
            ],
        }
        for service in graph.names.registry.services.values()
    ]


def endpointz(graph: Graph) -> Any:
    """Every EDS resource."""
    return [
        {"cluster": name, "endpoints": [_endpoint(endpoint) for endpoint in assignment.endpoints()]}
        for name, assignment in graph.endpoints.items()
    ]


def connection_json(connection: AdsConnection) -> dict[str, Any]:
    """One ADS stream."""
    node = connection.node
    return {
        "node": node.id if node is not None else "",
        "role": node.role.value if node is not None else "",
        "address": node.ip if node is not None else "",
        "connected_seconds": round(time.monotonic() - connection.opened_at, 3),
    }


def sync_json(connection: AdsConnection) -> dict[str, Any]:
    """How many resources of each type a node has accepted, refused or not answered yet (Istio's /debug/syncz).

    `meshctl proxy-status` reads this: types by name and state, and the refusals with the proxy's words.
    """
    types: dict[str, Counter[str]] = {}
    errors = []
    for resource in connection.status(False):
        types.setdefault(resource.kind.name, Counter())[resource.status.name.lower()] += 1
        if resource.error:
            errors.append({"type": resource.kind.name, "name": resource.name, "message": resource.error})
    node = connection.node
    return {
        "node": node.id if node is not None else "",
        "types": {kind: dict(states) for kind, states in types.items()},
        "errors": errors,
    }


def _endpoint(endpoint: Endpoint) -> dict[str, Any]:
    return {
        "address": str(endpoint.address),
        "weight": endpoint.weight,
        "health": endpoint.health.value,
        "workload": endpoint.workload.name if endpoint.workload is not None else "",
        "meshed": endpoint.is_meshed,
    }
