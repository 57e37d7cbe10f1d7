import asyncio
import base64
import datetime as dt
import json
import socket
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx

from injector import certs
from injector.keeper import SECRET
from injector.server import Injector
from injector.trust import MUTATING, VALIDATING
from tests.support.injector_api import FakeApi
from tests.support.injector_pods import pod

NAME = "triomesh-injector.triomesh-system.svc"
SECRETS = "/api/v1/namespaces/triomesh-system/secrets"
CONFIGS = "/api/v1/namespaces/triomesh-system/configmaps"
EVENTS = "/api/v1/namespaces/default/events"


def body(obj: Any, **more: Any) -> bytes:
    asked = {"uid": "u", "kind": {"kind": "Pod"}, "namespace": "default", "object": obj, **more}
    return json.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": asked}).encode()


def config(text: str) -> dict[str, Any]:
    return {"metadata": {"name": "triomesh-injector"}, "data": {"config": text}}


class Story:
    def __init__(self, api: FakeApi, port: int) -> None:
        self.api, self.port = api, port

    def client(self) -> httpx.AsyncClient:
        bundle = base64.b64decode(self.api.objects[SECRETS][SECRET]["data"]["ca.crt"]).decode()
        context = ssl.create_default_context(cadata=bundle)
        return httpx.AsyncClient(verify=context, base_url=f"https://127.0.0.1:{self.port}", headers={"host": NAME})

    def names(self) -> tuple[str, ...]:
        return tuple(f"triomesh-injector{suffix}" for suffix in (".triomesh-system.svc", "", ".triomesh-system", ".triomesh-system.svc.cluster.local"))

    async def answers(self, client: httpx.AsyncClient) -> bool:
        try:
            return (await self.send(client, "GET", "/healthz")).status_code == 200
        except httpx.ConnectError:  # not the certificate that this client trusts
            return False

    def connections(self, client: httpx.AsyncClient) -> list[object]:
        return list(client._transport._pool.connections)  # type: ignore[attr-defined]

    async def send(self, client: httpx.AsyncClient, method: str, path: str, content: bytes = b"") -> httpx.Response:
        return await client.request(method, path, content=content, extensions={"sni_hostname": NAME})

    async def ready(self, client: httpx.AsyncClient) -> httpx.Response:
        """Poll as the kubelet does: the port answers before the lists have come."""
        return await self.poll(client, lambda answer: answer.status_code == 200)

    async def poll(self, client: httpx.AsyncClient, wanted: Callable[[httpx.Response], bool]) -> httpx.Response:
        while not wanted(answer := await self.send(client, "GET", "/ready")):
            pass
        return answer


def with_injector(directory: Path, tell: Callable[[Story], Awaitable[None]], settings: str = "") -> None:
    async def run() -> None:
        api = FakeApi()
        api.objects |= {"/api/v1/namespaces": {}, CONFIGS: {}, SECRETS: {}, EVENTS: {}}
        api.objects |= {MUTATING: {}, VALIDATING: {}}
        await api.put("/api/v1/namespaces", {"metadata": {"name": "default", "labels": {"triomesh-injection": "enabled"}}})
        await api.put(CONFIGS, config(settings))
        listener = socket.create_server(("127.0.0.1", 0))
        async with api.running(directory) as kubeconfig:
            port = listener.getsockname()[1]
            running = asyncio.create_task(Injector("triomesh-system").run(str(kubeconfig), listener))
            try:
                async with asyncio.timeout(20):
                    await api.until(lambda a: SECRET in a.objects[SECRETS])
                    await tell(Story(api, port))
            finally:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)

    asyncio.run(run())


def test_review_over_https_with_the_injectors_own_certificate(tmp_path: Path) -> None:
    async def tell(story: Story) -> None:
        async with story.client() as client:
            await story.ready(client)
            answer = await story.send(client, "POST", "/inject", body(pod()))
            assert answer.json()["response"]["patchType"] == "JSONPatch"

    with_injector(tmp_path, tell)


def test_skipped_pod_becomes_an_event_unless_it_is_a_dry_run(tmp_path: Path) -> None:
    async def tell(story: Story) -> None:
        async with story.client() as client:
            await story.ready(client)
            await story.send(client, "POST", "/inject", body(pod(hostNetwork=True), dryRun=True))
            await story.send(client, "POST", "/inject", body(pod(hostNetwork=True)))
            await story.api.until(lambda a: a.objects[EVENTS])
            (event,) = story.api.objects[EVENTS].values()
            assert event["reason"] == "InjectionSkipped"

    with_injector(tmp_path, tell)


def test_namespace_that_the_watch_has_not_told_of_is_asked_for(tmp_path: Path) -> None:
    async def tell(story: Story) -> None:
        async with story.client() as client:
            await story.ready(client)
            story.api.objects["/api/v1/namespaces"]["fresh"] = {"metadata": {"name": "fresh", "labels": {"istio-injection": "enabled"}}}
            answer = await story.send(client, "POST", "/inject", body(pod(), namespace="fresh"))
            assert "patch" in answer.json()["response"]
            missing = await story.send(client, "POST", "/inject", body(pod(), namespace="none"))
            assert missing.status_code == 503

    with_injector(tmp_path, tell)


def test_bad_settings_at_start_keep_it_unready_until_mended(tmp_path: Path) -> None:
    async def tell(story: Story) -> None:
        async with story.client() as client:
            answer = await story.poll(client, lambda answer: "images.proxi" in answer.text)
            assert answer.status_code == 503
            assert (await story.send(client, "POST", "/inject", body(pod()))).status_code == 503
            await story.api.put(CONFIGS, config("images: {proxy: mine:1}"))
            await story.ready(client)

    with_injector(tmp_path, tell, "images: {proxi: x}")


def test_new_certificate_serves_new_handshakes_and_keeps_old_connections(tmp_path: Path) -> None:
    async def tell(story: Story) -> None:
        async with story.client() as old:
            await story.ready(old)
            other = certs.create(story.names(), dt.datetime.now(dt.UTC))
            await story.api.put(SECRETS, {"metadata": {"name": SECRET}, "data": certs.to_secret_data(other)})
            async with story.client() as new:  # trusts the new CA alone
                while not await story.answers(new):
                    pass
                assert (await story.send(new, "GET", "/healthz")).status_code == 200
            assert (await story.send(old, "GET", "/healthz")).status_code == 200
            assert len(story.connections(old)) == 1, "the connection that was open stayed open"

    with_injector(tmp_path, tell)
