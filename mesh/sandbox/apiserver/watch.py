"""Watches: each client's bounded queue of changes, and what it is told about them.

A watcher is fed synchronously when a change becomes durable and visible; it never makes anybody wait. One whose queue is full is
told 410 and cut off: it lists again, as a client of a real server does.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from mesh.sandbox.apiserver import status
from mesh.sandbox.apiserver.selectors import Predicate
from mesh.sandbox.apiserver.storage import Change, Store, Stored, dump

QUEUE = 4096
BOOKMARK_SECONDS = 60.0

Encode = Callable[[Stored], bytes]


class Watcher:
    """One client's view of one resource: `feed` in, `next` out."""

    def __init__(self, resource: str, namespace: str, matches: Predicate | None) -> None:
        self.resource = resource
        self._namespace = namespace
        self._matches = matches
        self._send, self._receive = trio.open_memory_channel[tuple[str, Stored]](QUEUE)
        self.overflowed = False

    def feed(self, change: Change) -> None:
        """Take a change, if it concerns this watcher."""
        event = self.judge(change)
        if event is None or self.overflowed:
            return
        try:
            self._send.send_nowait(event)
        except trio.WouldBlock:
            self.overflowed = True
            self._send.close()

    def judge(self, change: Change) -> tuple[str, Stored] | None:
        """(event type, object) for this watcher. An object that starts or stops to match is added or deleted for it."""
        if self._namespace and change.key.namespace != self._namespace:
            return None
        matched = change.old is not None and (self._matches is None or self._matches(change.old.obj))
        if change.deleted:
            return ("DELETED", change.new) if matched else None
        if self._matches is None or self._matches(change.new.obj):
            return ("MODIFIED" if matched else "ADDED", change.new)
        if matched:
            assert change.old is not None
            # The object as it matched last, at the revision at which it stopped to.
            obj = {**change.old.obj, "metadata": {**change.old.obj["metadata"], "resourceVersion": str(change.new.revision)}}
            return "DELETED", Stored(change.new.revision, dump(obj), obj)
        return None

    async def next(self) -> tuple[str, Stored]:
        """The next event. Raises: trio.EndOfChannel: the client was too slow."""
        return await self._receive.receive()

    @property
    def is_empty(self) -> bool:
        """Nothing waits: what the store has published so far was delivered."""
        return self._receive.statistics().current_buffer_used == 0


class Hub:
    """All watchers by resource."""

    def __init__(self, store: Store) -> None:
        self._watchers: dict[str, set[Watcher]] = {}
        store.on_change.append(self._publish)

    def _publish(self, change: Change) -> None:
        for watcher in self._watchers.get(change.key.resource, ()):
            watcher.feed(change)

    def add(self, watcher: Watcher) -> None:
        """Feed `watcher` from now on."""
        self._watchers.setdefault(watcher.resource, set()).add(watcher)

    def remove(self, watcher: Watcher) -> None:
        """Stop feeding it."""
        self._watchers.get(watcher.resource, set()).discard(watcher)

    @property
    def count(self) -> int:
        """Open watches."""
        return sum(map(len, self._watchers.values()))


class Feed:
    """One watch request: replays what the client missed, then follows.

    after: the client's revision, whose later changes come first; None: start with `initial()` as ADDED events.
    ends_initial: mark the end of the initial objects by an annotated bookmark (`sendInitialEvents`).
    """

    def __init__(self, store: Store, hub: Hub, watcher: Watcher, encode: Encode, bookmark: Callable[[int, dict[str, str]], bytes],
                 initial: Callable[[], list[Stored]], after: int | None, bookmarks: bool, ends_initial: bool) -> None:  # fmt: skip
        self._store, self._hub, self._watcher, self._encode, self._make_bookmark = store, hub, watcher, encode, bookmark
        self._initial, self._after = initial, after
        self._bookmarks, self._ends_initial = bookmarks, ends_initial

    async def run(self, send: Callable[[bytes], Awaitable[None]], timeout_seconds: float) -> None:
        """Write events until the time is over or the client too slow. Closes: the watcher."""
        self._hub.add(self._watcher)
        try:
            with trio.move_on_after(timeout_seconds):
                start = self._store.revision
                await self._replay(send, start)
                await self._follow(send, start)
        except status.ApiError as exc:
            await send(dump({"type": "ERROR", "object": exc.body()}) + b"\n")
        finally:
            self._hub.remove(self._watcher)

    async def _replay(self, send: Callable[[bytes], Awaitable[None]], start: int) -> None:
        # Nothing may be awaited before both lists are made: live events queue up from the same moment.
        if self._after is None:
            events = [("ADDED", stored) for stored in self._initial()]
        else:
            changes = self._store.changes_after(self._after, self._watcher.resource)
            events = [event for event in map(self._watcher.judge, changes) if event]
        for event in events:
            await send(self._event(*event))
        if self._ends_initial:
            await send(self._bookmark(start, {"k8s.io/initial-events-end": "true"}))

    async def _follow(self, send: Callable[[bytes], Awaitable[None]], sent: int) -> None:
        while True:
            event = None
            with trio.move_on_after(BOOKMARK_SECONDS if self._bookmarks else float("inf")):
                try:
                    event = await self._watcher.next()
                except trio.EndOfChannel:
                    raise status.expired("the client did not read its watch fast enough; list again") from None
            if event is not None:
                sent = event[1].revision
                await send(self._event(*event))
            elif self._watcher.is_empty and self._store.revision > sent:
                # A minute without news: tell the client how far it has seen, so that it can resume from there.
                sent = self._store.revision
                await send(self._bookmark(sent, {}))

    def _event(self, kind: str, stored: Stored) -> bytes:
        return b'{"type":"%s","object":%s}\n' % (kind.encode(), self._encode(stored))

    def _bookmark(self, revision: int, annotations: dict[str, str]) -> bytes:
        return b'{"type":"BOOKMARK","object":%s}\n' % self._make_bookmark(revision, annotations)
