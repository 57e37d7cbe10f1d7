"""Reconcile keys one after the other: a key that changes while it is being reconciled is reconciled once more."""

import logging
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import trio

from mesh.sandbox.kubeclient import ApiError, Unreachable

_Key = TypeVar("_Key")
_log = logging.getLogger("controllers")
_FIRST_PAUSE_SECONDS = 0.02
_LONGEST_PAUSE_SECONDS = 10.0


class Queue(Generic[_Key]):
    """Concurrency: `add` from anywhere in the trio thread; `run` starts `workers` tasks; one key is never in two of them."""

    def __init__(self, name: str, reconcile: Callable[[_Key], Awaitable[float | None]], workers: int = 2) -> None:
        self._name, self._reconcile, self._workers = name, reconcile, workers
        self._waiting: dict[_Key, None] = {}
        self._busy: set[_Key] = set()
        self._failures: dict[_Key, int] = {}
        self._timers: dict[_Key, trio.CancelScope] = {}
        self._wake = trio.Event()
        self._nursery: trio.Nursery | None = None

    def add(self, key: _Key) -> None:
        """Reconcile `key` soon."""
        self._waiting[key] = None
        self._wake.set()

    def add_after(self, key: _Key, seconds: float) -> None:
        """Reconcile `key` after `seconds`, unless it is before; a later call replaces the time."""
        if (timer := self._timers.pop(key, None)) is not None:
            timer.cancel()
        assert self._nursery is not None
        self._nursery.start_soon(self._later, key, seconds)

    async def run(self) -> None:
        """Work until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            for _ in range(self._workers):
                nursery.start_soon(self._work)

    async def _work(self) -> None:
        while True:
            key = next((key for key in self._waiting if key not in self._busy), None)
            if key is None:
                self._wake = trio.Event() if self._wake.is_set() else self._wake
                await self._wake.wait()
                continue
            del self._waiting[key]
            self._busy.add(key)
            try:
                await self._one(key)
            finally:
                self._busy.discard(key)
                self._wake.set()

    async def _one(self, key: _Key) -> None:
        try:
            again = await self._reconcile(key)
        except (ApiError, Unreachable) as exc:
            count = self._failures[key] = self._failures.get(key, 0) + 1
            pause = min(_FIRST_PAUSE_SECONDS * 2 ** (count - 1), _LONGEST_PAUSE_SECONDS)
            level = logging.DEBUG if isinstance(exc, ApiError) and exc.code == 409 else logging.WARNING
            _log.log(level, "%s %s: %s (again in %.2f s)", self._name, key, exc, pause)
            self.add_after(key, pause)
            return
        except Exception:  # the boundary of one object: the others go on
            _log.exception("%s %s", self._name, key)
            self.add_after(key, _LONGEST_PAUSE_SECONDS)
            return
        self._failures.pop(key, None)
        if again is not None:
            self.add_after(key, again)

    async def _later(self, key: _Key, seconds: float) -> None:
        with trio.CancelScope() as scope:
            self._timers[key] = scope
            await trio.sleep(seconds)
        if not scope.cancelled_caught:
            if self._timers.get(key) is scope:
                del self._timers[key]
            self.add(key)
