"""The store: all objects in memory, every change durable before anybody sees it.

Two views of the same keys. *Head* includes writes that wait for the disk: a writer decides against it, so that two writers of one
object cannot both win. *Committed* is what readers and watchers see. One task moves staged writes to committed in batches, one
SQLite transaction each: concurrent writers share an fsync. If a commit fails, everything staged fails and head falls back.
"""

from __future__ import annotations

import json
import logging
import sqlite3
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

import trio

from mesh.sandbox.apiserver import status
from mesh.sandbox.apiserver.journal import Journal, Row

log = logging.getLogger("mesh.sandbox.apiserver.storage")

Obj = dict[str, Any]


class Key(NamedTuple):
    """`resource` is the storage name, such as `pods` or `deployments.apps`; `namespace` is "" for cluster-wide objects."""

    resource: str
    namespace: str
    name: str


class Stored:
    """One revision of an object: its JSON, parsed when first asked for. Never changed after it was made."""

    __slots__ = ("_obj", "data", "revision")

    def __init__(self, revision: int, data: bytes, obj: Obj | None = None) -> None:
        self.revision = revision
        self.data = data
        self._obj = obj

    @property
    def obj(self) -> Obj:
        """The parsed object. Callers copy before they change it."""
        if self._obj is None:
            self._obj = json.loads(self.data)
        return self._obj


class Change(NamedTuple):
    """What a watcher is told. `new` is the last state of a deleted object, with the revision of its deletion."""

    key: Key
    deleted: bool
    new: Stored
    old: Stored | None


class _Write:
    __slots__ = ("change", "done", "error", "row")

    def __init__(self, change: Change, row: Row) -> None:
        self.change = change
        self.row = row
        self.done = trio.Event()
        self.error: status.ApiError | None = None


