import random
from collections import Counter

from mesh.proxy.balance.ring_hash import RingHashPicker
from mesh.proxy.balance.xxhash64 import xxh64
from tests.support.observe import hosts


def keys(number: int) -> list[int]:
    return [xxh64(b"user-%d" % index) for index in range(number)]


def picker(*weights: int, min_size: int = 1024) -> tuple[RingHashPicker, list[object]]:
    found = hosts(*weights)
    return RingHashPicker(found, [float(w) for w in weights], min_size, 8 << 20), list(found)


def test_a_key_stays_on_its_host() -> None:
    ring, _ = picker(1, 1, 1)
    assert all(len({ring.pick(random.random, key, ()) for _ in range(3)}) == 1 for key in keys(50))


def test_two_proxies_agree() -> None:
    one, other = picker(1, 1, 1)[0], picker(1, 1, 1)[0]
    names = [[host.name for key in keys(200) if (host := ring.pick(random.random, key, ()))] for ring in (one, other)]
    assert names[0] == names[1]


def test_losing_a_host_moves_few_other_keys() -> None:
    # Not none: the ring is scaled to its size, so that each of the others gets more points than before.
    found = hosts(1, 1, 1, 1)
    before, after = (RingHashPicker(group, [1.0] * len(group), 1024, 8 << 20) for group in (found, found[:3]))
    pairs = [(before.pick(random.random, key, ()), after.pick(random.random, key, ())) for key in keys(1_000)]
    stayed = [first is second for first, second in pairs if first is not found[3]]
    assert sum(stayed) / len(stayed) > 0.8


def test_the_ring_has_envoys_size_and_points() -> None:
    # 3 hosts of equal weight and min_size 1024: ceil(341.33) = 342 points each.
    ring, _ = picker(1, 1, 1)
    ring.pick(random.random, 1, ())
    assert len(ring._points) == 1026
    assert xxh64(b"10.0.0.1:9080_0") in ring._points and xxh64(b"10.0.0.3:9080_341") in ring._points


def test_weights_decide_the_shares() -> None:
    ring, found = picker(1, 4)
    drawn = Counter(ring.pick(random.random, key, ()) for key in keys(5_000))
    assert 0.7 < drawn[found[1]] / 5_000 < 0.9


def test_the_next_host_on_the_ring_serves_retries() -> None:
    ring, found = picker(1, 1)
    key = keys(1)[0]
    first = ring.pick(random.random, key, ())
    assert first is not None
    assert ring.pick(random.random, key, (first,)) is (found[1] if first is found[0] else found[0])
    assert ring.pick(random.random, key, found) is first


def test_without_a_key_the_pick_is_random() -> None:
    ring, found = picker(1, 1)
    rng = random.Random(2).random
    assert {ring.pick(rng, None, ()) for _ in range(50)} == set(found)
