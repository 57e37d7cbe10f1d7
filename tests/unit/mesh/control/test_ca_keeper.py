"""CaKeeper against an API server: what it writes, and what it does when that is refused."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import pathlib
from collections.abc import AsyncIterator

import pytest

from mesh.control import ca_keeper
from mesh.control.ca_keeper import CaKeeper
from mesh.control.metrics import MetricsRegistry
from tests.support.world import SYSTEM
from tests.support.world_api import KubeApi

SECRETS = f"/api/v1/namespaces/{SYSTEM}/secrets"
MAPS = "/api/v1/namespaces/shop/configmaps"


class Stage:
    def __init__(self, api: KubeApi, keeper: CaKeeper, metrics: MetricsRegistry, changed: asyncio.Event) -> None:
        self.api, self.keeper, self.metrics, self.changed = api, keeper, metrics, changed
        self.is_leader = False


@contextlib.asynccontextmanager
async def keeping(directory: pathlib.Path) -> AsyncIterator[Stage]:
    """A keeper whose API server tells its watches of what was written, as a real one does."""
    api, metrics, changed = KubeApi(), MetricsRegistry(), asyncio.Event()
    api.put("/api/v1/namespaces", {"metadata": {"name": "shop"}})
    async with asyncio.timeout(20), api.client(directory) as client:
        keeper = CaKeeper(client, metrics, SYSTEM, lambda: stage.is_leader, changed.set)
        stage = Stage(api, keeper, metrics, changed)
        running = asyncio.create_task(keeper.run())
        try:
            yield stage
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


def test_the_ca_is_made_by_anybody_and_the_roots_are_the_leaders(tmp_path: pathlib.Path) -> None:
    async def story() -> None:
        async with keeping(tmp_path) as stage:
            await stage.api.wait_for("POST", SECRETS)
            await stage.changed.wait()
            authority = stage.keeper.trust.authority
            assert authority is not None
            assert ("POST", MAPS) not in stage.api.requests
            stage.is_leader = True
            stage.keeper.wake()
            await stage.api.wait_for("POST", MAPS)
            written = dict(stage.api.patches)
            assert written[f"POST {MAPS}"]["data"] == {"root-cert.pem": stage.keeper.trust.roots_pem}
            assert written[f"POST {SECRETS}"]["metadata"]["name"] == "triomesh-ca-roots"
            text = stage.metrics.text()
            end = int(authority.not_after)
            assert f"citadel_server_root_cert_expiry_timestamp {end}\n" in text
            assert 'pilot_k8s_reg_events{type="CA/Secret",event="add"} ' in text
            assert 'type="Secret"' not in text

    asyncio.run(story())


def test_what_is_refused_is_told_once_and_tried_again(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(ca_keeper, "RETRY_SECONDS", 0.01)

    async def story() -> None:
        async with keeping(tmp_path) as stage:
            stage.is_leader = True
            # The namespace is gone (404) or somebody was faster (409): no trouble. 403 and 500 are, until they end.
            stage.api.refuse[MAPS] += [500, 500, 403]
            await stage.api.wait_for("POST", MAPS, 4)
            await stage.changed.wait()

    with caplog.at_level(logging.INFO):
        asyncio.run(story())
    told = [line for line in caplog.messages if "cannot write" in line]
    assert told == [
        "cannot write ConfigMap shop/triomesh-ca-root-cert: 500: refused with 500",
        "cannot write ConfigMap shop/triomesh-ca-root-cert: 403: refused with 403",
    ]
