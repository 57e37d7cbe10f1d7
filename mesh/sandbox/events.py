"""Kubernetes Events: what happened to an object, for `kubectl describe`. Repeats are counted, not repeated."""

import logging
import secrets
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import trio

from mesh.sandbox.kubeclient import EVENTS, ApiError, Json, KubeClient, Unreachable
from mesh.sandbox.times import stamp

_log = logging.getLogger("events")
_QUEUE = 1000
_REMEMBERED = 4096


class EventRecorder:
    """Concurrency: `record` from anywhere in the trio thread; one `run` task writes."""

    def __init__(self, client: KubeClient, component: str, host: str, clock: Callable[[], float]) -> None:
        self._client, self._component, self._host, self._clock = client, component, host, clock
        self._send, self._receive = trio.open_memory_channel[Json](_QUEUE)
        self._known: OrderedDict[tuple[str, ...], tuple[str, int]] = OrderedDict()

    def record(self, obj: Json, kind: str, reason: str, message: str, *, field_path: str = "") -> None:
        """Note an Event; `kind` is Normal or Warning. More than the queue holds are dropped, with a log line."""
        meta = obj["metadata"]
        involved: dict[str, Any] = {
            "apiVersion": obj["apiVersion"],
            "kind": obj["kind"],
            "name": meta["name"],
            "uid": meta.get("uid", ""),
        }
        if meta.get("namespace"):
            involved["namespace"] = meta["namespace"]
        if field_path:
            involved["fieldPath"] = field_path
        entry = {"involved": involved, "type": kind, "reason": reason, "message": message[:1024], "at": self._clock()}
        try:
            self._send.send_nowait(entry)
        except trio.WouldBlock:
            _log.warning("too many events at once; dropped %s of %s: %s", reason, meta["name"], message)

    async def run(self) -> None:
        """Write Events until cancelled."""
        async for entry in self._receive:
            try:
                await self._write(entry)
            except (ApiError, Unreachable) as exc:
                _log.info("event %s of %s not written: %s", entry["reason"], entry["involved"]["name"], exc)

    async def _write(self, entry: Json) -> None:
        involved = entry["involved"]
        namespace = involved.get("namespace") or "default"
        key = (involved["uid"], involved.get("fieldPath", ""), entry["type"], entry["reason"], entry["message"])
        when = stamp(entry["at"])
        if key in self._known:
            name, count = self._known[key]
            self._known[key] = (name, count + 1)
            self._known.move_to_end(key)
            try:
                await self._client.patch(EVENTS, namespace, name, {"count": count + 1, "lastTimestamp": when})
                return
            except ApiError as exc:
                if exc.code != 404:  # 404: the old one has been removed; begin again
                    raise
        name = f"{involved['name']}.{secrets.token_hex(8)}"
        body = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": namespace},
            "involvedObject": involved,
            "type": entry["type"],
            "reason": entry["reason"],
            "message": entry["message"],
            "count": 1,
            "firstTimestamp": when,
            "lastTimestamp": when,
            "source": {"component": self._component, **({"host": self._host} if self._host else {})},
            "reportingComponent": self._component,
            "reportingInstance": self._host,
        }
        await self._client.create(EVENTS, namespace, body)
        self._known[key] = (name, 1)
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
