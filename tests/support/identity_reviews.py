"""An API server that reviews tokens, over real HTTP: for the tests of what asks it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import web
from kubernetes.aio import client

from mesh.control.kube.client import KubeClient


class Reviews:
    """known: token → user name. Every review waits for `gate`; `status` other than 201 refuses."""

    def __init__(self) -> None:
        self.known = {"good": "system:serviceaccount:shop:cart"}
        self.asked: list[str] = []
        self.status = 201
        self.gate = asyncio.Event()
        self.gate.set()
        self.arrived = asyncio.Event()

    async def answer(self, request: web.Request) -> web.Response:
        body: dict[str, Any] = await request.json()
        token = body["spec"]["token"]
        self.asked.append(token)
        self.arrived.set()
        await self.gate.wait()
        if self.status != 201:
            return web.json_response({"kind": "Status", "message": "out of order"}, status=self.status)
        user = {"username": self.known.get(token, ""), "groups": ["system:serviceaccounts"]}
        status = {"authenticated": token in self.known, "audiences": ["triomesh-ca"], "user": user}
        return web.json_response({**body, "status": status}, status=201)

    @contextlib.asynccontextmanager
    async def client(self) -> AsyncIterator[KubeClient]:
        app = web.Application()
        app.router.add_post("/apis/authentication.k8s.io/v1/tokenreviews", self.answer)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        kube = KubeClient(client.ApiClient(client.Configuration(host=f"http://{host}:{port}")))
        try:
            yield kube
        finally:
            self.gate.set()
            await kube.close()
            await runner.cleanup()


def bearer(token: str) -> list[tuple[str, str | bytes]]:
    return [("authorization", f"Bearer {token}")]
