"""A local copy of all objects of one kind, kept true by list and watch, with a callback per change.

    connecting → listed → watching: an event changes the copy
    watching   → connecting: the stream ended or broke: watch again from the last version seen
    watching   → relist: 410 Gone: the difference to the copy is delivered as ordinary changes
"""

import logging
from collections import deque
from collections.abc import Callable, Iterator

import trio

from mesh.sandbox.kubeclient import ApiError, Json, KubeClient, Resource, Unreachable

_log = logging.getLogger("informer")
_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 2.0

Key = tuple[str, str]
OnChange = Callable[[Json | None, Json | None], None]
"""(old, new): old is None when added, new is None when deleted."""


def key_of(item: Json) -> Key:
    """(namespace, name); the namespace is "" for what has none."""
    meta = item["metadata"]
    return meta.get("namespace", ""), meta["name"]


class Informer:
    """Concurrency: one `run` task; anybody may read. Objects handed out must not be changed.

    Args: namespace: "" = all. query: selectors, which list and watch are sent with.
    """

    def __init__(self, client: KubeClient, resource: Resource, namespace: str = "", **query: str) -> None:
        self.resource = resource
        self.namespace = namespace
        self.synced = trio.Event()
        self._client = client
        self._query = query
        self._items: dict[Key, Json] = {}
        self._callbacks: list[OnChange] = []
        self._version = ""
        self._gone: deque[str] = deque(maxlen=4096)

    def subscribe(self, callback: OnChange) -> None:
        """Call `callback` on each later change, and now for what is already there."""
        self._callbacks.append(callback)
        for item in list(self._items.values()):
            callback(None, item)

    def get(self, namespace: str, name: str) -> Json | None:
        return self._items.get((namespace, name))

    def all(self, namespace: str | None = None) -> Iterator[Json]:
        """Every object, or those of one namespace."""
        for (where, _), item in list(self._items.items()):
            if namespace is None or where == namespace:
                yield item

    def put(self, item: Json) -> None:
        """Take the answer to one of our own writes at once, so that a decision never rests on a copy older than our last write."""
        key, meta = key_of(item), item["metadata"]
        known = self._items.get(key)
        if meta["uid"] in self._gone:
            return
        if known is not None and int(known["metadata"]["resourceVersion"]) >= int(meta["resourceVersion"]):
            return
        self._apply(key, item)

    async def run(self) -> None:
        """List and watch until cancelled."""
        pause = _FIRST_PAUSE_SECONDS
        while True:
            try:
                if not self._version:
                    await self._list()
                await self._watch()
                pause = _FIRST_PAUSE_SECONDS
            except ApiError as exc:
                if exc.code != 410:
                    _log.warning("%s: %s", self.resource.plural, exc)
                self._version = ""
                if exc.code == 410:
                    continue
            except Unreachable as exc:
                _log.debug("%s", exc)
            await trio.sleep(pause)  # a server that is away: the only thing to wait for is time
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)

    async def _list(self) -> None:
        answer = await self._client.list(self.resource, self.namespace, **self._query)
        fresh = {}
        for item in answer["items"]:
            item.setdefault("kind", self.resource.kind)  # lists leave both out of their items
            item.setdefault("apiVersion", self.resource.api_version)
            fresh[key_of(item)] = item
        for key in [key for key in self._items if key not in fresh]:
            self._apply(key, None)
        for key, item in fresh.items():
            self._apply(key, item)
        self._version = answer["metadata"]["resourceVersion"]
        self.synced.set()

    async def _watch(self) -> None:
        async with self._client.watch(self.resource, self._version, self.namespace, **self._query) as events:
            async for event in events:
                item = event["object"]
                if event["type"] == "ERROR":
                    raise ApiError(item.get("code", 500), item.get("reason", ""), item.get("message", ""))
                self._version = item["metadata"]["resourceVersion"]
                if event["type"] != "BOOKMARK":
                    self._apply(key_of(item), None if event["type"] == "DELETED" else item)

    def _apply(self, key: Key, new: Json | None) -> None:
        old = self._items.get(key)
        if old is not None and new is not None and _same(old, new):
            return
        if new is not None and new["metadata"].get("uid") in self._gone:
            return  # an event of before a deletion that we have seen already
        if old is not None and new is not None and old["metadata"].get("uid") != new["metadata"].get("uid"):
            self._apply(key, None)  # deleted and made again while we were not looking
            old = None
        if new is None:
            if (gone := self._items.pop(key, None)) is None:
                return
            self._gone.append(gone["metadata"].get("uid", ""))
        else:
            self._items[key] = new
        for callback in self._callbacks:
            callback(old, new)


def _same(old: Json, new: Json) -> bool:
    return bool(old["metadata"].get("resourceVersion") == new["metadata"].get("resourceVersion"))
