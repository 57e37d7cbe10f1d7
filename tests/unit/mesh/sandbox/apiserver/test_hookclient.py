from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from mesh.sandbox.apiserver.hookclient import HookCaller, trust
from mesh.sandbox.apiserver.kinds import builtin
from mesh.sandbox.apiserver.webhooks import Hook, HookError
from tests.support.apiserver_local import Local, local
from tests.support.apiserver_peers import Webhook

PODS = next(resource for resource in builtin() if resource.key == "pods")


def hook(**client: Any) -> Hook:
    return Hook("c", "h.x.y", client, 5, False, "None", False, (), PODS)


async def ask(api: Local, made: Hook) -> Any:
    import trio

    with trio.fail_after(10):
        return await HookCaller(api.cluster.network).call(made, {"request": {"uid": "u"}})


async def test_url_and_bundle(tmp_path: Path) -> None:
    with Webhook(tmp_path / "hook", "127.0.0.1").running() as webhook:
        async with local(tmp_path) as api:
            answer = await ask(api, hook(url=f"https://127.0.0.1:{webhook.port}/x", caBundle=webhook.ca_bundle))
            assert answer["response"] == {"uid": "u", "allowed": True}
            for wrong in (hook(url=f"https://localhost:{webhook.port}/x", caBundle=webhook.ca_bundle), hook(url=f"https://127.0.0.1:{webhook.port}/x", caBundle="")):
                with pytest.raises(HookError, match="certificate verify failed"):
                    await ask(api, wrong)


async def test_what_cannot_be_reached_says_where(tmp_path: Path) -> None:
    async with local(tmp_path) as api:
        with pytest.raises(HookError, match=r'Post "https://s.ns.svc:443/p": services "s" not found'):
            await ask(api, hook(service={"namespace": "ns", "name": "s", "path": "p"}))
        with pytest.raises(HookError, match="has no host"):
            await ask(api, hook(url="https:///x"))


def test_bundle_must_be_base64_of_pem() -> None:
    for bad in ("***", base64.b64encode(b"no pem").decode()):
        with pytest.raises(HookError, match="caBundle"):
            trust(bad)
