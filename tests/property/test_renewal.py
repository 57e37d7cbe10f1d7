"""A certificate never runs out while the CA answers often enough, and it is never asked twice at a time."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.proxy.renewal import Renewal


@settings(max_examples=300, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    life=st.floats(30.0, 7 * 86_400.0),
    outages=st.lists(st.tuples(st.floats(0.0, 1.0), st.floats(0.0, 0.3)), max_size=8),
    latency=st.floats(0.0, 0.01),
)
def test_outages_of_less_than_a_third_of_a_life_go_unnoticed(
    seed: int, life: float, outages: list[tuple[float, float]], latency: float
) -> None:
    # Outages: (where in its tenth of the run, how long in lives); a call takes up to a hundredth of a life.
    draw = random.Random(seed).random
    renewal = Renewal(draw)
    now, not_after = 0.0, 0.0
    spans = [((1.5 * i + 1.0 + at) * life, (1.5 * i + 1.0 + at + length) * life) for i, (at, length) in enumerate(outages)]
    under_way = 0
    calls = 0
    while now < (1.5 * len(outages) + 4.0) * life:
        wait = renewal.wait_seconds(now)
        assert wait < float("inf") and under_way == 0
        now += wait
        assert not not_after or now < not_after, "it has run out"
        renewal.begin()
        under_way += 1
        assert renewal.wait_seconds(now) == float("inf")
        now += latency * life * draw()
        calls += 1
        assert calls < 20_000, "it asks without end"
        under_way -= 1
        if any(begin <= now < end for begin, end in spans):
            assert renewal.failed(now) > 0.0
        else:
            not_after = now + life
            renewal.hold(now, not_after)
    assert now < not_after
