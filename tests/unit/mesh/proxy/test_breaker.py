from mesh.model.cluster import CircuitBreaker, RetryBudget
from mesh.proxy.breaker import Breaker


def test_requests_beyond_the_limit_overflow() -> None:
    breaker = Breaker(CircuitBreaker(max_requests=1))
    assert [breaker.try_request(), breaker.try_request()] == [True, False]
    breaker.end_request()
    assert breaker.try_request()
    assert breaker.overflow_requests == 1


def test_connections_and_pending_have_limits_of_their_own() -> None:
    breaker = Breaker(CircuitBreaker(max_connections=1, max_pending_requests=1))
    assert [breaker.try_connection(), breaker.try_connection()] == [True, False]
    assert [breaker.try_pending(), breaker.try_pending()] == [True, False]
    breaker.end_connection()
    breaker.end_pending()
    assert (breaker.connections, breaker.pending) == (0, 0)
    assert (breaker.overflow_connections, breaker.overflow_pending) == (1, 1)


def test_a_retry_limit_that_was_set_is_the_limit() -> None:
    breaker = Breaker(CircuitBreaker(max_retries=2))
    assert [breaker.try_retry() for _ in range(3)] == [True, True, False]
    breaker.end_retry()
    assert breaker.try_retry()
    assert (breaker.retries_total, breaker.overflow_retries) == (3, 1)


def test_a_budget_is_a_share_of_what_is_in_flight() -> None:
    breaker = Breaker(CircuitBreaker(max_retries=1, retry_budget=RetryBudget(20.0, 3)))
    assert breaker.retry_limit() == 3
    for _ in range(50):
        breaker.try_request()
    assert breaker.retry_limit() == 10


def test_without_any_limit_there_is_still_a_budget() -> None:
    breaker = Breaker(CircuitBreaker())
    assert [breaker.try_retry() for _ in range(4)] == [True, True, True, False]


def test_new_limits_keep_what_is_in_flight() -> None:
    breaker = Breaker(CircuitBreaker())
    breaker.try_request()
    breaker.configure(CircuitBreaker(max_requests=1))
    assert not breaker.try_request()
