"""Superseded: which open connections a new configuration leaves behind.

A connection keeps the filter chain that it began with. When that chain is changed or gone, the connection drains: an HTTP/1 answer
says `connection: close`, and after the drain time what is idle, opaque or upgraded is cut. Connections of chains that
stay as they are notice nothing, and routes named by their configuration (RDS) are always the newest.
Source: Envoy, "Listener drain" and "Filter chain only update": a listener that changed in anything else drains as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from mesh.model.listener import FilterChain, Listener


def is_superseded(before: Listener, chain: FilterChain | None, now: Listener | None) -> bool:
    """Is the chain of that listener not served any more? chain None: it is not known yet which."""
    if now is None:
        return True
    if now is before:
        return False
    if chain is None or _frame(before) != _frame(now):
        return before != now
    return chain not in now.chains and chain != now.default_chain


def judge(listeners: Mapping[str, Listener]) -> Callable[[Listener, FilterChain | None], bool]:
    """`is_superseded` by these listeners, for many connections: every chain is compared once."""
    verdicts: dict[tuple[int, int], bool] = {}

    def judged(before: Listener, chain: FilterChain | None) -> bool:
        key = id(before), id(chain)
        verdict = verdicts.get(key)
        if verdict is None:
            verdict = verdicts[key] = is_superseded(before, chain, listeners.get(before.name))
        return verdict

    return judged


def _frame(listener: Listener) -> Listener:
    return replace(listener, chains=(), default_chain=None)
