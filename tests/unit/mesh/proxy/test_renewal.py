import math

import pytest

from mesh.proxy.renewal import Renewal

DAY = 86_400.0


def test_without_a_certificate_one_is_asked_for_at_once() -> None:
    renewal = Renewal(lambda: 0.5)
    assert renewal.wait_seconds(1000.0) == 0.0
    renewal.begin()
    assert renewal.wait_seconds(1000.0) == math.inf
    with pytest.raises(RuntimeError, match="under way"):
        renewal.begin()


@pytest.mark.parametrize(("draw", "share"), [(0.0, 0.4), (0.5, 0.5), (0.999999, 0.6)])
def test_the_next_one_is_due_at_about_half_its_life(draw: float, share: float) -> None:
    renewal = Renewal(lambda: draw)
    renewal.begin()
    renewal.hold(0.0, DAY)
    assert renewal.wait_seconds(0.0) == pytest.approx(share * DAY, rel=1e-3)
    assert renewal.wait_seconds(0.7 * DAY) == 0.0


def test_pauses_grow_and_start_again_after_a_success() -> None:
    renewal = Renewal(lambda: 0.5)
    pauses = [renewal.failed(0.0) for _ in range(10)]
    assert pauses[:4] == [0.2, 0.4, 0.8, 1.6] and pauses[-1] == 15.0
    renewal.hold(0.0, DAY)
    assert renewal.failed(0.5 * DAY) == pytest.approx(0.2)


def test_the_closer_the_end_the_shorter_the_pause() -> None:
    renewal = Renewal(lambda: 0.5)
    renewal.hold(0.0, 100.0)
    for _ in range(20):
        renewal.failed(50.0)
    assert renewal.failed(60.0) == 5.0
    assert renewal.failed(99.0) == pytest.approx(0.2)
    assert renewal.failed(150.0) <= 15.0


def test_a_certificate_that_is_of_no_use_is_replaced_now() -> None:
    renewal = Renewal(lambda: 0.5)
    renewal.hold(0.0, DAY)
    renewal.hurry(10.0)
    assert renewal.wait_seconds(10.0) == 0.0
