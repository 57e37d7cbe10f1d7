"""A small Kubernetes API for the injector's shells: collections in memory, list and watch, over real sockets.

Enough to lose watches, answer 410 and conflict at will, which a real server does not do on command.
"""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from hypercorn.asyncio import serve
from hypercorn.config import Config
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from injector import jsonpatch

Json = dict[str, Any]


class FakeApi:
    """Objects by collection path and name. `calls` are (method, path) of what came; `fail` maps such to a status once."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Json]] = {}
        self.calls: list[tuple[str, str]] = []
        self.fail: dict[tuple[str, str], int] = {}
        self.version = 0
        self._changed = asyncio.Condition()
        self._log: list[tuple[int, str, str, Json]] = []
        self._dropped = 0

    async def put(self, collection: str, item: Json) -> Json:
        self.version += 1
        old = self.objects.setdefault(collection, {}).get(item["metadata"]["name"])
        item = {**item, "metadata": {**item["metadata"], "resourceVersion": str(self.version)}}
        self.objects[collection][item["metadata"]["name"]] = item
        await self._tell("MODIFIED" if old else "ADDED", collection, item)
        return item

    async def delete(self, collection: str, name: str) -> None:
        self.version += 1
        item = self.objects[collection].pop(name)
        await self._tell("DELETED", collection, {**item, "metadata": {**item["metadata"], "resourceVersion": str(self.version)}})

    async def drop_watches(self) -> None:
        async with self._changed:
            self._dropped += 1
            self._changed.notify_all()

    async def until(self, condition: Any) -> None:
        """Wait for a condition on this object."""
        async with asyncio.timeout(10), self._changed:
            await self._changed.wait_for(lambda: condition(self))

    @asynccontextmanager
    async def running(self, directory: Path) -> AsyncIterator[Path]:
        """Serve on a port of 127.0.0.1; gives the path of a kubeconfig."""
        listener = socket.create_server(("127.0.0.1", 0))
        config = Config()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        config.bind = [f"fd://{listener.detach()}"]
        config.loglevel = "WARNING"
        config.graceful_timeout = 0.1
        stop = asyncio.Event()
        app = Starlette(routes=[Route("/{path:path}", self._handle, methods=["GET", "POST", "PUT", "PATCH"])])
        server = asyncio.create_task(serve(app, config, shutdown_trigger=stop.wait, mode="asgi"))  # type: ignore[arg-type]
        kubeconfig = directory / "kubeconfig"
        document = {
            "clusters": [{"name": "c", "cluster": {"server": url}}],
            "users": [{"name": "u", "user": {}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        }
        kubeconfig.write_text(json.dumps(document))
        try:
            yield kubeconfig
        finally:
            await self.drop_watches()
            stop.set()
            await server

    async def _tell(self, kind: str, collection: str, item: Json) -> None:
        async with self._changed:
            self._log.append((self.version, kind, collection, item))
            self._changed.notify_all()

    async def _handle(self, request: Request) -> Response:
        path, method = request.url.path, request.method
        watching = request.query_params.get("watch") == "true"
        async with self._changed:
            self.calls.append(("WATCH" if watching else method, path))
            self._changed.notify_all()
        if code := self.fail.pop(("WATCH" if watching else method, path), 0):
            return JSONResponse({"kind": "Status", "code": code, "message": f"told to fail with {code}"}, code)
        if path == "/version":
            return JSONResponse({"major": "1", "minor": "33"})
        name = request.query_params.get("fieldSelector", "").removeprefix("metadata.name=")
        if watching:
            return StreamingResponse(self._watch(path, name, int(request.query_params["resourceVersion"]), self._dropped), media_type="application/json")
        if path in self.objects and method == "GET":
            items = [item for key, item in self.objects[path].items() if not name or key == name]
            return JSONResponse({"metadata": {"resourceVersion": str(self.version)}, "items": items})
        return await self._one(method, path, await request.body())

    async def _one(self, method: str, path: str, body: bytes) -> Response:
        if method == "POST":
            item = json.loads(body)
            item["metadata"].setdefault("name", f"{item['metadata'].get('generateName')}{self.version}")
            if item["metadata"]["name"] in self.objects.setdefault(path, {}):
                return JSONResponse({"message": "exists"}, 409)
            return JSONResponse(await self.put(path, item), 201)
        collection, _, name = path.rpartition("/")
        found = self.objects.get(collection, {}).get(name)
        if found is None:
            return JSONResponse({"message": "not found"}, 404)
        if method == "GET":
            return JSONResponse(found)
        item = json.loads(body)
        if method == "PATCH":
            return JSONResponse(await self.put(collection, jsonpatch.apply(found, item)))
        if item["metadata"].get("resourceVersion") not in (None, found["metadata"]["resourceVersion"]):
            return JSONResponse({"message": "conflict"}, 409)
        return JSONResponse(await self.put(collection, item))

    async def _watch(self, path: str, name: str, version: int, epoch: int) -> AsyncIterator[bytes]:
        at = 0
        while True:
            async with self._changed:
                await self._changed.wait_for(lambda at=at: len(self._log) > at or self._dropped != epoch)
            if self._dropped != epoch:
                return
            for number, kind, collection, item in self._log[at:]:
                if collection == path and number > version and (not name or item["metadata"]["name"] == name):
                    yield json.dumps({"type": kind, "object": item}).encode() + b"\n"
            at = len(self._log)
