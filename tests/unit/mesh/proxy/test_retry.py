import random

import pytest

from mesh.codec.h1 import RequestHead
from mesh.model.failure import Failure, Flag, Side
from mesh.model.route import RetryPolicy
from mesh.proxy.match import CompileError
from mesh.proxy.retry import CompiledRetry, compile_retry, is_idempotent
from tests.support.observe import Answer, head

REFUSED = Failure(Flag.UPSTREAM_CONNECT_FAILURE, Side.REMOTE, 503, "refused", surely_unprocessed=True)
LOST = Failure(Flag.UPSTREAM_CONNECTION_TERMINATION, Side.REMOTE, 503, "lost")
TIMEOUT = Failure(Flag.UPSTREAM_REQUEST_TIMEOUT, Side.REMOTE, 504, "timeout")
FULL = Failure(Flag.UPSTREAM_OVERFLOW, Side.LOCAL, 503, "overflow", surely_unprocessed=True)


def policy(*on: str, attempts: int = 2, codes: tuple[int, ...] = ()) -> CompiledRetry:
    compiled = compile_retry(RetryPolicy(frozenset(on), attempts, status_codes=codes), "f")
    assert compiled is not None
    return compiled


def repeats(failure: Failure, compiled: CompiledRetry, *, idempotent: bool, attempt: int = 1) -> bool:
    return compiled.after_failure(failure, attempt, idempotent, random.random) is not None


@pytest.mark.parametrize("idempotent", [True, False])
@pytest.mark.parametrize("on", ["connect-failure", "refused-stream", "reset-before-request", "reset", "5xx", "gateway-error"])
def test_what_was_not_processed_is_repeated_for_every_method(on: str, idempotent: bool) -> None:
    assert repeats(REFUSED, policy(on), idempotent=idempotent)


@pytest.mark.parametrize("on", ["connect-failure", "refused-stream", "reset-before-request"])
def test_a_lost_connection_is_repeated_only_when_that_is_safe(on: str) -> None:
    assert repeats(LOST, policy(on), idempotent=True)
    assert not repeats(LOST, policy(on), idempotent=False)


@pytest.mark.parametrize("on", ["reset", "5xx", "gateway-error"])
def test_who_names_resets_gets_them_for_posts_too(on: str) -> None:
    assert repeats(LOST, policy(on), idempotent=False)
    assert repeats(TIMEOUT, policy(on), idempotent=False)


def test_a_timeout_is_no_lost_connection() -> None:
    assert not repeats(TIMEOUT, policy("connect-failure"), idempotent=True)


@pytest.mark.parametrize("on", ["retriable-4xx", "unavailable", "503"])
def test_conditions_about_answers_say_nothing_about_connections(on: str) -> None:
    assert not repeats(REFUSED, policy(on), idempotent=True)
    assert not repeats(LOST, policy(on), idempotent=True)


def test_our_own_limits_are_not_repeated() -> None:
    assert not repeats(FULL, policy("5xx"), idempotent=True)


def test_attempts_are_counted() -> None:
    compiled = policy("5xx", attempts=2)
    assert [repeats(REFUSED, compiled, idempotent=True, attempt=attempt) for attempt in (1, 2, 3)] == [True, True, False]


@pytest.mark.parametrize(
    ("on", "codes", "repeated"),
    [
        ("5xx", (), {500, 502, 503, 504, 555}),
        ("gateway-error", (), {502, 503, 504}),
        ("retriable-4xx", (), {409}),
        ("retriable-status-codes", (503, 429), {503, 429}),
        ("503", (), {503}),
        ("301", (), {301}),
        ("http3-post-connect-failure", (), set()),
        ("retriable-headers", (), set()),
        ("connect-failure", (503,), set()),
    ],
)
def test_answers(on: str, codes: tuple[int, ...], repeated: set[int]) -> None:
    compiled = policy(on, codes=codes)
    statuses = (200, 301, 404, 409, 429, 500, 502, 503, 504, 555)
    found = {status for status in statuses if compiled.after_response(status, Answer(), 1, random.random) is not None}
    assert found == repeated


@pytest.mark.parametrize(
    ("on", "status", "repeated"),
    [("unavailable", "14", True), ("unavailable", "13", False), ("cancelled", "1", True), ("internal", "13", True), ("5xx", "14", False)],
)
def test_grpc_statuses(on: str, status: str, repeated: bool) -> None:
    answer = Answer(grpc_status=status)
    assert (policy(on).after_response(200, answer, 1, random.random) is not None) is repeated


def test_rate_limited_answers_only_when_asked_for() -> None:
    limited = Answer(x_envoy_ratelimited="true")
    assert policy("5xx").after_response(503, limited, 1, random.random) is None
    assert policy("envoy-ratelimited").after_response(429, limited, 1, random.random) is not None
    assert policy("envoy-ratelimited").after_response(429, Answer(), 1, random.random) is None


def test_the_pause_grows_with_full_jitter_up_to_its_maximum() -> None:
    compiled = policy("5xx", attempts=9)
    assert [compiled.pause(attempt, lambda: 0.999) for attempt in (1, 2, 3, 4, 5)] == pytest.approx(
        [0.024975, 0.074925, 0.174825, 0.25, 0.25]
    )
    assert compiled.pause(3, lambda: 0.0) == 0.0


@pytest.mark.parametrize("retry", [RetryPolicy(frozenset({"5xx"}), 0), RetryPolicy(frozenset(), 3)])
def test_a_policy_that_allows_nothing_is_none(retry: RetryPolicy) -> None:
    assert compile_retry(retry, "f") is None


@pytest.mark.parametrize("retry", [RetryPolicy(frozenset({"5xxx"})), RetryPolicy(frozenset({"600"})), RetryPolicy(frozenset({"5xx"}), -1)])
def test_bad_policies_are_refused(retry: RetryPolicy) -> None:
    with pytest.raises(CompileError, match=r"^f: "):
        compile_retry(retry, "f")


@pytest.mark.parametrize(
    ("request_head", "expected"),
    [
        (head("GET"), True),
        (head("PUT"), True),
        (head("DELETE"), True),
        (head("POST"), False),
        (head("PATCH"), False),
        (head("POST", "/", "h", idempotency_key="1"), True),
    ],
)
def test_idempotence(request_head: RequestHead, expected: bool) -> None:
    assert is_idempotent(request_head) is expected
