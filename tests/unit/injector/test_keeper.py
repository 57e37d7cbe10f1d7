import asyncio
import base64
import datetime as dt
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from injector import certs, keeper
from injector.certs import Certs
from injector.keeper import SECRET, VALIDATOR, WEBHOOK, Keeper
from injector.kube import Cluster
from injector.trust import MUTATING, VALIDATING
from tests.support.injector_api import FakeApi

SECRETS = "/api/v1/namespaces/triomesh-system/secrets"
HOOKS = MUTATING


def hook(*bundles: str) -> dict[str, Any]:
    webhooks = [{"name": f"w{index}", "clientConfig": {"caBundle": text} if text else {}} for index, text in enumerate(bundles)]
    return {"metadata": {"name": WEBHOOK}, "webhooks": webhooks}


class Story:
    def __init__(self, api: FakeApi, kept: Keeper, used: list[Certs]) -> None:
        self.api, self.keeper, self.used = api, kept, used

    def bundles(self, collection: str = HOOKS, name: str = WEBHOOK) -> list[str]:
        webhooks = self.api.objects[collection][name]["webhooks"]
        return [base64.b64decode(item["clientConfig"].get("caBundle", "")).decode() for item in webhooks]

    def secret(self) -> Certs:
        return certs.from_secret_data(self.api.objects[SECRETS][SECRET]["data"])


def with_keeper(directory: Path, tell: Callable[[Story], Awaitable[None]], *, before: dict[str, Any] | None = None) -> None:
    async def run() -> None:
        api, used = FakeApi(), list[Certs]()
        api.objects |= {SECRETS: {}, HOOKS: {}, VALIDATING: {}}
        if before is not None:
            await api.put(SECRETS, before)
        async with api.running(directory) as kubeconfig:
            cluster = await Cluster.connect(str(kubeconfig))
            kept = Keeper(cluster, "triomesh-system", used.append)
            running = asyncio.create_task(kept.run())
            try:
                async with asyncio.timeout(20):
                    await tell(Story(api, kept, used))
            finally:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)
                await cluster.close()

    asyncio.run(run())


def test_first_start_makes_the_secret_and_serves_it(tmp_path: Path) -> None:
    async def tell(story: Story) -> None:
        await story.keeper.started.wait()
        assert story.used == [story.secret()]

    with_keeper(tmp_path, tell)


def test_both_webhook_configurations_are_made_to_trust_us(tmp_path: Path) -> None:
    async def tell(story: Story) -> None:
        await story.keeper.started.wait()
        wanted = story.used[0].bundle
        await story.api.put(HOOKS, hook(""))
        await story.api.put(VALIDATING, {**hook(""), "metadata": {"name": VALIDATOR}})
        await story.api.until(lambda _: story.bundles() == story.bundles(VALIDATING, VALIDATOR) == [wanted])

    with_keeper(tmp_path, tell)


def test_good_secret_is_taken_over(tmp_path: Path) -> None:
    names = tuple(f"triomesh-injector{suffix}" for suffix in (".triomesh-system.svc", "", ".triomesh-system", ".triomesh-system.svc.cluster.local"))
    made = certs.create(names, dt.datetime.now(dt.UTC))

    async def tell(story: Story) -> None:
        await story.keeper.started.wait()
        assert story.used == [made]
        assert ("PUT", f"{SECRETS}/{SECRET}") not in story.api.calls

    with_keeper(tmp_path, tell, before={"metadata": {"name": SECRET}, "data": certs.to_secret_data(made)})


def test_spoilt_secret_is_made_anew(tmp_path: Path) -> None:
    async def tell(story: Story) -> None:
        await story.keeper.started.wait()
        assert story.used == [story.secret()]

    with_keeper(tmp_path, tell, before={"metadata": {"name": SECRET}, "data": {"tls.crt": "eA=="}})


def test_deleted_secret_starts_an_exchange_with_both_cas_trusted(tmp_path: Path) -> None:
    async def tell(story: Story) -> None:
        await story.api.put(HOOKS, hook(""))
        await story.keeper.started.wait()
        first = story.used[0]
        await story.api.delete(SECRETS, SECRET)
        await story.api.until(lambda a: SECRET in a.objects[SECRETS] and story.secret().next_ca and len(story.bundles()[0]) > len(first.bundle))
        second = story.secret()
        assert (second.leaf, second.ca) == (first.leaf, first.ca)
        assert second.next_ca
        assert story.bundles() == [first.ca + second.next_ca]

    with_keeper(tmp_path, tell)


def test_replica_that_loses_the_race_uses_the_winners_certificates(tmp_path: Path) -> None:
    async def tell(story: Story) -> None:
        story.api.fail[("POST", SECRETS)] = 409
        await story.api.until(lambda a: ("POST", SECRETS) in a.calls)
        winner = certs.create(story.keeper._names, dt.datetime.now(dt.UTC))
        await story.api.put(SECRETS, {"metadata": {"name": SECRET}, "data": certs.to_secret_data(winner)})
        await story.keeper.started.wait()
        assert story.used == [winner]

    with_keeper(tmp_path, tell)


def test_secret_that_cannot_be_stored_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "_PAUSE", 0.01)

    async def tell(story: Story) -> None:
        story.api.fail[("POST", SECRETS)] = 500
        await story.keeper.started.wait()
        assert story.api.calls.count(("POST", SECRETS)) == 2

    with_keeper(tmp_path, tell)
