"""Health: whether this proxy should be sent traffic. Read by 15021 and by `/ready`."""

from __future__ import annotations

from mesh.proxy.drain import Drain


class Readiness:
    """Ready from the first complete configuration on (and the first certificate, where there is to be one), until a drain begins.

    A proxy that once was ready stays so without its control plane: what it has keeps working.
    """

    def __init__(self, drain: Drain, needs_identity: bool = False) -> None:
        self._drain = drain
        self.is_configured = False
        self.has_identity = not needs_identity

    def on_configured(self) -> None:
        """CDS and LDS have answered and everything that they refer to is there."""
        self.is_configured = True

    def on_identity(self) -> None:
        """There is a certificate. That it runs out later is said in the log and the metrics: traffic in plaintext goes on."""
        self.has_identity = True

    @property
    def is_ready(self) -> bool:
        return not self.lacks and not self._drain.is_draining

    @property
    def lacks(self) -> str:
        """What is still to come, for people; "" = nothing."""
        missing = (
            *(() if self.is_configured else ("complete configuration",)),
            *(() if self.has_identity else ("certificate",)),
        )
        return " and ".join(missing)
