"""Drain: how a proxy leaves. One state, read by whoever has to behave differently.

*serving* -> (SIGTERM) *draining*: not ready any more, inbound answers say `connection: close`, everything is still
accepted, because endpoints lag behind -> (minimum over) *closing*: inbound listeners are shut -> (no inbound connection
left, or the time is over) *over*. Outbound connections of the application are served until the end.
"""

from __future__ import annotations

import trio


class Drain:
    """Attributes: is_draining: from SIGTERM on. inbound: connections that a drain waits for."""

    def __init__(self) -> None:
        self.is_draining = False
        self.inbound = 0
        self.outbound = 0
        self._begun = trio.Event()
        self._changed = trio.Event()

    def begin(self) -> None:
        """Idempotent."""
        self.is_draining = True
        self._begun.set()

    async def wait_begun(self) -> None:
        await self._begun.wait()

    def opened(self, is_outbound: bool) -> None:
        if is_outbound:
            self.outbound += 1
        else:
            self.inbound += 1

    def closed(self, is_outbound: bool) -> None:
        if is_outbound:
            self.outbound -= 1
        else:
            self.inbound -= 1
        if not self.inbound and not self.outbound:
            self._changed.set()

    async def wait_idle(self) -> None:
        """Until no connection is left."""
        while self.inbound or self.outbound:
            self._changed = trio.Event()
            await self._changed.wait()
