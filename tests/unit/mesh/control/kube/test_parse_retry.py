"""Retry policies."""

from __future__ import annotations

from typing import Any

import pytest

from mesh.control.kube.fields import FieldError, Fields, Reader
from mesh.control.kube.parse_retry import DEFAULT_RETRY, SAFE_CONDITIONS, gateway_retry, istio_retry
from mesh.model.origin import ObjectRef


def fields(value: Any) -> Fields:
    return Fields(value, "retries", Reader(ObjectRef("K", "n", "o")))


def test_the_default_repeats_only_what_was_not_processed() -> None:
    assert DEFAULT_RETRY.attempts == 2
    # No gRPC status and no status code: whoever answered may have acted.
    assert DEFAULT_RETRY.on == {"connect-failure", "refused-stream", "reset-before-request"}
    assert DEFAULT_RETRY.status_codes == ()


def test_numbers_become_status_codes() -> None:
    policy, per_try = istio_retry(fields({"attempts": 3, "perTryTimeout": "2s", "retryOn": "5xx, 503,reset"}))
    assert policy.on == {"5xx", "reset", "retriable-status-codes"}
    assert (policy.attempts, policy.status_codes, per_try) == (3, (503,), 2.0)


def test_retries_without_conditions_have_those_that_istio_documents() -> None:
    policy, _ = istio_retry(fields({"attempts": 5}))
    assert policy.on == {"connect-failure", "refused-stream", "unavailable", "cancelled", "retriable-status-codes"}
    assert policy.status_codes == ()


def test_zero_attempts_are_zero() -> None:
    assert istio_retry(fields({"attempts": 0}))[0].attempts == 0


def test_unknown_conditions_are_refused() -> None:
    with pytest.raises(FieldError, match="'sometimes' is no retry condition"):
        istio_retry(fields({"retryOn": "5xx,sometimes"}))


def test_gateway_api_codes_come_on_top() -> None:
    policy = gateway_retry(fields({"attempts": 1, "codes": [500, 503], "backoff": "100ms"}))
    assert (policy.attempts, policy.status_codes, policy.backoff_base_seconds) == (1, (500, 503), 0.1)
    assert policy.on == SAFE_CONDITIONS | {"retriable-status-codes"}


def test_gateway_api_retries_without_codes_repeat_what_is_safe() -> None:
    assert gateway_retry(fields({"attempts": 3})).on == SAFE_CONDITIONS
