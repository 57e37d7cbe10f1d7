"""Port 15012 opens when there is a CA and a configuration, and not before."""

from __future__ import annotations

import asyncio
import time

import pytest

from mesh.control.ads_server import AdsServer
from mesh.control.ca import make_root
from mesh.control.kube.world import WorldStore
from mesh.control.metrics import MetricsRegistry
from mesh.control.publisher import Publisher
from mesh.control.secure_door import SecureDoor
from mesh.control.trust import Trust
from tests.support.identity_reviews import Reviews
from tests.support.world import SYSTEM


def test_it_opens_with_the_first_ca_and_serves_by_its_certificate(capsys: pytest.CaptureFixture[str]) -> None:
    async def story() -> None:
        metrics, trust = MetricsRegistry(), Trust(SYSTEM)
        publisher = Publisher(WorldStore(), metrics, SYSTEM)
        ads = AdsServer(publisher, metrics)
        async with asyncio.timeout(20), Reviews().client() as client:
            door = SecureDoor(ads, "127.0.0.1:0", client, trust, publisher, metrics, SYSTEM)
            publisher.subscribe(door.wake)
            running = asyncio.create_task(door.run())
            try:
                publisher.rebuild()
                await asyncio.sleep(0)
                assert not door.is_open
                trust.authority = make_root(0.0)
                # A CA at its end opens nothing, and a better one is waited for.
                door.wake()
                for _ in range(3):
                    await asyncio.sleep(0)
                assert not door.is_open
                trust.authority = make_root(time.time())
                door.wake()
                await door.opened.wait()
                assert not running.done()
            finally:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)
                await ads.stop()

    asyncio.run(story())
    assert capsys.readouterr().out.startswith("secure xds 127.0.0.1:")
