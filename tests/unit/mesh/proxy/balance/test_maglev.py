import random
from collections import Counter

from mesh.proxy.balance.maglev import MaglevPicker, build_table
from mesh.proxy.balance.xxhash64 import xxh64
from tests.support.observe import hosts

SIZE = 1009  # a small prime, for speed


def test_every_entry_is_filled_and_shares_are_even() -> None:
    table = build_table([b"a", b"b", b"c"], [1.0, 1.0, 1.0], SIZE)
    shares = Counter(table)
    assert set(shares) == {0, 1, 2}
    assert max(shares.values()) - min(shares.values()) <= 1


def test_weights_decide_the_shares() -> None:
    shares = Counter(build_table([b"a", b"b"], [1.0, 3.0], SIZE))
    assert abs(shares[1] / SIZE - 0.75) < 0.01


def test_the_first_entry_is_the_first_hosts_offset() -> None:
    # The first host takes its preferred place before anybody else has a turn.
    table = build_table([b"10.0.0.1:80", b"10.0.0.2:80"], [1.0, 1.0], 65537)
    assert table[xxh64(b"10.0.0.1:80") % 65537] == 0


def test_losing_a_host_moves_few_other_keys() -> None:
    before, after = build_table([b"a", b"b", b"c", b"d"], [1.0] * 4, SIZE), build_table([b"a", b"b", b"c"], [1.0] * 3, SIZE)
    stayed = [before[index] == after[index] for index in range(SIZE) if before[index] != 3]
    assert sum(stayed) / len(stayed) > 0.75


def test_picks_are_stable_and_retries_go_elsewhere() -> None:
    found = hosts(1, 1, 1)
    picker = MaglevPicker(found, [1.0] * 3, SIZE)
    key = xxh64(b"user")
    first = picker.pick(random.random, key, ())
    assert first is not None and picker.pick(random.random, key, ()) is first
    second = picker.pick(random.random, key, (first,))
    assert second is not first and picker.pick(random.random, key, (first,)) is second
    assert picker.pick(random.random, key, found) in found


def test_without_a_key_the_pick_is_random() -> None:
    found = hosts(1, 1)
    picker, rng = MaglevPicker(found, [1.0] * 2, SIZE), random.Random(2).random
    assert {picker.pick(rng, None, ()) for _ in range(50)} == set(found)
