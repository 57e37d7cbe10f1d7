import random
from collections import Counter

import pytest

from mesh.proxy.balance.host import Host
from mesh.proxy.balance.pickers import LeastRequestPicker, Picker, RandomPicker, RoundRobinPicker, remaining
from tests.support.observe import hosts, sequence


def make(kind: str, found: list[Host]) -> Picker:
    weights = [float(host.weight) for host in found]
    match kind:
        case "random":
            return RandomPicker(found, weights)
        case "round_robin":
            return RoundRobinPicker(found, weights)
        case _:
            return LeastRequestPicker(found, weights, 2)


KINDS = ["random", "round_robin", "least_request"]


def counts(picker: Picker, found: list[Host], rounds: int) -> list[int]:
    rng = random.Random(3).random
    drawn = Counter(host.name for _ in range(rounds) if (host := picker.pick(rng, None, ())) is not None)
    return [drawn[host.name] for host in found]


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_to_pick(kind: str) -> None:
    assert make(kind, []).pick(random.random, None, ()) is None


@pytest.mark.parametrize("kind", KINDS)
def test_the_only_host(kind: str) -> None:
    found = hosts(1)
    assert make(kind, found).pick(random.random, None, ()) is found[0]


@pytest.mark.parametrize("kind", KINDS)
def test_weights_decide_the_shares(kind: str) -> None:
    found = hosts(1, 3)
    assert abs(counts(make(kind, found), found, 8_000)[1] / 8_000 - 0.75) < 0.02


def test_least_request_keeps_active_requests_in_proportion_to_weights() -> None:
    found = hosts(1, 3)
    picker, rng = make("least_request", found), random.Random(3)
    busy: list[Host] = []
    for _ in range(4_000):
        host = picker.pick(rng.random, None, ())
        assert host is not None
        host.active += 1
        busy.append(host)
        if len(busy) > 40:
            busy.pop(rng.randrange(len(busy))).active -= 1
    assert 26 <= found[1].active <= 34


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("weights", [(1, 1, 1), (1, 2, 7)])
def test_an_excluded_host_is_never_picked_while_there_is_another(kind: str, weights: tuple[int, ...]) -> None:
    found = hosts(*weights)
    picker, rng = make(kind, found), random.Random(5).random
    assert {picker.pick(rng, None, (found[0], found[2])) for _ in range(50)} == {found[1]}


@pytest.mark.parametrize("kind", KINDS)
def test_when_all_are_excluded_the_exclusion_is_dropped(kind: str) -> None:
    found = hosts(1, 1)
    assert make(kind, found).pick(random.random, None, found) in found


def test_round_robin_takes_turns() -> None:
    found = hosts(1, 1, 1)
    picker = RoundRobinPicker(found, [1.0] * 3)
    rng = sequence(0.4)
    names = [host.name[-6] for _ in range(6) if (host := picker.pick(rng, None, ())) is not None]
    assert names == ["2", "3", "1", "2", "3", "1"]


def test_weighted_round_robin_spreads_the_heavy_ones_turns() -> None:
    found = hosts(3, 1)
    picker = RoundRobinPicker(found, [3.0, 1.0])
    drawn = [host is found[0] for _ in range(8) if (host := picker.pick(sequence(0.0), None, ())) is not None]
    assert (drawn.count(True), drawn.count(False)) == (6, 2)
    # Never two turns of the light one in a row, never more than three of the heavy one.
    text = "".join("a" if heavy else "b" for heavy in drawn)
    assert "bb" not in text and "aaaa" not in text


def test_least_request_takes_the_idler_of_two() -> None:
    found = hosts(1, 1, 1)
    found[0].active, found[1].active = 5, 1
    picker = LeastRequestPicker(found, [1.0] * 3, 2)
    # First draw host 0; the second is drawn among the other two.
    assert picker.pick(sequence(0.0, 0.0), None, ()) is found[1]
    assert picker.pick(sequence(0.0, 0.99), None, ()) is found[2]


def test_least_request_draws_two_different_hosts() -> None:
    found = hosts(1, 1)
    found[0].active = 1
    picker, rng = LeastRequestPicker(found, [1.0, 1.0], 2), random.Random(1).random
    assert {picker.pick(rng, None, ()) for _ in range(50)} == {found[1]}


def test_more_choices_find_the_idlest_more_often() -> None:
    found = hosts(*[1] * 10)
    for host in found[1:]:
        host.active = 5
    few, many = counts(LeastRequestPicker(found, [1.0] * 10, 2), found, 4_000), counts(
        LeastRequestPicker(found, [1.0] * 10, 5), found, 4_000
    )
    assert few[0] < many[0]


def test_remaining() -> None:
    found = hosts(1, 1)
    assert list(remaining(found, [found[0]])) == [found[1]]
    assert list(remaining(found, found)) == found
