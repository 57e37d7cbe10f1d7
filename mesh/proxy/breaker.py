# cython: language_level=3
"""Circuit breaker: how much a cluster may have in flight (Envoy `CircuitBreakers`, default priority).

Counters and limits only: the exchange asks before it starts something and tells when that is over. What does not fit is
answered 503 with the flag UO and `x-envoy-overloaded: true`. Retries are limited by the budget when there is one, else by
`max_retries`; both are shared by all requests to the cluster.
"""

from __future__ import annotations

from mesh.model.cluster import CircuitBreaker
from mesh.model.failure import Failure, Flag, Side

OVERFLOW = Failure(Flag.UPSTREAM_OVERFLOW, Side.LOCAL, 503, "upstream_overflow")

# Retries a cluster may always have in flight when its configuration sets no limit of its own. DESIGN 4: a retry is
# always inside a budget, so that a failing cluster is not loaded with a multiple of its normal traffic.
_DEFAULT_BUDGET_PERCENT = 20.0
_DEFAULT_BUDGET_MIN = 3
_UNLIMITED = (1 << 32) - 1


class Breaker:
    """One per cluster; it outlives configuration updates through `configure`. Belongs to the trio thread.

    Every `try_…` that answers True is paired with one `end_…`.
    The counters `overflow_*` and `retries_total` only grow; they feed the metrics.
    """

    _budget_min: int
    _budget_share: float
    _max_connections: int
    _max_pending: int
    _max_requests: int
    _max_retries: int
    connections: int
    overflow_connections: int
    overflow_pending: int
    overflow_requests: int
    overflow_retries: int
    pending: int
    requests: int
    retries: int
    retries_total: int

    def __init__(self, limits: CircuitBreaker) -> None:
        self.connections = self.pending = self.requests = self.retries = 0
        self.overflow_connections = self.overflow_pending = self.overflow_requests = self.overflow_retries = 0
        self.retries_total = 0
        self.configure(limits)

    def configure(self, limits: CircuitBreaker) -> None:
        """New limits; what is in flight stays counted."""
        self._max_connections = limits.max_connections
        self._max_pending = limits.max_pending_requests
        self._max_requests = limits.max_requests
        self._max_retries = limits.max_retries
        self._budget_share, self._budget_min = -1.0, 0
        if limits.retry_budget is not None:
            self._budget_share = limits.retry_budget.percent / 100.0
            self._budget_min = limits.retry_budget.min_concurrency
        elif limits.max_retries >= _UNLIMITED:
            self._budget_share, self._budget_min = _DEFAULT_BUDGET_PERCENT / 100.0, _DEFAULT_BUDGET_MIN

    def try_request(self) -> bool:
        if self.requests >= self._max_requests:
            self.overflow_requests += 1
            return False
        self.requests += 1
        return True

    def end_request(self) -> None:
        self.requests -= 1

    def try_pending(self) -> bool:
        """A request waits for a connection (for one to be made, or for one to come free)."""
        if self.pending >= self._max_pending:
            self.overflow_pending += 1
            return False
        self.pending += 1
        return True

    def end_pending(self) -> None:
        self.pending -= 1

    def try_connection(self) -> bool:
        if self.connections >= self._max_connections:
            self.overflow_connections += 1
            return False
        self.connections += 1
        return True

    def end_connection(self) -> None:
        self.connections -= 1

    def try_retry(self) -> bool:
        if self.retries >= self.retry_limit():
            self.overflow_retries += 1
            return False
        self.retries += 1
        self.retries_total += 1
        return True

    def end_retry(self) -> None:
        self.retries -= 1

    def retry_limit(self) -> int:
        """Retries that may be in flight now. Envoy: max(min_concurrency, percent of active and pending requests)."""
        if self._budget_share < 0:
            return self._max_retries
        return max(self._budget_min, int((self.requests + self.pending) * self._budget_share))
