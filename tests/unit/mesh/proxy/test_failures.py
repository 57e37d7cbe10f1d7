from mesh.proxy.failures import (
    CONNECT_FAILED,
    HEADERS_TIMEOUT,
    NO_HEALTHY_UPSTREAM,
    OVERFLOW,
    REQUEST_TIMEOUT,
    TERMINATED,
    TERMINATED_UNSENT,
    UpstreamFailed,
    reply_for,
)


def test_bodies_are_those_people_search_for() -> None:
    assert reply_for(NO_HEALTHY_UPSTREAM).body == b"no healthy upstream"
    assert reply_for(REQUEST_TIMEOUT).body == b"upstream request timeout"
    assert reply_for(HEADERS_TIMEOUT).body == b"request header timeout"
    reply = reply_for(CONNECT_FAILED, "Connection refused", retried=True)
    assert reply.status == 503
    assert reply.body == (
        b"upstream connect error or disconnect/reset before headers. retried and the latest reset reason: "
        b"connection failure, transport failure reason: Connection refused"
    )


def test_overflow_says_so_in_a_header() -> None:
    assert reply_for(OVERFLOW).headers == b"x-envoy-overloaded: true\r\n"


def test_only_what_was_never_whole_is_surely_unprocessed() -> None:
    assert TERMINATED_UNSENT.surely_unprocessed and CONNECT_FAILED.surely_unprocessed
    assert not TERMINATED.surely_unprocessed


def test_a_failure_of_an_attempt_carries_its_words() -> None:
    failed = UpstreamFailed(TERMINATED, "Connection reset by peer", reused=True)
    assert (failed.failure, failed.reason, failed.reused) == (TERMINATED, "Connection reset by peer", True)
    assert "connection_termination" in str(failed)
