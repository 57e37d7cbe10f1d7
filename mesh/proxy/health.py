"""Health: whether this proxy should be sent traffic. Read by 15021 and by `/ready`."""

from __future__ import annotations

from mesh.proxy.drain import Drain


class Readiness:
    """Ready from the first complete configuration on, until a drain begins.

    A proxy that once was ready stays so without its control plane: what it has keeps working.
    """

    def __init__(self, drain: Drain) -> None:
        self._drain = drain
        self.is_configured = False

    def on_configured(self) -> None:
        """CDS and LDS have answered and everything that they refer to is there."""
        self.is_configured = True

    @property
    def is_ready(self) -> bool:
        return self.is_configured and not self._drain.is_draining
