import math

import pytest

from mesh.model.addr import Address
from mesh.model.cluster import CircuitBreaker
from mesh.model.endpoint import Endpoint, Locality
from mesh.proxy.balance import Host
from mesh.proxy.breaker import Breaker
from mesh.proxy.deadlines import Deadlines
from mesh.proxy.poller import Parker
from mesh.proxy.pool import Pool, PoolSettings, Waiter
from mesh.proxy.upstream_h1 import UpstreamConnection


class FakeChannel:
    def __init__(self) -> None:
        self.hung_up = self.is_stale = self.is_readable = False
        self.is_open = True
        self.on_idle = None


class FakeConnection(UpstreamConnection):
    """What a pool needs of an UpstreamConnection."""

    def __init__(self) -> None:
        self.channel = FakeChannel()
        self.deadline = None
        self.idle_since = self.opened_at = 0.0
        self.usable_until = math.inf
        self.served = 1
        self.on_idle = None
        self.alive = True
        self.closed = False

    def is_alive(self) -> bool:
        return self.alive

    def is_surely_alive(self) -> bool:
        return not self.channel.is_stale or self.alive

    def close(self) -> None:
        self.closed = True


class Kit:
    def __init__(self, **settings: float) -> None:
        self.breaker = Breaker(CircuitBreaker())
        self.deadlines = Deadlines()
        self.deadlines.now = lambda: self.now
        self.now = 0.0
        self.emptied: list[Pool] = []
        host = Host(Endpoint(Address("10.0.0.1", 80)), Locality(), 0, 0.0)
        plain = {"idle_seconds": 0.0, "max_age_seconds": 0.0, "max_requests": 0}
        self.pool = Pool(host, PoolSettings(**{**plain, **settings}), self.breaker, self.deadlines, self.emptied.append)

    def connection(self) -> FakeConnection:
        self.pool.open += 1
        self.breaker.connections += 1
        return FakeConnection()


@pytest.fixture
def kit() -> Kit:
    return Kit()


def test_the_freshest_connection_is_taken_first(kit: Kit) -> None:
    first, second = kit.connection(), kit.connection()
    kit.pool.give_back(first, 1.0)
    kit.pool.give_back(second, 2.0)
    assert kit.pool.take(3.0) is second and kit.pool.take(3.0) is first and kit.pool.take(3.0) is None


@pytest.mark.parametrize("how", ["hung_up", "stale", "outlived"])
def test_dead_connections_are_dropped_on_the_way(kit: Kit, how: str) -> None:
    good, bad = kit.connection(), kit.connection()
    kit.pool.give_back(good, 1.0)
    kit.pool.give_back(bad, 1.0)
    if how == "hung_up":
        bad.channel.hung_up = True
    elif how == "stale":
        bad.channel.is_stale, bad.alive = True, False
    else:
        bad.usable_until = 2.0
    assert kit.pool.take(3.0) is good and bad.closed
    assert kit.pool.open == kit.breaker.connections == 1


def test_an_end_while_idle_closes_at_once_and_teaches_the_limit(kit: Kit) -> None:
    connection, other = kit.connection(), kit.connection()
    kit.pool.give_back(connection, 0.0)
    kit.now = 10.0
    connection.channel.hung_up = connection.channel.is_readable = True
    connection.channel.on_idle()
    assert connection.closed and kit.pool.idle_count == 0
    kit.pool.give_back(other, 10.0)
    assert kit.pool.take(19.5) is None and other.closed  # 9 s is 0.9 of what the peer allowed


def test_idle_ones_are_closed_after_the_idle_timeout() -> None:
    kit = Kit(idle_seconds=60.0)
    connection = kit.connection()
    kit.pool.give_back(connection, 0.0)
    kit.deadlines.sweep(59.0)
    assert not connection.closed
    kit.deadlines.sweep(60.0)
    assert connection.closed and kit.emptied == [kit.pool]


def test_used_up_and_old_connections_are_not_kept() -> None:
    kit = Kit(max_requests=2, max_age_seconds=10.0)
    worn, old = kit.connection(), kit.connection()
    worn.served = 2
    kit.pool.give_back(worn, 1.0)
    kit.pool.give_back(old, 10.0)
    assert worn.closed and old.closed


def test_who_waits_gets_the_connection_or_the_right_to_open_one(kit: Kit) -> None:
    one, two = Waiter(Parker()), Waiter(Parker())
    kit.pool.waiters.extend((one, two))
    connection = kit.connection()
    kit.pool.give_back(connection, 1.0)
    assert one.connection is connection and kit.pool.idle_count == 0
    kit.pool.discard(connection)
    assert two.may_dial and two.connection is None


def test_a_drained_pool_closes_what_is_idle_now_and_the_rest_later(kit: Kit) -> None:
    idle, busy = kit.connection(), kit.connection()
    kit.pool.give_back(idle, 1.0)
    kit.pool.drain()
    assert idle.closed and not busy.closed
    kit.pool.give_back(busy, 2.0)
    assert busy.closed and kit.pool.open == 0 and kit.emptied == [kit.pool]


def test_connections_secured_in_the_former_way_are_not_kept(kit: Kit) -> None:
    idle, busy = kit.connection(), kit.connection()
    kit.pool.give_back(idle, 1.0)
    kit.pool.renew(2.0)
    assert idle.closed and not busy.closed and kit.pool.open == 1
    kit.pool.give_back(busy, 3.0)
    assert busy.closed
    newer = kit.connection()
    newer.opened_at = 4.0
    kit.pool.give_back(newer, 5.0)
    assert not newer.closed and kit.pool.take(5.0) is newer
