"""Events in a real API: written, counted, and never in the way."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from mesh.sandbox.events import EventRecorder
from mesh.sandbox.informer import Informer
from mesh.sandbox.kubeclient import EVENTS, KubeClient
from tests.support.node import api_client, until

Json = dict[str, Any]
POD = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "default", "uid": "u1"}}
NODE = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node", "uid": "u2"}}


@asynccontextmanager
async def recorder(directory: Path, now: list[float]) -> AsyncIterator[tuple[EventRecorder, Informer, KubeClient]]:
    async with api_client(directory) as client, trio.open_nursery() as nursery:
        events, seen = EventRecorder(client, "kubelet", "node", lambda: now[0]), Informer(client, EVENTS)
        nursery.start_soon(seen.run)
        nursery.start_soon(events.run)
        yield events, seen, client
        await trio.testing.wait_all_tasks_blocked(0.02)
        nursery.cancel_scope.cancel()


async def found(seen: Informer, reason: str, count: int = 1) -> Json:
    """The Event with this reason, once it counts `count`."""
    kept: list[Json] = []

    def is_there(_: Json | None) -> bool:
        kept[:] = [event for event in seen.all() if event["reason"] == reason and event["count"] >= count]
        return bool(kept)

    await until(seen, "", is_there)
    return kept[-1]


async def test_an_event_names_its_object_its_source_and_its_time(tmp_path: Path) -> None:
    async with recorder(tmp_path, [1_767_225_600.0]) as (events, seen, _):
        events.record(POD, "Warning", "BackOff", "m" * 2000, field_path="spec.containers{c}")
        event = await found(seen, "BackOff")
        assert event["involvedObject"] == {"apiVersion": "v1", "kind": "Pod", "name": "p", "namespace": "default", "uid": "u1", "fieldPath": "spec.containers{c}"}
        assert (event["type"], event["count"], event["source"]) == ("Warning", 1, {"component": "kubelet", "host": "node"})
        assert (event["message"], event["firstTimestamp"], event["lastTimestamp"]) == ("m" * 1024, "2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z")
        events.record(NODE, "Normal", "Starting", "up")  # what has no namespace is told in `default`
        assert (await found(seen, "Starting"))["metadata"]["namespace"] == "default"


async def test_repeats_are_counted_on_the_same_event_until_somebody_removes_it(tmp_path: Path) -> None:
    now = [1_767_225_600.0]
    async with recorder(tmp_path, now) as (events, seen, client):
        events.record(POD, "Warning", "BackOff", "again")
        first = await found(seen, "BackOff")
        now[0] += 60
        events.record(POD, "Warning", "BackOff", "again")
        events.record(POD, "Warning", "BackOff", "another message")
        second = await found(seen, "BackOff", 2)
        assert second["metadata"]["name"] == first["metadata"]["name"]
        assert (second["firstTimestamp"], second["lastTimestamp"]) == ("2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z")
        await until(seen, "", lambda _: len(list(seen.all())) == 2)
        await client.delete(EVENTS, "default", first["metadata"]["name"])
        await until(seen, first["metadata"]["name"], lambda item: item is None)
        events.record(POD, "Warning", "BackOff", "again")
        await until(seen, "", lambda _: len(list(seen.all())) == 2)
        anew = next(event for event in seen.all() if event["message"] == "again")
        assert (anew["count"], anew["metadata"]["name"] != first["metadata"]["name"]) == (1, True)


async def test_a_refused_event_does_not_stop_the_next(tmp_path: Path) -> None:
    async with recorder(tmp_path, [0.0]) as (events, seen, _):
        nowhere = {**POD, "metadata": {**POD["metadata"], "namespace": "none"}}
        events.record(nowhere, "Normal", "Lost", "in a namespace that is not there")
        events.record(POD, "Normal", "Kept", "said")
        assert (await found(seen, "Kept"))["message"] == "said"
        assert [event["reason"] for event in seen.all()] == ["Kept"]


async def test_a_flood_is_cut_with_a_word_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    events = EventRecorder(None, "kubelet", "", lambda: 0.0)  # type: ignore[arg-type]
    for number in range(1001):
        events.record(POD, "Normal", "Flood", str(number))
    assert caplog.messages == ["too many events at once; dropped Flood of p: 1000"]
