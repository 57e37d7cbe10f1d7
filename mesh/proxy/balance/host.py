# cython: language_level=3
"""Host: one endpoint of one cluster, with what this proxy has seen of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mesh.model.endpoint import Endpoint, Health, Locality

if TYPE_CHECKING:
    from mesh.proxy.observe.series import Series


class Host:
    """Lives as long as its address stays in the cluster; updates change it in place, so its state survives them.

    active: requests in flight; the exchange adds one when it takes the host and subtracts one when it is done.
    ejected: put aside by outlier detection. warm_at: when slow start ends (0.0 = warm).
    The counters are what `/clusters` shows. series: the metrics' series of this host by outcome (see `observe.http`).
    """

    active: int
    added_at: float
    connect_failures: int
    consecutive_5xx: int
    consecutive_gateway: int
    consecutive_local: int
    ejected: bool
    ejected_at: float
    ejections: int
    endpoint: Endpoint
    is_outlier_clean: bool
    locality: Locality
    name: str
    priority: int
    requests_error: int
    requests_success: int
    requests_total: int
    series: dict[tuple[object, ...], Series]
    warm_at: float
    weight: int

    def __init__(self, endpoint: Endpoint, locality: Locality, priority: int, now: float) -> None:
        self.endpoint = endpoint
        self.name = str(endpoint.address)
        self.weight = max(1, endpoint.weight)
        self.locality = locality
        self.priority = priority
        self.active = 0
        self.added_at = now
        self.warm_at = 0.0
        self.ejected = False
        self.ejected_at = 0.0
        self.ejections = 0
        self.consecutive_5xx = 0
        self.consecutive_gateway = 0
        self.consecutive_local = 0
        self.is_outlier_clean = True
        self.requests_total = 0
        self.requests_success = 0
        self.requests_error = 0
        self.connect_failures = 0
        self.series = {}

    def update(self, endpoint: Endpoint, locality: Locality, priority: int) -> None:
        """Take over what a new assignment says about the same address."""
        if endpoint.workload != self.endpoint.workload:
            self.series.clear()  # another workload behind the address: other labels
        self.endpoint = endpoint
        self.weight = max(1, endpoint.weight)
        self.locality = locality
        self.priority = priority

    @property
    def is_healthy(self) -> bool:
        """May be picked: healthy by configuration and not ejected."""
        return self.endpoint.health is Health.HEALTHY and not self.ejected

    @property
    def is_draining(self) -> bool:
        """Finishes what it has; not picked even in panic."""
        return self.endpoint.health is Health.DRAINING

    def __repr__(self) -> str:
        return f"Host({self.name})"