class Store:
    """Concurrency: one trio thread. `run` must be running for `put` and `delete` to return."""

    def __init__(self, journal: Journal, keep: int) -> None:
        self._journal = journal
        self._history: deque[Change] = deque()
        self._keep = keep
        self._head: dict[Key, Stored] = {}
        self._committed: dict[str, dict[tuple[str, str], Stored]] = {}
        self._staged: list[_Write] = []
        self._wake = trio.Event()
        self.on_change: list[Callable[[Change], None]] = []
        self._next, self.compacted = journal.revisions()
        self.revision = self._next
        for resource, namespace, name, revision, data in journal.objects():
            stored = Stored(revision, data)
            self._head[Key(resource, namespace, name)] = stored
            self._committed.setdefault(resource, {})[namespace, name] = stored
        for row in journal.history():
            old = None if row.old_data is None else Stored(row.old_revision, row.old_data)
            self._remember(Change(Key(row.resource, row.namespace, row.name), row.deleted, Stored(row.revision, row.data), old))

    # reads

    def get(self, key: Key) -> Stored | None:
        """The committed object."""
        return self._committed.get(key.resource, {}).get((key.namespace, key.name))

    def head(self, key: Key) -> Stored | None:
        """The newest state, durable or not: what a writer must decide against."""
        return self._head.get(key)

    def head_items(self, resource: str) -> list[tuple[Key, Stored]]:
        """All of a resource as a writer must see it (allocators)."""
        return [(key, stored) for key, stored in self._head.items() if key.resource == resource]

    def items(self, resource: str, namespace: str | None = None) -> list[tuple[tuple[str, str], Stored]]:
        """Committed objects in (namespace, name) order; `namespace` None means all of them."""
        found = self._committed.get(resource, {})
        return sorted(((k, v) for k, v in found.items() if namespace is None or k[0] == namespace), key=lambda item: item[0])

    def items_at(self, resource: str, revision: int, namespace: str | None = None) -> list[tuple[tuple[str, str], Stored]]:
        """`items` as they were at `revision`: the present with history undone. Raises: ApiError 410 or 504."""
        self.check_revision(revision)
        found = dict(self._committed.get(resource, {}))
        for change in reversed(self._history):
            if change.new.revision <= revision:
                break
            if change.key.resource == resource:
                place = (change.key.namespace, change.key.name)
                if change.old is None:
                    found.pop(place, None)
                else:
                    found[place] = change.old
        return sorted(((k, v) for k, v in found.items() if namespace is None or k[0] == namespace), key=lambda item: item[0])

    def changes_after(self, revision: int, resource: str) -> list[Change]:
        """What happened to `resource` since `revision`, oldest first. Raises: ApiError 410 or 504."""
        self.check_revision(revision)
        found = []
        for change in reversed(self._history):
            if change.new.revision <= revision:
                break
            if change.key.resource == resource:
                found.append(change)
        found.reverse()
        return found

    def check_revision(self, revision: int) -> None:
        """Raises: ApiError: `revision` was compacted (410) or is yet to come (504)."""
        if revision < self.compacted:
            raise status.expired(f"too old resource version: {revision} ({self.compacted})")
        if revision > self.revision:
            raise status.future_revision(revision, self.revision)

    # writes

    async def put(self, key: Key, obj: Obj, expected: Stored | None) -> Stored:
        """Create (`expected` None) or replace; returns once durable and visible. Sets metadata.resourceVersion in `obj`, which it keeps.

        Raises: Stale: head is not `expected`; ApiError 500: the disk refused.
        """
        self._check(key, expected)
        self._next += 1
        obj["metadata"]["resourceVersion"] = str(self._next)
        stored = Stored(self._next, dump(obj), obj)
        self._head[key] = stored
        await self._stage(Change(key, False, stored, expected))
        return stored

    async def delete(self, key: Key, obj: Obj, expected: Stored) -> Stored:
        """Remove; `obj` is the last state that watchers are shown. As `put`."""
        self._check(key, expected)
        self._next += 1
        obj["metadata"]["resourceVersion"] = str(self._next)
        stored = Stored(self._next, dump(obj), obj)
        del self._head[key]
        await self._stage(Change(key, True, stored, expected))
        return stored

    def _check(self, key: Key, expected: Stored | None) -> None:
        if self._head.get(key) is not expected:
            raise Stale(key)

    async def _stage(self, change: Change) -> None:
        old = change.old
        row = Row(change.new.revision, *change.key, change.deleted, change.new.data, old.revision if old else 0, old.data if old else None)
        write = _Write(change, row)
        self._staged.append(write)
        self._wake.set()
        await write.done.wait()
        if write.error:
            raise write.error

    async def run(self) -> None:
        """Commit what is staged, for ever."""
        while True:
            await self._wake.wait()
            self._wake = trio.Event()
            batch, self._staged = self._staged, []
            if not batch:
                continue
            try:
                await trio.to_thread.run_sync(self._journal.commit, [write.row for write in batch])
            except sqlite3.Error as exc:
                log.error("cannot commit %d writes: %s", len(batch), exc)
                self._fall_back([*batch, *self._staged], exc)
                continue
            for write in batch:
                self._publish(write.change)
                write.done.set()

    def _fall_back(self, failed: list[_Write], exc: Exception) -> None:
        self._staged = []
        self._head = {Key(resource, *place): stored for resource, found in self._committed.items() for place, stored in found.items()}
        for write in failed:
            write.error = status.internal(f"storage: {exc}")
            write.done.set()

    def _publish(self, change: Change) -> None:
        found = self._committed.setdefault(change.key.resource, {})
        place = (change.key.namespace, change.key.name)
        if change.deleted:
            found.pop(place, None)
        else:
            found[place] = change.new
        self.revision = change.new.revision
        # History keeps the JSON alone: a parsed object is ten times its size and is needed only by a watch that resumes.
        old = change.old and Stored(change.old.revision, change.old.data)
        self._remember(Change(change.key, change.deleted, Stored(change.new.revision, change.new.data), old))
        for listener in self.on_change:
            listener(change)

    def _remember(self, change: Change) -> None:
        self._history.append(change)
        if len(self._history) > self._keep:
            self.compacted = self._history.popleft().new.revision


class Stale(Exception):
    """Head moved since the caller read it: read again and decide again."""

    def __init__(self, key: Key) -> None:
        super().__init__(f"{key.resource} {key.namespace}/{key.name} changed meanwhile")
        self.key = key


def dump(value: Any) -> bytes:
    """Compact JSON."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
