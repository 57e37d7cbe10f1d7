from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import trio.testing
from pytest import MonkeyPatch

from mesh.sandbox.apiserver import watch
from mesh.sandbox.apiserver.storage import Change, Key, Stored
from mesh.sandbox.apiserver.watch import Hub, Watcher
from tests.support.apiserver_local import MERGE, local

CM = "/api/v1/namespaces/default/configmaps"
KEY = Key("pods", "default", "a")


def state(revision: int, color: str) -> Stored:
    obj = {"metadata": {"name": "a", "labels": {"color": color}, "resourceVersion": str(revision)}}
    return Stored(revision, json.dumps(obj).encode(), obj)


def test_watcher_judges_by_what_matched_before_and_now() -> None:
    red = Watcher("pods", "default", lambda o: o["metadata"]["labels"]["color"] == "red")
    cases = [
        (None, "red", False, "ADDED"), ("red", "red", False, "MODIFIED"), ("blue", "red", False, "ADDED"), ("red", "blue", False, "DELETED"),
        ("blue", "blue", False, None), ("red", "red", True, "DELETED"), ("blue", "blue", True, None), (None, "blue", False, None),
    ]  # fmt: skip
    found = []
    for before, after, deleted, _ in cases:
        event = red.judge(Change(KEY, deleted, state(2, after), state(1, before) if before else None))
        found.append(event and event[0])
    assert found == [case[3] for case in cases]
    assert Watcher("pods", "other", None).judge(Change(KEY, False, state(1, "red"), None)) is None


def test_object_that_stops_to_match_is_shown_as_it_matched() -> None:
    red = Watcher("pods", "", lambda o: o["metadata"]["labels"]["color"] == "red")
    event = red.judge(Change(KEY, False, state(7, "blue"), state(3, "red")))
    assert event is not None
    assert event[1].obj["metadata"] == {"name": "a", "labels": {"color": "red"}, "resourceVersion": "7"}


async def test_full_queue_cuts_the_watcher_off(monkeypatch: MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "QUEUE", 2)
    slow = Watcher("pods", "", None)
    for revision in range(1, 5):
        slow.feed(Change(KEY, False, state(revision, "red"), None))
    assert slow.overflowed
    assert [(await slow.next())[1].revision for _ in range(2)] == [1, 2]
    try:
        await slow.next()
    except trio.EndOfChannel:
        return
    raise AssertionError("a cut-off watcher must end")


async def test_slow_client_is_told_to_list_again(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "QUEUE", 1)
    async with local(tmp_path) as api:
        reply = await api.reply("GET", CM, watch="true")
        got: list[bytes] = []
        go = trio.Event()

        async def send(data: bytes) -> None:
            await go.wait()
            got.append(data)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(reply.run, send)  # type: ignore[union-attr]
            await trio.testing.wait_all_tasks_blocked()
            for number in range(4):
                await api.create(CM, f"c{number}")
            go.set()
        assert json.loads(got[-1])["object"]["code"] == 410
        assert api.cluster.hub.count == 0


async def test_bookmark_comes_after_a_quiet_minute(tmp_path: Path, mock_clock: trio.testing.MockClock) -> None:
    async with local(tmp_path) as api:
        start = api.cluster.store.revision
        got: list[dict[str, Any]] = []

        async def send(data: bytes) -> None:
            got.append(json.loads(data))

        async with trio.open_nursery() as nursery:
            reply = await api.reply("GET", CM, watch="true", resourceVersion=str(start), allowWatchBookmarks="true")
            nursery.start_soon(reply.run, send)  # type: ignore[union-attr]
            await api.create("/api/v1/namespaces", "elsewhere")
            for _ in range(3):
                mock_clock.jump(61)
                await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        # One bookmark, although three minutes went by: there was news only once.
        assert [(e["type"], e["object"]["metadata"]["resourceVersion"]) for e in got] == [("BOOKMARK", str(start + 1))]


async def test_hub_feeds_only_the_resource(tmp_path: Path) -> None:
    async with local(tmp_path) as api:
        hub = Hub(api.cluster.store)
        watcher = Watcher("configmaps", "", None)
        hub.add(watcher)
        await api.create("/api/v1/namespaces", "x")
        assert watcher.is_empty
        await api.create(CM, "c")
        await api.call("PATCH", f"{CM}/c", {"data": {"a": "b"}}, MERGE)
        assert [(await watcher.next())[0] for _ in range(2)] == ["ADDED", "MODIFIED"]
        hub.remove(watcher)
        assert hub.count == 0
