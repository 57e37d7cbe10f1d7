import math

import pytest

from mesh.model.cluster import OutlierDetection
from mesh.proxy.outlier import OutlierDetector, judged_status
from tests.support.observe import Answer, hosts

THREE = OutlierDetection(consecutive_5xx=3, max_ejection_percent=100)


def test_a_run_of_failures_ejects() -> None:
    found = hosts(1, 1)
    detector = OutlierDetector(THREE, found)
    assert [detector.on_response(found[0], 500, 1.0) for _ in range(3)] == [False, False, True]
    assert (found[0].ejected, found[0].is_healthy, detector.ejected_total) == (True, False, 1)


@pytest.mark.parametrize(
    ("status", "sent", "judged"),
    [
        (200, None, 200),
        (503, None, 503),
        (200, "0", 200),
        (200, "14", 503),
        (200, "13", 500),
        (200, "5", 404),
        (200, "16", 401),
        (200, "17", 500),
        (200, "abc", 500),
    ],
)
def test_a_grpc_status_in_the_head_is_what_counts(status: int, sent: str | None, judged: int) -> None:
    assert judged_status(status, Answer(**({} if sent is None else {"grpc_status": sent}))) == judged


def test_a_success_ends_the_run() -> None:
    found = hosts(1, 1)
    detector = OutlierDetector(THREE, found)
    events = [500, 500, 200, 500, 500]
    assert not any(detector.on_response(found[0], status, 1.0) for status in events)


def test_gateway_errors_have_a_run_of_their_own() -> None:
    found = hosts(1, 1)
    config = OutlierDetection(consecutive_5xx=0, consecutive_gateway_failure=2, max_ejection_percent=100)
    detector = OutlierDetector(config, found)
    assert [detector.on_response(found[0], status, 1.0) for status in (503, 500, 502, 504)] == [False, False, False, True]


def test_local_failures_count_as_5xx_unless_split() -> None:
    found = hosts(1, 1)
    together = OutlierDetector(THREE, found)
    assert [together.on_local_failure(found[0], 1.0) for _ in range(3)] == [False, False, True]
    split = OutlierDetection(
        consecutive_5xx=1,
        consecutive_local_origin_failure=2,
        split_external_local_origin_errors=True,
        max_ejection_percent=100,
    )
    apart = OutlierDetector(split, found)
    assert [apart.on_local_failure(found[1], 1.0) for _ in range(2)] == [False, True]


def test_an_ejection_lasts_base_times_its_number() -> None:
    found = hosts(1, 1)
    detector = OutlierDetector(THREE, found)
    times = []
    now = 0.0
    for _ in range(2):
        for _ in range(3):
            detector.on_response(found[0], 500, now)
        began = now
        while not detector.sweep(detector.next_sweep_at):
            pass
        now = began + 1000.0  # far enough for the sweep to have let it back
        times.append(found[0].ejections)
    assert times == [1, 2]


def test_the_second_ejection_is_twice_as_long() -> None:
    found = hosts(1, 1)
    detector = OutlierDetector(THREE, found)
    found[0].ejections = 1
    for _ in range(3):
        detector.on_response(found[0], 500, 0.0)
    assert detector.sweep(59.9) == []
    assert detector.sweep(60.0) == [found[0]]


def test_no_ejection_is_longer_than_the_maximum() -> None:
    found = hosts(1, 1)
    detector = OutlierDetector(THREE, found)
    found[0].ejections = 99
    for _ in range(3):
        detector.on_response(found[0], 500, 0.0)
    assert detector.sweep(299.9) == []
    assert detector.sweep(300.0) == [found[0]]


def test_good_intervals_are_forgiven_one_by_one() -> None:
    found = hosts(1)
    detector = OutlierDetector(THREE, found)
    found[0].ejections = 2
    detector.sweep(10.0)
    assert (found[0].ejections, detector.next_sweep_at) == (1, 20.0)
    detector.sweep(20.0)
    assert (found[0].ejections, detector.next_sweep_at) == (0, math.inf)


def test_nothing_is_swept_while_nothing_happens() -> None:
    found = hosts(1)
    detector = OutlierDetector(THREE, found)
    detector.on_response(found[0], 200, 1.0)
    assert detector.next_sweep_at == math.inf


def test_one_host_may_always_go_but_not_more_than_the_percentage() -> None:
    found = hosts(1, 1, 1)
    detector = OutlierDetector(OutlierDetection(consecutive_5xx=1, max_ejection_percent=10), found)
    assert [detector.on_response(item, 500, 1.0) for item in found] == [True, False, False]
    assert detector.overflow_total == 2


def test_the_percentage_counts_the_one_that_would_go() -> None:
    found = hosts(*[1] * 10)
    detector = OutlierDetector(OutlierDetection(consecutive_5xx=1, max_ejection_percent=30), found)
    assert sum(detector.on_response(item, 500, 1.0) for item in found) == 3


def test_zero_percent_ejects_nobody() -> None:
    found = hosts(1, 1)
    detector = OutlierDetector(OutlierDetection(consecutive_5xx=1, max_ejection_percent=0), found)
    assert not detector.on_response(found[0], 500, 1.0)


def test_an_ejected_host_is_not_ejected_again() -> None:
    found = hosts(1, 1)
    detector = OutlierDetector(OutlierDetection(consecutive_5xx=1, max_ejection_percent=100), found)
    assert [detector.on_response(found[0], 500, 1.0), detector.on_response(found[0], 500, 2.0)] == [True, False]
    assert found[0].ejected_at == 1.0
