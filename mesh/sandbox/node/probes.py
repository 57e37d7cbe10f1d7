"""When a probe's verdict turns. Pure; `probing` makes the probes.

    unknown/failing → `successThreshold` good results in a row → passing
    passing         → `failureThreshold` bad results in a row  → failing
Source: Kubernetes API reference v1.Probe.
"""

from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ProbeSpec:
    """Times in seconds."""

    action: Json
    initial_delay: float
    period: float
    timeout: float
    success_threshold: int
    failure_threshold: int
    grace: int | None


def parse_probe(probe: Json) -> ProbeSpec:
    """A probe with the API's defaults filled in."""
    return ProbeSpec(
        action={key: probe[key] for key in ("exec", "httpGet", "tcpSocket", "grpc") if key in probe},
        initial_delay=float(probe.get("initialDelaySeconds") or 0),
        period=float(probe.get("periodSeconds") or 10),
        timeout=float(probe.get("timeoutSeconds") or 1),
        success_threshold=int(probe.get("successThreshold") or 1),
        failure_threshold=int(probe.get("failureThreshold") or 3),
        grace=probe.get("terminationGracePeriodSeconds"),
    )


class Verdict:
    """Counts results in a row."""

    def __init__(self, spec: ProbeSpec, *, passing: bool) -> None:
        self._spec = spec
        self._run = 0
        self._last: bool | None = None
        self.passing = passing
        self.failed = False

    def add(self, good: bool) -> bool:
        """Take one result; returns whether the verdict turned (or, when failing from the start, was reached)."""
        self._run = self._run + 1 if good == self._last else 1
        self._last = good
        if good and self._run >= self._spec.success_threshold:
            turned = not self.passing
            self.passing, self.failed = True, False
            return turned
        if not good and self._run >= self._spec.failure_threshold:
            turned = not self.failed
            self.passing, self.failed = False, True
            return turned
        return False


def resolve_port(port: int | str, container: Json) -> int:
    """A probe's port by number or by the name of a container port.

    Raises: ValueError: the container has no port of that name.
    """
    if isinstance(port, int):
        return port
    for item in container.get("ports") or ():
        if item.get("name") == port:
            return int(item["containerPort"])
    if port.isdigit():
        return int(port)
    raise ValueError(f"couldn't find port: {port!r} of container {container['name']}")
