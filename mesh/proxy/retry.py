"""Retry: whether, and after what pause, a failed attempt is repeated (Envoy `RetryPolicy`, safe by default).

Rules, the first that applies wins:
1. Nothing is repeated without a policy, beyond its attempts, outside the cluster's budget, or once a byte of the
   response has gone downstream (the caller does not ask then).
2. A failure after which the request surely was not processed is repeated for any method, when the policy names a
   condition about connections at all (connect-failure, refused-stream, reset…, 5xx, gateway-error).
3. A request that may have been processed is repeated when a condition that names what happened is in the policy
   (5xx, gateway-error, reset, retriable-4xx, retriable-status-codes, gRPC statuses): whoever wrote that asked for it.
4. Otherwise a lost connection (UC, UR, UPE) is repeated only for an idempotent request (RFC 9110 9.2.2, or an
   Idempotency-Key header) under a policy that names a condition about connections.
So `connect-failure,refused-stream` never sends a POST twice that a server may have acted upon.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mesh.model.failure import Failure, Flag
from mesh.model.route import RetryPolicy
from mesh.proxy.head import Answer, Head
from mesh.proxy.match import CompileError

# RFC 9110 9.2.2. TRACE and CONNECT are left out: nothing good comes of repeating them.
IDEMPOTENT_METHODS = frozenset((b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE"))

_ON_CONNECTION = frozenset(
    ("connect-failure", "refused-stream", "reset-before-request", "reset", "5xx", "gateway-error")
)
_ON_ANY_RESET = frozenset(("5xx", "gateway-error", "reset"))
_GRPC = {"cancelled": 1, "deadline-exceeded": 4, "resource-exhausted": 8, "internal": 13, "unavailable": 14}
# Legal, and true of nothing here: there is no HTTP/3 upstream, and no list of headers to look for.
_NEVER = frozenset(("http3-post-connect-failure", "retriable-headers"))
_KNOWN = _ON_CONNECTION | frozenset(_GRPC) | _NEVER | {"retriable-4xx", "retriable-status-codes", "envoy-ratelimited"}

_LOST = frozenset((Flag.UPSTREAM_CONNECTION_TERMINATION, Flag.UPSTREAM_RESET, Flag.UPSTREAM_PROTOCOL_ERROR))
# Failures of an attempt that are about the attempt's upstream at all; a full breaker or a gone client is not.
_REPEATABLE = _LOST | {Flag.UPSTREAM_CONNECT_FAILURE, Flag.UPSTREAM_REQUEST_TIMEOUT}


@dataclass(frozen=True, slots=True)
class CompiledRetry:
    """A policy, cut into the questions that are asked after an attempt.

    per_try_timeout_seconds: 0.0 = none of its own.
    """

    attempts: int
    per_try_timeout_seconds: float
    excludes_tried_hosts: bool
    _on_connection: bool
    _on_any_reset: bool
    _statuses: frozenset[int]
    _on_5xx: bool
    _on_rate_limit: bool
    _grpc: frozenset[int]
    _base_seconds: float
    _max_seconds: float

    def after_failure(
        self, failure: Failure, attempt: int, is_repeatable: bool, rng: Callable[[], float]
    ) -> float | None:
        """Seconds to wait before the next attempt; None: give up.

        Args: attempt: how many attempts were made, 1 after the first. is_repeatable: `is_idempotent(head)`.
        """
        if attempt > self.attempts or failure.flag not in _REPEATABLE:
            return None
        if failure.surely_unprocessed:
            wanted = self._on_connection
        elif self._on_any_reset:
            wanted = True
        else:
            wanted = self._on_connection and is_repeatable and failure.flag in _LOST
        return self.pause(attempt, rng) if wanted else None

    def after_response(self, status: int, head: Answer, attempt: int, rng: Callable[[], float]) -> float | None:
        """Seconds to wait before the next attempt instead of forwarding this response; None: forward it."""
        if attempt > self.attempts:
            return None
        if status in self._statuses or (self._on_5xx and status >= 500):
            wanted = self._on_rate_limit or head.get(b"x-envoy-ratelimited") is None
        elif status < 400:
            wanted = bool(self._grpc) and _grpc_status(head) in self._grpc
        else:
            wanted = self._on_rate_limit and head.get(b"x-envoy-ratelimited") is not None
        return self.pause(attempt, rng) if wanted else None

    def pause(self, attempt: int, rng: Callable[[], float]) -> float:
        """Envoy's full jitter: uniform in [0, (2^attempt - 1) x base), capped at the maximum."""
        ceiling = self._base_seconds * ((1 << min(attempt, 30)) - 1)
        return min(rng() * ceiling, self._max_seconds)


def _grpc_status(head: Answer) -> int:
    # A gRPC server that fails before the first message sends trailers only: its status is in the head.
    value = head.get(b"grpc-status")
    return int(value) if value is not None and value.isdigit() else -1


def compile_retry(policy: RetryPolicy, field: str) -> CompiledRetry | None:
    """None when the policy allows no attempt. Raises CompileError for a condition that nothing implements."""
    conditions = set(policy.on)
    statuses = set(policy.status_codes) if "retriable-status-codes" in conditions else set()
    for condition in sorted(conditions - _KNOWN):
        # Istio: a number among the conditions is a status code.
        if not condition.isdigit() or not 100 <= int(condition) <= 599:
            raise CompileError(f"{field}: unknown retry condition {condition!r}")
        statuses.add(int(condition))
    if policy.attempts < 0 or policy.backoff_base_seconds <= 0 or policy.backoff_max_seconds < 0:
        raise CompileError(f"{field}: attempts and back-off must not be negative, and the base must be positive")
    if not policy.attempts or not conditions:
        return None
    if "gateway-error" in conditions:
        statuses |= {502, 503, 504}
    if "retriable-4xx" in conditions:
        statuses.add(409)
    return CompiledRetry(
        attempts=policy.attempts,
        per_try_timeout_seconds=policy.per_try_timeout_seconds or 0.0,
        excludes_tried_hosts=policy.previous_hosts,
        _on_connection=bool(conditions & _ON_CONNECTION),
        _on_any_reset=bool(conditions & _ON_ANY_RESET),
        _statuses=frozenset(statuses),
        _on_5xx="5xx" in conditions,
        _on_rate_limit="envoy-ratelimited" in conditions,
        _grpc=frozenset(number for name, number in _GRPC.items() if name in conditions),
        _base_seconds=policy.backoff_base_seconds,
        _max_seconds=policy.backoff_max_seconds,
    )


def is_idempotent(head: Head) -> bool:
    """Repeating this request does no more than sending it once, by method or by the client's promise.

    Source: RFC 9110 9.2.2; draft-ietf-httpapi-idempotency-key-header.
    """
    return head.method in IDEMPOTENT_METHODS or head.get(b"idempotency-key") is not None
