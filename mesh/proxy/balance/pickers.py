"""Pickers: choose one host of one list. least_request, round_robin, random; ring_hash and maglev have their own files.

A picker is made anew when its list of hosts (or their weights) changes; what must survive lives in the hosts.
`pick` never returns an excluded host while another one is left: retries depend on it.
"""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections.abc import Callable, Collection, Sequence
from itertools import accumulate
from typing import Protocol

from mesh.proxy.balance.host import Host

Rng = Callable[[], float]
"""Uniform in [0, 1): `random.random`, or a seeded one in tests."""


class Picker(Protocol):
    def pick(self, rng: Rng, hash_value: int | None, exclude: Collection[Host]) -> Host | None:
        """None only when the list is empty. When every host is excluded, the exclusion is dropped."""
        ...


def remaining(hosts: Sequence[Host], exclude: Collection[Host]) -> Sequence[Host]:
    """The hosts that are not excluded, or all when that leaves none."""
    return [host for host in hosts if host not in exclude] or hosts


class WeightedDraw:
    """Draws an index in proportion to fixed weights; a plain multiplication when they are equal."""

    __slots__ = ("_bounds", "_count", "_total")

    def __init__(self, weights: Sequence[float]) -> None:
        self._count = len(weights)
        is_uniform = len(set(weights)) <= 1
        self._bounds = [] if is_uniform else list(accumulate(weights))
        self._total = 0.0 if is_uniform else self._bounds[-1]

    def draw(self, rng: Rng) -> int:
        if not self._bounds:
            return int(rng() * self._count)
        return min(bisect_right(self._bounds, rng() * self._total), self._count - 1)


class RandomPicker:
    """Weighted random."""

    __slots__ = ("_draw", "_hosts")

    def __init__(self, hosts: Sequence[Host], weights: Sequence[float]) -> None:
        self._hosts = tuple(hosts)
        self._draw = WeightedDraw(weights)

    def pick(self, rng: Rng, hash_value: int | None, exclude: Collection[Host]) -> Host | None:
        if not self._hosts:
            return None
        if exclude:
            left = remaining(self._hosts, exclude)
            return left[WeightedDraw([host.weight for host in left]).draw(rng)]
        return self._hosts[self._draw.draw(rng)]


class LeastRequestPicker:
    """Power of `choices` random choices: the one with the fewest active requests per weight (Mitzenmacher 2001).

    Without weights two distinct hosts are drawn uniformly; with weights they are drawn in proportion to them.
    """

    __slots__ = ("_choices", "_draw", "_hosts", "_is_plain")

    def __init__(self, hosts: Sequence[Host], weights: Sequence[float], choices: int) -> None:
        self._hosts = tuple(hosts)
        self._draw = WeightedDraw(weights)
        self._choices = max(2, choices)
        self._is_plain = self._choices == 2 and len(set(weights)) <= 1

    def pick(self, rng: Rng, hash_value: int | None, exclude: Collection[Host]) -> Host | None:
        hosts = self._hosts
        count = len(hosts)
        if count < 2:
            return hosts[0] if count else None
        if exclude:
            return _least(remaining(hosts, exclude), self._choices, rng)
        if not self._is_plain:
            return min((hosts[self._draw.draw(rng)] for _ in range(self._choices)), key=_load)
        first = int(rng() * count)
        second = int(rng() * (count - 1))
        if second >= first:
            second += 1
        one, other = hosts[first], hosts[second]
        return one if one.active <= other.active else other


def _load(host: Host) -> float:
    # Idle hosts are equal: then the first drawn wins, and the draw has the weights in it already.
    return host.active / host.weight


def _least(hosts: Sequence[Host], choices: int, rng: Rng) -> Host:
    draw = WeightedDraw([host.weight for host in hosts])
    return min((hosts[draw.draw(rng)] for _ in range(choices)), key=_load)


class RoundRobinPicker:
    """In turn; with weights by earliest deadline first, so that a heavy host's turns are spread out evenly."""

    __slots__ = ("_heap", "_hosts", "_next", "_weights")

    def __init__(self, hosts: Sequence[Host], weights: Sequence[float]) -> None:
        self._hosts = tuple(hosts)
        self._weights = tuple(weights)
        self._next = -1
        self._heap: list[tuple[float, int]] = []
        if len(set(weights)) > 1:
            self._heap = [(1.0 / weight, index) for index, weight in enumerate(weights)]
            heapq.heapify(self._heap)

    def _start(self, rng: Rng) -> None:
        # Every proxy starts elsewhere: a fleet that gets one update must not send its next requests to one host.
        self._next = int(rng() * len(self._hosts))
        if self._heap:
            for _ in range(self._next):
                self._turn()

    def pick(self, rng: Rng, hash_value: int | None, exclude: Collection[Host]) -> Host | None:
        if not self._hosts:
            return None
        if self._next < 0:
            self._start(rng)
        host = self._turn()
        if exclude and host in exclude:
            # Skipped turns are lost, as in Envoy; with n hosts n turns of equal weight see every one.
            for _ in range(len(self._hosts)):
                host = self._turn()
                if host not in exclude:
                    return host
            return remaining(self._hosts, exclude)[0]
        return host

    def _turn(self) -> Host:
        if not self._heap:
            index = self._next
            self._next = index + 1 if index + 1 < len(self._hosts) else 0
            return self._hosts[index]
        deadline, index = self._heap[0]
        heapq.heapreplace(self._heap, (deadline + 1.0 / self._weights[index], index))
        return self._hosts[index]
