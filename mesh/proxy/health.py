"""Health: whether this proxy should be sent traffic, and if not, why. Read by 15021 and by `/ready`."""

from __future__ import annotations

import trio

from mesh.proxy.drain import Drain


class Readiness:
    """Ready from the first complete configuration on, until a drain begins.

    A proxy that once was ready stays so without its control plane: what it has keeps working.
    """

    def __init__(self, drain: Drain) -> None:
        self._drain = drain
        self._configured = trio.Event()
        self._waiting_for = "no configuration was received yet"

    def on_configured(self) -> None:
        """CDS and LDS have answered and everything that they refer to is there."""
        self._configured.set()

    def on_waiting(self, reason: str) -> None:
        """Not complete yet: what is missing, for whoever asks."""
        self._waiting_for = reason

    @property
    def reason(self) -> str:
        """Why not ready; "" when ready."""
        if self._drain.is_draining:
            return "draining"
        return "" if self._configured.is_set() else self._waiting_for

    @property
    def is_configured(self) -> bool:
        return self._configured.is_set()

    @property
    def is_ready(self) -> bool:
        return not self.reason

    async def wait_configured(self) -> None:
        await self._configured.wait()
