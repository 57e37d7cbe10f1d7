"""Balancing invariants that hold for every policy, assignment and history."""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.model.cluster import Cluster, Discovery, LbPolicy, OutlierDetection
from mesh.model.endpoint import Health, LoadAssignment, Locality, LocalityEndpoints
from mesh.proxy.balance import make_balancer
from tests.support.observe import endpoint

POLICIES = st.sampled_from([policy for policy in LbPolicy if policy is not LbPolicy.MAGLEV])
HEALTH = st.sampled_from([Health.HEALTHY, Health.HEALTHY, Health.UNHEALTHY, Health.DRAINING])


@st.composite
def assignments(draw: st.DrawFn) -> LoadAssignment:
    groups, number = [], 0
    for level in range(draw(st.integers(1, 2))):
        for zone in range(draw(st.integers(1, 2))):
            items = []
            for _ in range(draw(st.integers(0, 4))):
                number += 1
                items.append(endpoint(f"10.0.0.{number}:80", draw(st.integers(1, 9)), health=draw(HEALTH)))
            weight = draw(st.sampled_from([0, 1, 80]))
            groups.append(LocalityEndpoints(tuple(items), Locality("r", f"z{zone}"), level, weight))
    return LoadAssignment("c", tuple(groups))


@settings(max_examples=100, deadline=None)
@given(POLICIES, assignments(), st.booleans(), st.integers(0, 1 << 32))
def test_a_pick_is_a_host_that_may_be_picked(policy: LbPolicy, load: LoadAssignment, weighted: bool, seed: int) -> None:
    rng = Random(seed)
    panics = OutlierDetection(min_health_percent=50)
    balancer = make_balancer(Cluster("c", Discovery.EDS, policy, locality_weighted=weighted, outlier=panics), load, 0.0)
    for host in balancer.hosts:
        host.ejected = rng.random() < 0.2
    balancer.on_health_change(0.0)
    usable = [host for host in balancer.hosts if not host.is_draining]
    tried: tuple[object, ...] = ()
    for _ in range(len(usable) + 2):
        found = balancer.pick(rng.random, 0.0, rng.getrandbits(64), tried)  # type: ignore[arg-type]
        if not usable:
            assert found is None
            return
        assert found is not None and not found.is_draining
        tried = (*tried, found)


@settings(max_examples=100, deadline=None)
@given(POLICIES, st.lists(st.integers(1, 9), min_size=2, max_size=6), st.integers(0, 1 << 32))
def test_retries_see_every_host_once_before_any_twice(policy: LbPolicy, weights: list[int], seed: int) -> None:
    rng = Random(seed)
    items = tuple(endpoint(f"10.0.0.{index}:80", weight) for index, weight in enumerate(weights))
    balancer = make_balancer(Cluster("c", Discovery.EDS, policy), LoadAssignment("c", (LocalityEndpoints(items),)), 0.0)
    tried: list[object] = []
    for _ in weights:
        found = balancer.pick(rng.random, 0.0, 12345, tried)  # type: ignore[arg-type]
        assert found not in tried
        tried.append(found)


@settings(max_examples=15, deadline=None)
@given(
    st.sampled_from([LbPolicy.RANDOM, LbPolicy.ROUND_ROBIN, LbPolicy.LEAST_REQUEST]),
    st.lists(st.integers(1, 20), min_size=1, max_size=6),
)
def test_idle_hosts_get_their_weights_share(policy: LbPolicy, weights: list[int]) -> None:
    rng = Random(sum(weights)).random
    items = tuple(endpoint(f"10.0.0.{index}:80", weight) for index, weight in enumerate(weights))
    balancer = make_balancer(Cluster("c", Discovery.EDS, policy), LoadAssignment("c", (LocalityEndpoints(items),)), 0.0)
    drawn = [balancer.pick(rng) for _ in range(4_000)]
    for host in balancer.hosts:
        assert abs(drawn.count(host) / 4_000 - host.weight / sum(weights)) < 0.04


@settings(max_examples=100, deadline=None)
@given(assignments(), assignments())
def test_updates_keep_the_state_of_hosts_that_stay(before: LoadAssignment, after: LoadAssignment) -> None:
    cluster = Cluster("c", Discovery.EDS)
    first = make_balancer(cluster, before, 0.0)
    for number, host in enumerate(first.hosts):
        host.active = number
    second = make_balancer(cluster, after, 1.0, first)
    assert [host.name for host in second.hosts] == [str(item.address) for item in after.endpoints()]
    for host in second.hosts:
        old = first.host(host.name)
        assert old is None or old is host


@settings(max_examples=100, deadline=None)
@given(POLICIES, assignments(), st.integers(0, 1 << 32))
def test_without_panic_only_healthy_hosts_are_picked(policy: LbPolicy, load: LoadAssignment, seed: int) -> None:
    rng = Random(seed)
    balancer = make_balancer(Cluster("c", Discovery.EDS, policy), load, 0.0)
    healthy = [host for host in balancer.hosts if host.is_healthy]
    for _ in range(20):
        found = balancer.pick(rng.random, 0.0, rng.getrandbits(64))
        assert found in healthy if healthy else found is None
