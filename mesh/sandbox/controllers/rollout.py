"""How many pods each ReplicaSet of a Deployment shall have next. Pure.

Every call looks at the present state only and takes the next safe step:
    new set up to   replicas + maxSurge  pods in all
    old sets down as long as  replicas - maxUnavailable  pods stay available; pods that never got ready go first
Source: Kubernetes "Deployments"; kube-controller-manager deployment/rolling.go for the arithmetic.
"""

import math
from typing import Any

Json = dict[str, Any]
Sizes = dict[str, int]
"""Wanted replicas by ReplicaSet name; a set that is not there keeps its own."""
DESIRED = "deployment.kubernetes.io/desired-replicas"


def limits(deployment: Json) -> tuple[int, int]:
    """(maxSurge, maxUnavailable) as numbers; percentages round up and down; both 0 would never move, so one may be missing."""
    wanted = desired(deployment)
    update = (deployment["spec"].get("strategy") or {}).get("rollingUpdate") or {}
    surge = _number(update.get("maxSurge", "25%"), wanted, up=True)
    unavailable = _number(update.get("maxUnavailable", "25%"), wanted, up=False)
    if surge == 0 and unavailable == 0:
        unavailable = 1
    return surge, min(unavailable, wanted)


def first_size(deployment: Json, old: list[Json]) -> int:
    """Replicas of a new set when it is made."""
    wanted = desired(deployment)
    return max(0, min(wanted, wanted + limits(deployment)[0] - sum(map(replicas, old))))


def rolling(deployment: Json, current: Json, old: list[Json]) -> Sizes:
    """The next step of a RollingUpdate; `old` in the order of their creation."""
    wanted, (surge, unavailable) = desired(deployment), limits(deployment)
    total, now_new = sum(map(replicas, old)), replicas(current)
    sizes: Sizes = {}
    if now_new > wanted:
        sizes[current["metadata"]["name"]] = wanted
    elif now_new < wanted:
        room = max(0, wanted + surge - total - now_new)
        sizes[current["metadata"]["name"]] = now_new + min(room, wanted - now_new)
    if total:
        minimum = wanted - unavailable
        spare = total + now_new - minimum - (now_new - available(current))
        spare = _shrink_broken(old, sizes, spare)
        free = max(0, sum(map(available, old)) + available(current) - minimum)
        _shrink(old, sizes, min(free, max(0, spare)))
    return sizes


def recreating(old: list[Json]) -> Sizes:
    """All old sets to nothing."""
    return {rs["metadata"]["name"]: 0 for rs in old if replicas(rs)}


def proportional(deployment: Json, current: Json | None, old: list[Json]) -> Sizes:
    """A paused Deployment is only scaled: the one active set, or every active one in proportion."""
    wanted, sizes = desired(deployment), Sizes()
    active = [rs for rs in [*old, *([current] if current else [])] if replicas(rs) > 0]
    if len(active) <= 1:
        target = active[0] if active else current
        if target is not None and replicas(target) != wanted:
            sizes[target["metadata"]["name"]] = wanted
        return sizes
    total = sum(map(replicas, active))
    allowed = wanted + limits(deployment)[0] if wanted else 0
    before = int((active[-1]["metadata"].get("annotations") or {}).get(DESIRED, wanted))
    if before == wanted:
        return sizes
    rest = allowed - total
    for rs in sorted(active, key=replicas, reverse=True):
        share = round(replicas(rs) * (allowed - total) / total)
        share = min(share, rest) if rest > 0 else max(share, rest)
        sizes[rs["metadata"]["name"]] = max(0, replicas(rs) + share)
        rest -= share
    largest = max(active, key=replicas)["metadata"]["name"]
    sizes[largest] = max(0, sizes[largest] + rest)
    return sizes


def desired(deployment: Json) -> int:
    """What the Deployment asks for."""
    return int(deployment["spec"].get("replicas", 1))


def replicas(rs: Json) -> int:
    """What a set asks for."""
    return int(rs["spec"].get("replicas", 1))


def available(rs: Json) -> int:
    """How many pods of a set have been ready for long enough."""
    return int((rs.get("status") or {}).get("availableReplicas", 0))


def _shrink_broken(old: list[Json], sizes: Sizes, spare: int) -> int:
    """Pods of old sets that are not available go first: they help nobody, and the new ones may be waiting for their room."""
    for rs in old:
        broken = min(replicas(rs) - available(rs), max(0, spare))
        if broken > 0:
            sizes[rs["metadata"]["name"]] = replicas(rs) - broken
            spare -= broken
    return spare


def _shrink(old: list[Json], sizes: Sizes, free: int) -> None:
    for rs in old:
        left = sizes.get(rs["metadata"]["name"], replicas(rs))
        step = min(left, free)
        if step > 0:
            sizes[rs["metadata"]["name"]] = left - step
            free -= step


def _number(value: int | str, whole: int, *, up: bool) -> int:
    if isinstance(value, int):
        return value
    part = whole * int(value.rstrip("%")) / 100
    return math.ceil(part) if up else math.floor(part)
