import random
from collections import Counter

import pytest

from mesh.model.cluster import LbPolicy, OutlierDetection
from mesh.model.endpoint import Health, Locality, LocalityEndpoints
from mesh.proxy.balance import Balancer, Host, make_balancer
from mesh.proxy.balance.maglev import MaglevPicker
from mesh.proxy.balance.pickers import LeastRequestPicker, RandomPicker, RoundRobinPicker
from mesh.proxy.balance.ring_hash import RingHashPicker
from tests.support.observe import assignment, cluster, endpoint

A, B = Locality("r", "a"), Locality("r", "b")


def group(*addresses: str, **fields: object) -> LocalityEndpoints:
    return LocalityEndpoints(tuple(endpoint(f"{address}:80") for address in addresses), **fields)  # type: ignore[arg-type]


def shares(balancer: Balancer, rounds: int = 6_000, now: float = 0.0) -> dict[str, float]:
    rng = random.Random(11).random
    drawn = Counter(host.endpoint.address.host for _ in range(rounds) if (host := balancer.pick(rng, now)))
    return {name: count / rounds for name, count in drawn.items()}


def fail(balancer: Balancer, *names: str) -> None:
    for host in balancer.hosts:
        host.ejected = host.endpoint.address.host in names
    balancer.on_health_change(0.0)


def test_an_empty_cluster_has_no_host() -> None:
    assert make_balancer(cluster(), assignment(), 0.0).pick(random.random) is None


@pytest.mark.parametrize(
    ("policy", "kind"),
    [
        (LbPolicy.LEAST_REQUEST, LeastRequestPicker),
        (LbPolicy.ROUND_ROBIN, RoundRobinPicker),
        (LbPolicy.RANDOM, RandomPicker),
        (LbPolicy.RING_HASH, RingHashPicker),
        (LbPolicy.MAGLEV, MaglevPicker),
    ],
)
def test_each_policy_has_its_picker(policy: LbPolicy, kind: type) -> None:
    assert isinstance(make_balancer(cluster(policy), assignment(group("1", "2")), 0.0)._only, kind)


def test_hosts_survive_updates_with_what_was_seen_of_them() -> None:
    first = make_balancer(cluster(), assignment(group("1", "2")), 0.0)
    kept = first.hosts[0]
    kept.active = 4
    second = make_balancer(cluster(), assignment(group("1", "3")), 0.0, first)
    assert second.hosts[0] is kept
    assert [host.name for host in second.hosts] == ["1:80", "3:80"]
    assert second.host("1:80") is kept and second.host("2:80") is None


def test_ejected_hosts_get_nothing() -> None:
    balancer = make_balancer(cluster(), assignment(group("1", "2", "3")), 0.0)
    fail(balancer, "2")
    assert set(shares(balancer)) == {"1", "3"}
    fail(balancer)
    assert set(shares(balancer)) == {"1", "2", "3"}


PANICS = OutlierDetection(min_health_percent=50)


def test_below_the_minimum_everybody_is_used_again() -> None:
    balancer = make_balancer(cluster(LbPolicy.RANDOM, outlier=PANICS), assignment(group("1", "2", "3", "4", "5")), 0.0)
    fail(balancer, "1", "2")
    assert set(shares(balancer)) == {"3", "4", "5"}
    fail(balancer, "1", "2", "3")
    assert set(shares(balancer)) == {"1", "2", "3", "4", "5"}


def test_without_a_minimum_the_last_healthy_host_serves_alone_and_then_nobody() -> None:
    balancer = make_balancer(cluster(outlier=OutlierDetection()), assignment(group("1", "2", "3", "4", "5")), 0.0)
    fail(balancer, "1", "2", "3", "4")
    assert set(shares(balancer)) == {"5"}
    fail(balancer, "1", "2", "3", "4", "5")
    assert balancer.pick(random.random) is None


def test_all_ill_is_full_panic() -> None:
    balancer = make_balancer(cluster(LbPolicy.RANDOM, outlier=PANICS), assignment(group("1", "2")), 0.0)
    fail(balancer, "1", "2")
    assert set(shares(balancer)) == {"1", "2"}


