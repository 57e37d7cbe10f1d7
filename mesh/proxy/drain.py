"""Drain: how a proxy leaves. One state, read by whoever has to behave differently.

*serving* -> (SIGTERM) *draining*: not ready any more, inbound answers say `connection: close`, everything is still
accepted, because endpoints lag behind -> (minimum over) *closing*: inbound listeners are shut -> (no inbound connection
left, or the time is over) *over*. Outbound connections of the application are served until the end.
"""

from __future__ import annotations

import trio


class Drain:
    """Attributes: is_draining: from SIGTERM on. inbound, outbound: connections that a drain waits for.

    spares_outbound: a sidecar's outbound clients are its own application, which leaves by itself; a gateway's are
    everybody else, who have to be told. seconds: how long what is to go may take; Istio's 45.
    """

    def __init__(self) -> None:
        self.is_draining = False
        self.spares_outbound = True
        self.seconds = 45.0
        self.inbound = 0
        self.outbound = 0
        self._begun = trio.Event()
        self._changed = trio.Event()

    def begin(self) -> None:
        """Idempotent."""
        self.is_draining = True
        self._begun.set()

    def concerns(self, is_outbound: bool) -> bool:
        """Are clients of this direction sent away?"""
        return not (is_outbound and self.spares_outbound)

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
