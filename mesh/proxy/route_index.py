# cython: language_level=3
"""Route index: the first matching route of a long list, without looking at every one.

The index only skips routes that cannot match, so the order of the list always decides.
"""

from __future__ import annotations

from collections.abc import Sequence

import cython

from mesh.model.match import PathKind
from mesh.proxy.head import Head

if not cython.compiled:  # when compiled, route_index.pxd cimports this name
    from mesh.proxy.compiled_route import CompiledRoute

# Below this many routes a plain walk is faster.
_INDEX_FROM = 12


class RouteIndex:
    """Theory: a route is in `exact` or `prefixes` when its path predicate can hold only for paths found there, else in
    `rest`. The candidates of a path are the routes of those buckets, each bucket in list order; of their first matches
    the one that comes first in the list wins. Case-insensitive and regex paths and the catch-all are always candidates.
    """

    _routes: tuple[CompiledRoute, ...]
    _exact: dict[bytes, list[CompiledRoute]]
    _prefixes: dict[bytes, list[CompiledRoute]]
    _rest: list[CompiledRoute]
    _lengths: list[int]

    def __init__(self, routes: Sequence[CompiledRoute]) -> None:
        self._routes = tuple(routes)
        self._exact = {}
        self._prefixes = {}
        self._rest = []
        if len(routes) >= _INDEX_FROM:
            for route in routes:
                self._file(route)
        self._lengths = sorted({len(prefix) for prefix in self._prefixes})

    def _file(self, route: CompiledRoute) -> None:
        match = route.source.match.path
        value = match.value.encode()
        if match.ignore_case or match.kind is PathKind.REGEX or route.matches_every_path:
            self._rest.append(route)
        elif match.kind is PathKind.EXACT:
            self._exact.setdefault(value, []).append(route)
        else:
            prefix = value.rstrip(b"/") if match.kind is PathKind.SEGMENT_PREFIX else value
            self._prefixes.setdefault(prefix, []).append(route)

    def find(self, head: Head) -> CompiledRoute | None:
        route: CompiledRoute
        if not self._exact and not self._prefixes:
            for route in self._routes:
                if route.matches(head):
                    return route
            return None
        path = head.path
        best = _first(self._exact.get(path), head, None)
        for length in self._lengths:
            if length > len(path):
                break
            best = _first(self._prefixes.get(path[:length]), head, best)
        return _first(self._rest, head, best)


def _first(candidates: list[CompiledRoute] | None, head: Head, best: CompiledRoute | None) -> CompiledRoute | None:
    # The first match among candidates that comes before `best`, or `best`.
    route: CompiledRoute
    if candidates:
        for route in candidates:
            if best is not None and route.order > best.order:
                return best
            if route.matches(head):
                return route
    return best