def test_draining_hosts_are_not_picked_even_in_panic() -> None:
    draining = LocalityEndpoints((endpoint("1:80", health=Health.DRAINING), endpoint("2:80", health=Health.UNHEALTHY)))
    balancer = make_balancer(cluster(outlier=PANICS), assignment(draining), 0.0)
    assert set(shares(balancer)) == {"2"}
    alone = make_balancer(cluster(), assignment(LocalityEndpoints((endpoint("1:80", health=Health.DRAINING),))), 0.0)
    assert alone.pick(random.random) is None


def test_the_second_priority_helps_only_when_the_first_is_short() -> None:
    groups = group("1", "2", "3", "4", "5"), group("9", priority=1)
    balancer = make_balancer(cluster(LbPolicy.RANDOM), assignment(*groups), 0.0)
    assert "9" not in shares(balancer)
    fail(balancer, "1")  # 80 % x 1.4 still covers everything
    assert "9" not in shares(balancer)
    fail(balancer, "1", "2", "3")  # 40 % x 1.4 = 56 %
    assert abs(shares(balancer)["9"] - 0.44) < 0.03


def test_a_priority_without_hosts_is_skipped() -> None:
    balancer = make_balancer(cluster(), assignment(group(), group("9", priority=1)), 0.0)
    assert set(shares(balancer)) == {"9"}


def test_locality_weights_split_the_load() -> None:
    groups = group("1", "2", locality=A, weight=80), group("3", locality=B, weight=20)
    balancer = make_balancer(cluster(LbPolicy.RANDOM, locality_weighted=True), assignment(*groups), 0.0)
    found = shares(balancer)
    assert abs(found["3"] - 0.2) < 0.03 and abs(found["1"] - 0.4) < 0.03


def test_locality_weights_count_only_where_the_cluster_says_so() -> None:
    groups = group("1", "2", locality=A, weight=80), group("3", locality=B, weight=20)
    balancer = make_balancer(cluster(LbPolicy.RANDOM), assignment(*groups), 0.0)
    assert abs(shares(balancer)["3"] - 1 / 3) < 0.03


def test_an_ill_locality_loses_its_share() -> None:
    groups = group("1", locality=A, weight=50), group("2", "3", locality=B, weight=50)
    balancer = make_balancer(cluster(LbPolicy.RANDOM, locality_weighted=True), assignment(*groups), 0.0)
    fail(balancer, "1")
    assert set(shares(balancer)) == {"2", "3"}


def test_a_retry_leaves_the_locality_rather_than_repeat_a_host() -> None:
    groups = group("1", locality=A, weight=99), group("2", locality=B, weight=1)
    balancer = make_balancer(cluster(locality_weighted=True), assignment(*groups), 0.0)
    tried: tuple[Host, ...] = tuple(host for host in balancer.hosts if host.name == "1:80")
    rng = random.Random(1).random
    assert {host.name for _ in range(50) if (host := balancer.pick(rng, exclude=tried))} == {"2:80"}


def test_a_new_host_starts_slowly() -> None:
    slow = cluster(LbPolicy.ROUND_ROBIN, slow_start_seconds=100.0)
    first = make_balancer(slow, assignment(group("1")), 0.0)
    balancer = make_balancer(slow, assignment(group("1", "2")), 50.0, first)
    early, later, warm = (shares(balancer, 2_000, now)["2"] for now in (50.0, 100.0, 150.0))
    assert early == pytest.approx(0.1 / 1.1, abs=0.02)
    assert later == pytest.approx(0.5 / 1.5, abs=0.03)
    assert warm == pytest.approx(0.5, abs=0.01)


def test_the_first_assignment_is_warm() -> None:
    slow = cluster(LbPolicy.ROUND_ROBIN, slow_start_seconds=100.0)
    assert shares(make_balancer(slow, assignment(group("1", "2")), 0.0), 100)["1"] == 0.5


def test_switching_outlier_detection_off_lets_everybody_back() -> None:
    watched = cluster(outlier=OutlierDetection())
    first = make_balancer(watched, assignment(group("1", "2")), 0.0)
    fail(first, "1")
    assert [host.ejected for host in make_balancer(watched, assignment(group("1", "2")), 1.0, first).hosts] == [True, False]
    assert [host.ejected for host in make_balancer(cluster(), assignment(group("1", "2")), 1.0, first).hosts] == [False, False]
