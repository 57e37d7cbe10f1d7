"""The API server without sockets or processes: requests go straight to `Server.respond`."""

from __future__ import annotations

import contextlib
import json
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlencode

import trio

from mesh.sandbox import pki
from mesh.sandbox.apiserver import bootstrap
from mesh.sandbox.apiserver.cleanup import Cleaner
from mesh.sandbox.apiserver.http import Reply, Request, Response, Stream
from mesh.sandbox.apiserver.journal import Journal
from mesh.sandbox.apiserver.kubeconfig import Address, Addresses
from mesh.sandbox.apiserver.main import assemble
from mesh.sandbox.apiserver.metrics import Metrics
from mesh.sandbox.apiserver.server import Server

ADMIN = {"subject": ((("organizationName", "system:masters"),), (("commonName", "kubernetes-admin"),))}
START = datetime(2030, 1, 1, tzinfo=UTC)
JSON, MERGE = "application/json", "application/merge-patch+json"
STRATEGIC, APPLY, JSON_PATCH = "application/strategic-merge-patch+json", "application/apply-patch+yaml", "application/json-patch+json"


class Local:
    """A cluster in this process. `now` is its clock and moves only by hand."""

    def __init__(self, directory: Path, history: int = 1000) -> None:
        self.pki = pki.ensure(directory / "pki")
        self.now = START
        self.metrics = Metrics()
        self.journal = Journal(directory / "state.db", history)
        self.cluster = assemble(self.pki, self.journal, history, self.metrics, lambda: self.now, random.Random(1))
        self.server = Server(self.cluster, self.metrics)

    def pass_seconds(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    async def reply(self, method: str, path: str, body: Any = None, content_type: str = JSON, token: str = "", accept: str = JSON, **query: str) -> Reply:
        text = urlencode(query)
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        headers = {"content-type": content_type, "accept": accept, "user-agent": "unit/1.0", "host": "127.0.0.1:6443"}
        if token:
            headers["authorization"] = f"Bearer {token}"
        target = path + (f"?{text}" if text else "")
        raw = [(k.encode(), v.encode()) for k, v in headers.items()]
        return await self.server.respond(Request(method, target, unquote(path), parse_qs(text, keep_blank_values=True), headers, raw, data, None if token else ADMIN))

    async def call(self, method: str, path: str, body: Any = None, content_type: str = JSON, **more: str) -> tuple[int, Any]:
        """(status, JSON) of a request with a complete answer."""
        reply = await self.reply(method, path, body, content_type, **more)
        assert isinstance(reply, Response), reply
        return reply.status, json.loads(reply.body) if "json" in reply.content_type and reply.body else reply.body.decode()

    async def warnings(self, method: str, path: str, body: Any = None) -> list[str]:
        """The Warning headers of a request."""
        reply = await self.reply(method, path, body)
        assert isinstance(reply, Response)
        return [value for name, value in reply.headers if name == "Warning"]

    async def events(self, path: str, count: int, **query: str) -> list[Any]:
        """The first `count` events of a watch."""
        reply = await self.reply("GET", path, watch="true", **query)
        assert isinstance(reply, Stream), reply
        found: list[Any] = []
        with trio.move_on_after(10) as scope:

            async def send(data: bytes) -> None:
                found.extend(json.loads(line) for line in data.splitlines())
                if len(found) >= count:
                    scope.cancel()
                    await trio.lowlevel.checkpoint()

            await reply.run(send)
        assert len(found) == count, found
        return found

    async def create(self, path: str, name: str, **body: Any) -> Any:
        code, made = await self.call("POST", path, {**body, "metadata": {"name": name, **body.get("metadata", {})}})
        assert code == 201, made
        return made


@contextlib.asynccontextmanager
async def local(directory: Path, history: int = 1000) -> AsyncIterator[Local]:
    """A running in-process cluster with namespaces, roles and the `default` service account."""
    api = Local(directory, history)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(api.cluster.store.run)
        nursery.start_soon(Cleaner(api.cluster).run)
        here = Address("127.0.0.1", 6443)
        await bootstrap.fill(api.cluster, Addresses(here, here))
        await api.create("/api/v1/namespaces/default/serviceaccounts", "default")
        yield api
        nursery.cancel_scope.cancel()
    api.journal.close()
