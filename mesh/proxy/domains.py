"""Domains: a request's Host to whom it belongs, in Envoy's order.

Exact names go first, then the longest matching `*.suffix`, the longest matching `prefix.*`, and `*`. Letter case does not
count; a port is part of the name unless the table ignores ports. Source: Envoy `VirtualHost.domains`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from mesh.proxy.match import CompileError
from mesh.proxy.rewrite import without_port

T = TypeVar("T")

# Distinct Host values remembered; a client that sends ever new ones only makes its own lookups slower.
_MAX_CACHED = 1024


class DomainTable(Generic[T]):
    """Raises CompileError, beginning with `field`, when a domain belongs to two owners."""

    __slots__ = ("_cache", "_catch_all", "_exact", "_ignore_port", "_prefixes", "_suffixes")

    def __init__(self, domains: Iterable[tuple[str, T]], ignore_port: bool, field: str) -> None:
        exact: dict[bytes, T] = {}
        suffixes: dict[bytes, T] = {}
        prefixes: dict[bytes, T] = {}
        catch_all: dict[bytes, T] = {}
        for domain, owner in domains:
            key = domain.lower().encode()
            if key == b"*":
                table = catch_all
            elif key.startswith(b"*"):
                table, key = suffixes, key[1:]
            elif key.endswith(b"*"):
                table, key = prefixes, key[:-1]
            else:
                table = exact
            if table.setdefault(key, owner) is not owner:
                raise CompileError(f"{field}: the domain {domain} is in two virtual hosts")
        self._exact = exact
        # Longest first: the first hit is the most specific.
        self._suffixes = tuple(sorted(suffixes.items(), key=lambda item: -len(item[0])))
        self._prefixes = tuple(sorted(prefixes.items(), key=lambda item: -len(item[0])))
        self._catch_all: T | None = catch_all.get(b"*")
        self._ignore_port = ignore_port
        self._cache: dict[bytes, T] = {}

    def find(self, authority: bytes) -> T | None:
        """The owner of a Host header's value; None when nobody claims it."""
        found = self._cache.get(authority)
        if found is None:
            found = self._resolve(authority)
            if found is not None:
                if len(self._cache) >= _MAX_CACHED:
                    self._cache.clear()
                self._cache[authority] = found
        return found

    def _resolve(self, authority: bytes) -> T | None:
        name = authority.lower()
        if self._ignore_port:
            name = without_port(name)
        for found in (
            self._exact.get(name),
            _longest(self._suffixes, name, bytes.endswith),
            _longest(self._prefixes, name, bytes.startswith),
        ):
            if found is not None:
                return found
        return self._catch_all


def _longest(table: tuple[tuple[bytes, T], ...], name: bytes, holds: Callable[[bytes, bytes], bool]) -> T | None:
    # Envoy: a wildcard stands for at least one character.
    return next((owner for part, owner in table if len(name) > len(part) and holds(name, part)), None)
