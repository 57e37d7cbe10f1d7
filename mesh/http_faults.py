"""Faults of single HTTP connections that Hypercorn does not catch: one line in the log instead of a traceback.

A malformed `HTTP2-Settings` of an h2c upgrade ends the connection's task with an exception that nobody awaits. The connection
is closed, as it should be; only asyncio's account of it is meant for bugs of ours, and stays for those.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

_log = logging.getLogger(__name__)
# Who raises when a peer breaks HTTP's rules: the protocols' own libraries, and base64.
_PROTOCOLS = frozenset({"h2", "h11", "hpack", "hyperframe", "wsproto", "binascii"})


def log_in_one_line(loop: asyncio.AbstractEventLoop) -> None:
    """Make `loop` tell of faults of peers in one line; everything else as before."""
    loop.set_exception_handler(_tell)


def _tell(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    error = context.get("exception")
    faults = list(_leaves(error)) if error is not None else []
    if faults and all(type(fault).__module__.partition(".")[0] in _PROTOCOLS for fault in faults):
        _log.info("a connection was closed: %s", "; ".join(f"{type(fault).__name__}: {fault}" for fault in faults))
    else:
        loop.default_exception_handler(context)


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in _leaves(inner)]
    return [error]
