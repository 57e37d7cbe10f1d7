"""Ring hash: consistent hashing on a ketama ring, point for point Envoy's.

Source: Envoy `ring_hash` load balancer: each host gets points `xxh64("<address>_<i>")` in proportion to its weight.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Collection, Sequence

from mesh.proxy.balance.host import Host
from mesh.proxy.balance.pickers import Rng
from mesh.proxy.balance.xxhash64 import xxh64


class RingHashPicker:
    """The ring is built at the first pick: an idle cluster costs nothing."""

    __slots__ = ("_hosts", "_max_size", "_min_size", "_owners", "_points", "_weights")

    def __init__(self, hosts: Sequence[Host], weights: Sequence[float], min_size: int, max_size: int) -> None:
        self._hosts = tuple(hosts)
        self._weights = tuple(weights)
        self._min_size, self._max_size = min_size, max_size
        self._points: list[int] = []
        self._owners: list[Host] = []

    def pick(self, rng: Rng, hash_value: int | None, exclude: Collection[Host]) -> Host | None:
        if len(self._hosts) < 2:
            return self._hosts[0] if self._hosts else None
        if not self._points:
            self._build()
        if hash_value is None:
            hash_value = int(rng() * (1 << 64))
        size = len(self._points)
        start = bisect_left(self._points, hash_value) % size
        owner = self._owners[start]
        if not exclude or owner not in exclude:
            return owner
        for step in range(1, size):
            other = self._owners[(start + step) % size]
            if other not in exclude:
                return other
        return owner

    def _build(self) -> None:
        total = sum(self._weights)
        shares = [weight / total for weight in self._weights]
        smallest = min(shares)
        # The lightest host gets a whole number of points, and the ring at least min_size of them.
        scale = min(math.ceil(smallest * self._min_size) / smallest, float(self._max_size))
        points: list[tuple[int, int]] = []
        current = target = 0.0
        for index, (host, share) in enumerate(zip(self._hosts, shares, strict=True)):
            target += scale * share
            replica = 0
            while current < target:
                points.append((xxh64(b"%b_%d" % (host.name.encode(), replica)), index))
                replica += 1
                current += 1
        points.sort()
        self._points = [point for point, _ in points]
        self._owners = [self._hosts[index] for _, index in points]
