from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from mesh.sandbox.apiserver.journal import Journal, Row
from mesh.sandbox.apiserver.status import ApiError
from mesh.sandbox.apiserver.storage import Change, Key, Stale, Store

A, B = Key("pods", "default", "a"), Key("pods", "other", "b")


def obj(name: str, **more: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, **more}


@asynccontextmanager
async def opened(path: Path, keep: int = 100) -> AsyncIterator[Store]:
    journal = Journal(path, keep)
    store = Store(journal, keep)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.run)
        yield store
        nursery.cancel_scope.cancel()
    journal.close()


async def test_write_is_visible_with_its_revision_and_survives(tmp_path: Path) -> None:
    async with opened(tmp_path / "db") as store:
        first = await store.put(A, obj("a"), None)
        second = await store.put(A, obj("a", x=1), first)
        assert (first.revision, second.revision, store.revision) == (1, 2, 2)
        assert store.get(A) is second and second.obj["metadata"]["resourceVersion"] == "2"
    async with opened(tmp_path / "db") as store:
        found = store.get(A)
        assert found is not None and found.obj == obj("a", x=1) | {"metadata": {"name": "a", "resourceVersion": "2"}}
        assert (await store.put(B, obj("b"), None)).revision == 3


async def test_only_one_of_two_writers_of_a_state_wins(tmp_path: Path) -> None:
    async with opened(tmp_path / "db") as store:
        first = await store.put(A, obj("a"), None)
        await store.put(A, obj("a", x=1), first)
        for expected in (first, None):
            with pytest.raises(Stale):
                await store.put(A, obj("a", x=2), expected)
        with pytest.raises(Stale):
            await store.delete(A, obj("a"), first)


async def test_head_runs_ahead_of_what_readers_see(tmp_path: Path) -> None:
    async with opened(tmp_path / "db") as store:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.put, A, obj("a"), None)
            await trio.testing.wait_all_tasks_blocked()
            head = store.head(A)
            assert head is not None
            with pytest.raises(Stale):
                await store.put(A, obj("a"), None)
        assert store.get(A) is head


async def test_concurrent_writers_share_commits(tmp_path: Path) -> None:
    batches: list[int] = []

    class Counting(Journal):
        def commit(self, rows: Sequence[Row]) -> None:
            batches.append(len(rows))
            super().commit(rows)

    journal = Counting(tmp_path / "db", 100)
    store = Store(journal, 100)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.run)
        async with trio.open_nursery() as writers:
            for number in range(50):
                writers.start_soon(store.put, Key("pods", "default", str(number)), obj(str(number)), None)
        nursery.cancel_scope.cancel()
    journal.close()
    assert sum(batches) == 50 and len(batches) < 10
    assert store.revision == 50


async def test_failed_commit_fails_the_writers_and_falls_back(tmp_path: Path) -> None:
    class Broken(Journal):
        broken = False

        def commit(self, rows: Sequence[Row]) -> None:
            if self.broken:
                raise sqlite3.OperationalError("disk full")
            super().commit(rows)

    journal = Broken(tmp_path / "db", 100)
    store = Store(journal, 100)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.run)
        first = await store.put(A, obj("a"), None)
        journal.broken = True
        with pytest.raises(ApiError, match="disk full"):
            await store.put(A, obj("a", x=1), first)
        assert store.head(A) is first and store.get(A) is first
        journal.broken = False
        assert (await store.put(A, obj("a", x=2), first)).obj["x"] == 2
        nursery.cancel_scope.cancel()
    journal.close()


async def test_past_states_are_rebuilt_from_history(tmp_path: Path) -> None:
    async with opened(tmp_path / "db") as store:
        first = await store.put(A, obj("a"), None)
        await store.put(B, obj("b"), None)
        second = await store.put(A, obj("a", x=1), first)
        await store.delete(A, obj("a", x=1), second)

        def at(revision: int, namespace: str | None = None) -> list[tuple[str, int]]:
            return [(place[1], stored.revision) for place, stored in store.items_at("pods", revision, namespace)]

        assert [at(n) for n in range(5)] == [[], [("a", 1)], [("a", 1), ("b", 2)], [("a", 3), ("b", 2)], [("b", 2)]]
        assert at(3, "other") == [("b", 2)]


async def test_history_ends_somewhere(tmp_path: Path) -> None:
    async with opened(tmp_path / "db", keep=2) as store:
        for number in range(4):
            await store.put(Key("pods", "default", str(number)), obj(str(number)), None)
        assert [c.new.revision for c in store.changes_after(2, "pods")] == [3, 4]
        with pytest.raises(ApiError) as gone:
            store.changes_after(1, "pods")
        assert gone.value.code == 410
        with pytest.raises(ApiError) as future:
            store.changes_after(9, "pods")
        assert future.value.code == 504


async def test_listeners_hear_changes_in_order(tmp_path: Path) -> None:
    heard: list[Change] = []
    async with opened(tmp_path / "db") as store:
        store.on_change.append(heard.append)
        first = await store.put(A, obj("a"), None)
        await store.delete(A, obj("a"), first)
    assert [(c.deleted, c.new.revision, c.old and c.old.revision) for c in heard] == [(False, 1, None), (True, 2, 1)]
