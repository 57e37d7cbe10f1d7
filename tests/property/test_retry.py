"""A request that may have been processed is never repeated unless it is idempotent or its policy names what happened."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.model.failure import Failure, Flag, Side
from mesh.model.route import RetryPolicy
from mesh.proxy.retry import compile_retry
from tests.support.observe import Answer

SAFE = ["connect-failure", "refused-stream", "reset-before-request"]
NAMED = ["5xx", "gateway-error", "reset", "retriable-4xx", "retriable-status-codes", "envoy-ratelimited"]
GRPC = ["cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable"]

FAILURES = st.builds(
    Failure, st.sampled_from(Flag), st.sampled_from(Side), st.sampled_from([502, 503, 504]), st.just("d"), st.booleans()
)
RNG = st.floats(0.0, 1.0, exclude_max=True)


def policies(conditions: list[str]) -> st.SearchStrategy[RetryPolicy]:
    return st.builds(
        RetryPolicy,
        st.frozensets(st.sampled_from(conditions)),
        st.integers(0, 4),
        status_codes=st.lists(st.integers(400, 599), max_size=3).map(tuple),
    )


@settings(max_examples=150, deadline=None)
@given(policies(SAFE + GRPC), FAILURES, st.integers(1, 5), RNG)
def test_default_conditions_never_repeat_a_processed_post(policy: RetryPolicy, failure: Failure, attempt: int, point: float) -> None:
    compiled = compile_retry(policy, "f")
    if compiled is None:
        return
    pause = compiled.after_failure(failure, attempt, False, lambda: point)
    assert pause is None or failure.surely_unprocessed


@settings(max_examples=150, deadline=None)
@given(policies(SAFE), st.integers(100, 599), st.integers(1, 5), RNG)
def test_safe_conditions_never_look_at_answers(policy: RetryPolicy, status: int, attempt: int, point: float) -> None:
    compiled = compile_retry(policy, "f")
    if compiled is not None:
        assert compiled.after_response(status, Answer(grpc_status="14"), attempt, lambda: point) is None


@settings(max_examples=150, deadline=None)
@given(policies(SAFE + NAMED + GRPC), FAILURES, st.integers(1, 9), st.booleans(), RNG)
def test_pauses_are_bounded_and_attempts_counted(
    policy: RetryPolicy, failure: Failure, attempt: int, idempotent: bool, point: float
) -> None:
    compiled = compile_retry(policy, "f")
    if compiled is None:
        return
    pause = compiled.after_failure(failure, attempt, idempotent, lambda: point)
    if attempt > policy.attempts:
        assert pause is None
    assert pause is None or 0.0 <= pause <= policy.backoff_max_seconds


@settings(max_examples=100, deadline=None)
@given(policies(SAFE + NAMED + GRPC), st.integers(200, 599), RNG)
def test_only_named_answers_are_repeated(policy: RetryPolicy, status: int, point: float) -> None:
    compiled = compile_retry(policy, "f")
    if compiled is None:
        return
    named = (
        ("5xx" in policy.on and status >= 500)
        or ("gateway-error" in policy.on and status in (502, 503, 504))
        or ("retriable-4xx" in policy.on and status == 409)
        or ("retriable-status-codes" in policy.on and status in policy.status_codes)
    )
    assert (compiled.after_response(status, Answer(), 1, lambda: point) is not None) is named
