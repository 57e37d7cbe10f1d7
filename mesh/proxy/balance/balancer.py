"""Balancer: the hosts of one cluster and who is next, over priorities, localities and panic.

Theory (Envoy's): a priority's health is its healthy share x 1.4 (over-provisioning), at most 100 %. Priorities are
filled in order until 100 % of the load is placed. When not enough is healthy anywhere, a priority whose healthy
share is below the panic threshold uses all its hosts, as sending to a host that is perhaps ill beats sending
everything to the few that are left. The threshold is `OutlierDetection.min_health_percent` (Envoy
`healthy_panic_threshold`; Istio sets it so), 0 without one: then nobody healthy means nobody (503 UH). Locality weights, when set, split a priority's load in the same manner.
Draining hosts are never picked.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from mesh.model.cluster import Cluster, LbPolicy
from mesh.model.endpoint import LoadAssignment, Locality
from mesh.proxy.balance.host import Host
from mesh.proxy.balance.maglev import MaglevPicker
from mesh.proxy.balance.pickers import (
    LeastRequestPicker,
    Picker,
    RandomPicker,
    Rng,
    RoundRobinPicker,
    WeightedDraw,
)
from mesh.proxy.balance.ring_hash import RingHashPicker

OVERPROVISIONING = 1.4
# Envoy SlowStartConfig: min_weight_percent 10, aggression 1.
_MIN_WARM_SHARE = 0.1
_WARM_STEPS = 20


class Balancer:
    """Picks hosts of one cluster. Not thread-safe: it belongs to the trio thread.

    hosts: every host, in the assignment's order, whatever its health.
    """

    __slots__ = (
        "_by_name",
        "_choose",
        "_cluster",
        "_locality_weights",
        "_next_warm_at",
        "_only",
        "_panic_share",
        "_pickers",
        "hosts",
    )

    def __init__(self, cluster: Cluster, assignment: LoadAssignment, now: float, previous: Balancer | None) -> None:
        self._cluster = cluster
        self._panic_share = cluster.outlier.min_health_percent / 100.0 if cluster.outlier is not None else 0.0
        known = previous._by_name if previous is not None else {}
        self._by_name: dict[str, Host] = {}
        self._locality_weights: dict[tuple[int, Locality], int] = {}
        for group in assignment.localities:
            if group.weight and cluster.locality_weighted:
                self._locality_weights[group.priority, group.locality] = group.weight
            for endpoint in group.endpoints:
                host = known.get(str(endpoint.address))
                if host is None:
                    host = Host(endpoint, group.locality, group.priority, now)
                    # The first assignment of a cluster is warm: slow start is about hosts that join others.
                    if previous is not None and cluster.slow_start_seconds > 0:
                        host.warm_at = now + cluster.slow_start_seconds
                else:
                    host.update(endpoint, group.locality, group.priority)
                    if cluster.outlier is None:
                        host.ejected = False  # nobody is left to let it back
                self._by_name[host.name] = host
        self.hosts: tuple[Host, ...] = tuple(self._by_name.values())
        self._rebuild(now)

    @property
    def cluster(self) -> Cluster:
        return self._cluster

    def host(self, name: str) -> Host | None:
        """The host with that `address:port`, for forwarding to a given address."""
        return self._by_name.get(name)

    def pick(
        self, rng: Rng, now: float = 0.0, hash_value: int | None = None, exclude: Collection[Host] = ()
    ) -> Host | None:
        """The host for a request; None when there is none to be had (503 UH).

        Args: exclude: hosts already tried; used again only when no other is left.
        """
        if now >= self._next_warm_at:
            self._rebuild(now)
        if self._only is not None:
            return self._only.pick(rng, hash_value, exclude)
        if self._choose is None:
            return None
        host = self._pickers[self._choose.draw(rng)].pick(rng, hash_value, exclude)
        if exclude and host is not None and host in exclude:
            # This priority or locality has nothing else left: look in the others before repeating a host.
            for picker in self._pickers:
                other = picker.pick(rng, hash_value, exclude)
                if other is not None and other not in exclude:
                    return other
        return host

    def on_health_change(self, now: float) -> None:
        """A host was ejected or let back, by outlier detection or health checks."""
        self._rebuild(now)

    def _rebuild(self, now: float) -> None:
        self._next_warm_at = _next_step(self.hosts, self._cluster.slow_start_seconds, now)
        self._only: Picker | None = None
        self._choose: WeightedDraw | None = None
        self._pickers: tuple[Picker, ...] = ()
        parts: list[tuple[float, Picker]] = []
        for load, hosts, priority in _loads(self.hosts, self._panic_share):
            parts.extend(self._localities(load, hosts, priority, now))
        if len(parts) == 1:
            self._only = parts[0][1]
        elif parts:
            self._choose = WeightedDraw([load for load, _ in parts])
            self._pickers = tuple(picker for _, picker in parts)

    def _localities(self, load: float, hosts: Sequence[Host], priority: int, now: float) -> list[tuple[float, Picker]]:
        weights = {
            locality: weight for (level, locality), weight in self._locality_weights.items() if level == priority
        }
        if not weights:
            return [(load, self._picker(hosts, now))]
        groups: dict[Locality, list[Host]] = {}
        for host in hosts:
            groups.setdefault(host.locality, []).append(host)
        sizes: dict[Locality, int] = {}
        for host in self.hosts:
            if host.priority == priority and not host.is_draining:
                sizes[host.locality] = sizes.get(host.locality, 0) + 1
        shares = {
            # Envoy: a locality whose hosts are partly out keeps its weight while 1.4 x its healthy share covers it.
            locality: weights.get(locality, 0) * min(1.0, OVERPROVISIONING * len(members) / sizes[locality])
            for locality, members in groups.items()
        }
        total = sum(shares.values())
        if not total:
            return [(load, self._picker(hosts, now))]
        return [
            (load * share / total, self._picker(groups[locality], now)) for locality, share in shares.items() if share
        ]

    def _picker(self, hosts: Sequence[Host], now: float) -> Picker:
        cluster = self._cluster
        slow = cluster.slow_start_seconds
        weights = [host.weight * _warmth(host, slow, now) if slow else float(host.weight) for host in hosts]
        match cluster.lb:
            case LbPolicy.ROUND_ROBIN:
                return RoundRobinPicker(hosts, weights)
            case LbPolicy.RANDOM:
                return RandomPicker(hosts, weights)
            case LbPolicy.RING_HASH:
                return RingHashPicker(hosts, weights, cluster.ring_min_size, cluster.ring_max_size)
            case LbPolicy.MAGLEV:
                return MaglevPicker(hosts, weights, cluster.maglev_table_size)
            case _:
                # CLUSTER_PROVIDED clusters name their host by address; should one be balanced, then like this.
                return LeastRequestPicker(hosts, weights, cluster.least_request_choices)


def make_balancer(
    cluster: Cluster, assignment: LoadAssignment, now: float, previous: Balancer | None = None
) -> Balancer:
    """A balancer for the cluster's new assignment.

    Hosts whose address is in `previous` too are the same Host objects: their active requests, ejections and counters go on.
    Args: now: seconds on the proxy's monotonic clock (for slow start).
    """
    return Balancer(cluster, assignment, now, previous)


def _loads(hosts: Sequence[Host], panic_share: float) -> list[tuple[float, Sequence[Host], int]]:
    """(share of the load, hosts to use, priority) of every priority that gets any."""
    levels: dict[int, list[Host]] = {}
    for host in hosts:
        if not host.is_draining:
            levels.setdefault(host.priority, []).append(host)
    healthy = {level: [host for host in members if host.is_healthy] for level, members in levels.items()}
    health = {
        level: min(1.0, OVERPROVISIONING * len(healthy[level]) / len(members)) for level, members in levels.items()
    }
    total = min(1.0, sum(health.values()))
    if not levels:
        return []
    if total == 0.0 and not panic_share:
        return []
    if total == 0.0:
        # Nobody is healthy: full panic. Every priority gets load by its size.
        count = sum(len(members) for members in levels.values())
        return [(len(members) / count, members, level) for level, members in sorted(levels.items())]
    loads: list[tuple[float, Sequence[Host], int]] = []
    left = 1.0
    for level in sorted(levels):
        load = min(left, health[level] / total)
        left -= load
        if load <= 1e-9:
            continue
        panics = total < 1.0 and len(healthy[level]) / len(levels[level]) < panic_share
        loads.append((load, levels[level] if panics else healthy[level], level))
    return loads


def _warmth(host: Host, slow_start_seconds: float, now: float) -> float:
    if not host.warm_at or now >= host.warm_at:
        return 1.0
    return max(_MIN_WARM_SHARE, 1.0 - (host.warm_at - now) / slow_start_seconds)


def _next_step(hosts: Sequence[Host], slow_start_seconds: float, now: float) -> float:
    """When the weights have to be computed again because a host is warming; infinity when none is."""
    if slow_start_seconds and any(host.warm_at > now for host in hosts):
        return now + slow_start_seconds / _WARM_STEPS
    return float("inf")
