"""Filters: what a route asks for before its request is forwarded, in the chain's order (CORS, then fault)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from mesh.proxy.faults import Draw
from mesh.proxy.head import Head
from mesh.proxy.reply import LocalReply

if TYPE_CHECKING:
    from mesh.proxy.compiled_route import CompiledRoute


def before_forward(route: CompiledRoute, head: Head, rng: Callable[[], float]) -> LocalReply | Draw | None:
    """What stands between a matched request and its upstream.

    Returns: a LocalReply to send at once; a Draw (wait, then perhaps abort); None, nearly always: go on.
    Call it only when `route.has_filters`, which spares the plain request the call.
    """
    if route.cors is not None:
        reply = route.cors.preflight(head)
        if reply is not None:
            return reply
    if route.fault is not None:
        return route.fault.draw(rng)
    return None
