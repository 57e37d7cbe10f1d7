import asyncio
import base64
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from injector import trust
from injector.kube import Cluster
from injector.trust import VALIDATING, Trust
from tests.support.injector_api import FakeApi

NAME = "triomesh-validator"
OURS = base64.b64encode(b"our CA").decode()


def hook(*bundles: str) -> dict[str, Any]:
    webhooks = [{"name": f"w{index}", "clientConfig": {"caBundle": text} if text else {}} for index, text in enumerate(bundles)]
    return {"metadata": {"name": NAME}, "webhooks": webhooks}


def bundles(api: FakeApi) -> list[str]:
    return [item["clientConfig"].get("caBundle", "") for item in api.objects[VALIDATING][NAME]["webhooks"]]


def with_trust(directory: Path, tell: Callable[[FakeApi, Trust], Awaitable[None]], bundle: Callable[[], str] = lambda: "our CA", before: Any = None) -> None:
    async def run() -> None:
        api = FakeApi()
        api.objects[VALIDATING] = {}
        if before is not None:
            await api.put(VALIDATING, before)
        async with api.running(directory) as kubeconfig:
            cluster = await Cluster.connect(str(kubeconfig))
            kept = Trust(cluster, VALIDATING, NAME, bundle)
            running = asyncio.create_task(kept.run())
            try:
                async with asyncio.timeout(20):
                    await tell(api, kept)
            finally:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)
                await cluster.close()

    asyncio.run(run())


def test_configuration_is_patched_whenever_it_comes_or_is_reset(tmp_path: Path) -> None:
    async def tell(api: FakeApi, _: Trust) -> None:
        await api.put(VALIDATING, hook("", "b3RoZXI="))
        await api.until(lambda a: bundles(a) == [OURS, OURS])
        await api.put(VALIDATING, hook("", OURS))
        await api.until(lambda a: bundles(a) == [OURS, OURS])

    with_trust(tmp_path, tell)


def test_without_certificates_nothing_is_patched_until_they_come(tmp_path: Path) -> None:
    held, looked = [""], asyncio.Event()

    def bundle() -> str:
        looked.set()
        return held[0]

    async def tell(api: FakeApi, kept: Trust) -> None:
        await looked.wait()
        assert bundles(api) == [""]
        held[0] = "our CA"
        await kept.mend()
        assert bundles(api) == [OURS]

    with_trust(tmp_path, tell, bundle, before=hook(""))


def test_patch_that_fails_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trust, "_PAUSE", 0.01)

    async def tell(api: FakeApi, _: Trust) -> None:
        path = f"{VALIDATING}/{NAME}"
        api.fail |= {("PATCH", path): 500, ("GET", path): 503}
        await api.put(VALIDATING, hook(""))
        await api.until(lambda a: bundles(a) == [OURS])
        assert (api.calls.count(("PATCH", path)), api.calls.count(("GET", path))) == (2, 2)

    with_trust(tmp_path, tell)
