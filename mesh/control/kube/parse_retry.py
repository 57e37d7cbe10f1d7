"""Retry policies: Istio's `retries` and Gateway API's `retry`, and what holds where nobody asked."""

from __future__ import annotations

from mesh.control.kube.fields import FieldError, Fields
from mesh.model.route import RetryPolicy

# What surely was not processed. Nobody asked for the default, so it must not do harm: docs/adr/0011.
SAFE_CONDITIONS = frozenset({"connect-failure", "refused-stream", "reset-before-request"})
DEFAULT_RETRY = RetryPolicy(on=SAFE_CONDITIONS, attempts=2)
# What `retries` without `retryOn` means by Istio's documentation (pilot/pkg/networking/core/route/retry/retry.go):
# somebody asked for exactly this.
_ISTIO_CONDITIONS = frozenset(
    {"connect-failure", "refused-stream", "unavailable", "cancelled", "retriable-status-codes"}
)
_KNOWN = frozenset(
    {
        "5xx",
        "gateway-error",
        "reset",
        "reset-before-request",
        "connect-failure",
        "envoy-ratelimited",
        "retriable-4xx",
        "refused-stream",
        "retriable-status-codes",
        "retriable-headers",
        "http3-post-connect-failure",
        "cancelled",
        "deadline-exceeded",
        "internal",
        "resource-exhausted",
        "unavailable",
    }
)


def istio_retry(item: Fields) -> tuple[RetryPolicy, float | None]:
    """(policy, per-try timeout). Numbers inside `retryOn` become status codes; attempts 0 switches retries off."""
    attempts = item.integer("attempts", 0, 1000)
    per_try = item.seconds("perTryTimeout")
    text = item.text("retryOn")
    base = item.seconds("backoff")
    ignore_previous = not item.has("retryIgnorePreviousHosts") or item.boolean("retryIgnorePreviousHosts")
    item.close()
    on, codes = _conditions(text, item.at("retryOn")) if text else (_ISTIO_CONDITIONS, ())
    policy = RetryPolicy(
        on=on,
        attempts=DEFAULT_RETRY.attempts if attempts is None else attempts,
        per_try_timeout_seconds=per_try or None,
        status_codes=codes,
        backoff_base_seconds=base or DEFAULT_RETRY.backoff_base_seconds,
        backoff_max_seconds=10 * (base or DEFAULT_RETRY.backoff_base_seconds),
        previous_hosts=ignore_previous,
    )
    return policy, per_try or None


def gateway_retry(item: Fields) -> RetryPolicy:
    """Gateway API `HTTPRouteRetry`: codes in addition to what is always safe (connection errors)."""
    attempts = item.integer("attempts", 0, 1000)
    codes = item.raw("codes") or []
    if not isinstance(codes, list) or not all(isinstance(code, int) and 400 <= code <= 599 for code in codes):
        raise FieldError(item.at("codes"), "must be a list of status codes within 400..599")
    base = item.seconds("backoff") or DEFAULT_RETRY.backoff_base_seconds
    item.close()
    return RetryPolicy(
        on=SAFE_CONDITIONS | {"retriable-status-codes"} if codes else SAFE_CONDITIONS,
        attempts=1 if attempts is None else attempts,
        status_codes=tuple(codes),
        backoff_base_seconds=base,
        backoff_max_seconds=10 * base,
    )


def _conditions(text: str, field: str) -> tuple[frozenset[str], tuple[int, ...]]:
    on, codes = set(), []
    for word in filter(None, (part.strip() for part in text.split(","))):
        if word.isdigit() and 100 <= int(word) <= 599:
            codes.append(int(word))
            on.add("retriable-status-codes")
        elif word in _KNOWN:
            on.add(word)
        else:
            raise FieldError(field, f"{word!r} is no retry condition", "UnsupportedValue")
    return frozenset(on), tuple(codes)
