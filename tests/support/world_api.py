"""A small Kubernetes API server for the watchers' tests: lists, watches, patches and leases over real HTTP.

It answers what it is told to answer: objects per collection path, scripted refusals, broken streams. No waiting: tests
wait for what the client does.
"""

from __future__ import annotations

import asyncio
import json
import pathlib
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import yaml
from aiohttp import web

from mesh.control.kube import kinds
from mesh.control.kube.client import KubeClient

Item = dict[str, Any]


class KubeApi:
    """objects: collection path → (namespace, name) → object. Collections in `absent` answer 404."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[tuple[str, str], Item]] = defaultdict(dict)
        self.absent: set[str] = set()
        self.refuse: dict[str, list[int]] = defaultdict(list)
        """path → statuses that the next requests get."""
        self.requests: list[tuple[str, str]] = []
        self.tokens: set[str] = set()
        self.patches: list[tuple[str, Item]] = []
        self.version = 100
        self._history: dict[str, list[tuple[int, Item]]] = defaultdict(list)
        self._streams: dict[str, list[asyncio.Queue[Item | None]]] = defaultdict(list)
        self._seen = asyncio.Condition()

    def put(self, path: str, item: Item) -> None:
        """Creates or changes an object and tells the watches."""
        metadata = item.setdefault("metadata", {})
        key = (metadata.get("namespace", ""), metadata["name"])
        self.version += 1
        metadata["resourceVersion"] = str(self.version)
        action = "MODIFIED" if key in self.objects[path] else "ADDED"
        self.objects[path][key] = item
        self._tell(path, {"type": action, "object": item})

    def delete(self, path: str, namespace: str, name: str) -> None:
        self.version += 1
        item = self.objects[path].pop((namespace, name))
        item["metadata"]["resourceVersion"] = str(self.version)
        self._tell(path, {"type": "DELETED", "object": item})

    def forget(self, path: str, namespace: str, name: str) -> None:
        """Removes an object without telling anybody: a lost event."""
        del self.objects[path][namespace, name]

    def _tell(self, path: str, event: Item) -> None:
        """To the watches of now and to those that begin at an older version."""
        self._history[path].append((self.version, event))
        self.send(path, event)

    def send(self, path: str, event: Item) -> None:
        for queue in self._streams[path]:
            queue.put_nowait(event)

    def gone(self, path: str) -> None:
        """Ends the watches as a server does whose history is too short."""
        status = {"code": 410, "reason": "Expired", "message": "too old resource version"}
        self.send(path, {"type": "ERROR", "object": status})

    def end(self, path: str) -> None:
        """Ends the watches of a collection quietly."""
        for queue in self._streams[path]:
            queue.put_nowait(None)

    async def wait_for(self, method: str, path: str, count: int = 1) -> None:
        """Until that many such requests have come in. `WATCH` is a GET with watch=true."""
        async with self._seen:
            await self._seen.wait_for(lambda: self.requests.count((method, path)) >= count)

    @asynccontextmanager
    async def serving(self, directory: pathlib.Path) -> AsyncIterator[str]:
        """Serves on 127.0.0.1; yields the path of a kubeconfig."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        try:
            yield _kubeconfig(directory, f"http://{host}:{port}")
        finally:
            for path in list(self._streams):
                self.end(path)
            await runner.cleanup()

    @asynccontextmanager
    async def client(self, directory: pathlib.Path) -> AsyncIterator[KubeClient]:
        async with self.serving(directory) as kubeconfig:
            client = await KubeClient.connect(kubeconfig)
            try:
                yield client
            finally:
                await client.close()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        path = request.path
        is_watch = request.query.get("watch") == "true"
        self.tokens.add(request.headers.get("Authorization", ""))
        await self._note("WATCH" if is_watch else request.method, path)
        if self.refuse[path]:
            return _status(self.refuse[path].pop(0))
        if path in self.absent:
            return _status(404)
        if is_watch:
            return await self._watch(request)
        if request.method == "GET":
            return self._get(request)
        return await self._write(request)

    async def _note(self, method: str, path: str) -> None:
        async with self._seen:
            self.requests.append((method, path))
            self._seen.notify_all()

    def _get(self, request: web.Request) -> web.Response:
        path = request.path
        if path in _COLLECTIONS:
            items = list(self.objects[path].values())
            limit, start = int(request.query.get("limit", "1000")), int(request.query.get("continue", "0"))
            metadata = {"resourceVersion": str(self.version)}
            if start + limit < len(items):
                metadata["continue"] = str(start + limit)
            return web.json_response({"metadata": metadata, "items": items[start : start + limit]})
        collection, _, name = path.rpartition("/")
        found = next((item for (_, n), item in self.objects[collection].items() if n == name), None)
        return web.json_response(found) if found is not None else _status(404)

    async def _write(self, request: web.Request) -> web.Response:
        body = await request.json()
        path = request.path
        self.patches.append((f"{request.method} {path}", body))
        if request.method == "POST":
            self.put(path, body)
        elif request.method == "PUT":
            self.put(path.rpartition("/")[0], body)
        return web.json_response({**body, "metadata": {**body.get("metadata", {}), "name": "x"}})

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        queue: asyncio.Queue[Item | None] = asyncio.Queue()
        since = int(request.query.get("resourceVersion") or self.version)
        for version, event in self._history[request.path]:
            if version > since:
                queue.put_nowait(event)
        self._streams[request.path].append(queue)
        try:
            while (event := await queue.get()) is not None:
                await response.write(json.dumps(event).encode() + b"\n")
        except ConnectionResetError:
            pass
        finally:
            self._streams[request.path].remove(queue)
        return response


_COLLECTIONS = frozenset(
    {kind.path(version) for kind in kinds.KINDS for version in kind.versions}
    | {"/apis/coordination.k8s.io/v1/namespaces/triomesh-system/leases"}
    | {"/api/v1/namespaces/triomesh-system/configmaps", "/api/v1/namespaces/triomesh-system/secrets"}
)


def _status(code: int) -> web.Response:
    return web.json_response({"kind": "Status", "code": code, "message": f"refused with {code}"}, status=code)


def _kubeconfig(directory: pathlib.Path, url: str) -> str:
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
        "clusters": [{"name": "k", "cluster": {"server": url}}],
        "users": [{"name": "u", "user": {"token": "secret"}}],
    }
    path = directory / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    return str(path)
