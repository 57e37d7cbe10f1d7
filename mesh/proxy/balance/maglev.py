"""Maglev: consistent hashing by a lookup table that every proxy builds alike.

Source: Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer" (NSDI 2016), 3.4; offsets, skips
and weights as in Envoy's `maglev` balancer.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection, Sequence

from mesh.proxy.balance.host import Host
from mesh.proxy.balance.pickers import Rng, remaining
from mesh.proxy.balance.xxhash64 import xxh64

_EMPTY = 0xFFFFFFFF


class MaglevPicker:
    """The table is built at the first pick (13 to 30 ms for the default size), not on every update."""

    __slots__ = ("_hosts", "_size", "_table", "_weights")

    def __init__(self, hosts: Sequence[Host], weights: Sequence[float], size: int) -> None:
        self._hosts = tuple(hosts)
        self._weights = tuple(weights)
        self._size = size
        self._table: array[int] | None = None

    def pick(self, rng: Rng, hash_value: int | None, exclude: Collection[Host]) -> Host | None:
        if len(self._hosts) < 2:
            return self._hosts[0] if self._hosts else None
        if self._table is None:
            self._table = build_table([host.name.encode() for host in self._hosts], self._weights, self._size)
        if hash_value is None:
            hash_value = int(rng() * (1 << 64))
        owner = self._hosts[self._table[hash_value % self._size]]
        if exclude and owner in exclude:
            # Another stable choice among the rest: the same key retries on the same second host.
            left = remaining(self._hosts, exclude)
            return left[xxh64(b"%d" % hash_value, 1) % len(left)]
        return owner


def build_table(keys: Sequence[bytes], weights: Sequence[float], size: int) -> array[int]:
    """size: a prime, at least the number of keys. Entry = index into keys."""
    hashed = [(xxh64(key) % size, xxh64(key, 1) % (size - 1) + 1) for key in keys]
    # Permutations are walked lazily: position = (offset + skip x n) mod size.
    positions = [offset for offset, _ in hashed]
    skips = [skip for _, skip in hashed]
    table = array("I", [_EMPTY]) * size
    heaviest = max(weights)
    targets = [0.0] * len(keys)
    is_weighted = len(set(weights)) > 1
    filled, iteration = 0, 1
    while True:
        for index in range(len(keys)):
            if is_weighted:
                # A host takes a turn only when its share of the turns so far has fallen behind.
                if iteration * weights[index] < targets[index]:
                    continue
                targets[index] += heaviest
            position, skip = positions[index], skips[index]
            while table[position] != _EMPTY:
                position += skip
                if position >= size:
                    position -= size
            table[position] = index
            position += skip
            positions[index] = position - size if position >= size else position
            filled += 1
            if filled == size:
                return table
        iteration += 1
