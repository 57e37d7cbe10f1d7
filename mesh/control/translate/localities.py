"""Localities: near endpoints first, as Istio's `localityLbSetting` has it.

Failover (the default) needs outlier detection, or a failure nearby would never be noticed: endpoints get priorities by
how much of region, zone and sub-zone they share with the client. `distribute` splits traffic by weights instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from mesh.control.kube import istio
from mesh.control.kube.world import World
from mesh.control.translate.policies import Policies
from mesh.model.cluster import Cluster
from mesh.model.endpoint import LoadAssignment, Locality, LocalityEndpoints
from mesh.model.node import Node

NOWHERE = Locality()


def locality_of(world: World, node: Node) -> Locality:
    """Where a proxy runs, by its pod's Kubernetes node; empty when that is not known."""
    pod = world.pods.get((node.namespace, node.name))
    known = world.nodes.get(("", pod.node)) if pod is not None else None
    return known.locality if known is not None else NOWHERE


def as_seen_from(
    client: Locality,
    namespace: str,
    clusters: Mapping[str, Cluster],
    endpoints: Mapping[str, LoadAssignment],
    policies: Policies,
) -> dict[str, LoadAssignment]:
    """The assignments with priorities or weights for this client; those that do not change are the same objects."""
    found = dict(endpoints)
    if client == NOWHERE:
        return found
    for name, assignment in endpoints.items():
        if len(assignment.localities) < 2:
            continue
        cluster = clusters[name]
        setting = _setting(cluster, namespace, policies)
        shares = next((to for source, to in setting.distribute if _is_within(client, source)), None)
        if not setting.is_enabled:
            continue
        if shares is not None:
            found[name] = distributed(assignment, shares)
        elif cluster.outlier is not None:
            found[name] = prioritised(assignment, client, dict(setting.failover))
    return found


def prioritised(assignment: LoadAssignment, client: Locality, failover: Mapping[str, str]) -> LoadAssignment:
    """Same sub-zone 0, zone 1, region 2, else 3; with a failover rule for the client's region, other regions than its
    target come last. Priorities are made contiguous, as Envoy wants them."""
    ranks = [_rank(client, group.locality, failover.get(client.region)) for group in assignment.localities]
    order = sorted(set(ranks))
    groups = tuple(
        replace(group, priority=order.index(rank)) for group, rank in zip(assignment.localities, ranks, strict=True)
    )
    return replace(assignment, localities=groups)


def distributed(assignment: LoadAssignment, shares: tuple[tuple[str, int], ...]) -> LoadAssignment:
    """Each share is divided among the localities it names by their number of endpoints; others get nothing."""
    groups: list[LocalityEndpoints] = []
    left = list(assignment.localities)
    # The most exact place first: `r/z/*` takes its localities before `r/*` does.
    for place, weight in sorted(shares, key=lambda share: -share[0].count("/")):
        chosen = [group for group in left if _is_within(group.locality, place)]
        left = [group for group in left if group not in chosen]
        total = sum(len(group.endpoints) for group in chosen)
        # Thousandths keep the proportions of small shares.
        groups += (replace(g, weight=max(1, weight * 1000 * len(g.endpoints) // total)) for g in chosen if total)
    return replace(assignment, localities=tuple(sorted(groups, key=lambda group: group.locality)))


def _setting(cluster: Cluster, namespace: str, policies: Policies) -> istio.LocalityLb:
    if cluster.service is None:
        return istio.DEFAULT_LOCALITY
    rule = policies.governing(cluster.service.host, namespace)
    if rule is None:
        return istio.DEFAULT_LOCALITY
    subset = next((item for _, item in rule.subsets if item.name == cluster.subset), None)
    balancer = rule.effective(int(cluster.name.split("|")[1]), subset).balancer
    return balancer.locality if balancer is not None else istio.DEFAULT_LOCALITY


def _rank(client: Locality, place: Locality, target: str | None) -> int:
    if place.region != client.region:
        return 4 if target is not None and place.region != target else 3
    if place.zone != client.zone:
        return 2
    return 0 if place.sub_zone == client.sub_zone else 1


def _is_within(place: Locality, pattern: str) -> bool:
    """`region/zone/sub-zone`, shorter or with `*` for the rest."""
    parts = (place.region, place.zone, place.sub_zone)
    return all(wanted in ("*", "") or wanted == part for wanted, part in zip(pattern.split("/"), parts, strict=False))
