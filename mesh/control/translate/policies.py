"""Policies: which DestinationRule governs a host, and what its parts come to for a port and subset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from mesh.control.kube import istio
from mesh.control.kube.objects import Meta
from mesh.control.kube.world import World
from mesh.control.translate.registry import Registry, covers, wildcards_of
from mesh.model.origin import Problem, Severity


@dataclass(frozen=True, slots=True)
class Governing:
    """The DestinationRules of one host and namespace, merged: the oldest's policy, everybody's subsets."""

    meta: Meta
    policy: istio.TrafficPolicy
    subsets: tuple[tuple[Meta, istio.Subset], ...]

    def effective(self, port: int, subset: istio.Subset | None) -> istio.TrafficPolicy:
        """The parts in force for a port: subset over rule, port over everything (Istio's MergeTrafficPolicy)."""
        policy = self.policy
        if subset is not None:
            policy = _overlay(policy, subset.policy)
            at_port = subset.policy.ports.get(port) or self.policy.ports.get(port)
        else:
            at_port = policy.ports.get(port)
        # Port-level settings do not inherit what they leave out.
        return at_port if at_port is not None else policy


@dataclass(frozen=True, slots=True)
class Policies:
    """shared: what everybody sees, by host pattern. private: namespace → host pattern → that namespace's own rule."""

    shared: Mapping[str, Governing] = field(default_factory=dict)
    private: Mapping[str, Mapping[str, Governing]] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()

    def governing(self, host: str, client_namespace: str = "") -> Governing | None:
        """The client namespace's rule wins over the shared one; a more exact host pattern over a wildcard."""
        for table in (self.private.get(client_namespace), self.shared):
            if table is None:
                continue
            found = table.get(host) or next((table[name] for name in wildcards_of(host) if name in table), None)
            if found is not None:
                return found
        return None

    def subsets(self, host: str) -> tuple[tuple[Meta, istio.Subset], ...]:
        """Every subset of the host that any namespace knows: endpoints are computed for all of them."""
        found: dict[str, tuple[Meta, istio.Subset]] = {}
        for namespace in ("", *self.private):
            rule = self.governing(host, namespace)
            for meta, subset in rule.subsets if rule is not None else ():
                found.setdefault(subset.name, (meta, subset))
        return tuple(found.values())


def policies(world: World, registry: Registry, root_namespace: str) -> Policies:
    """Istio's lookup: the rule in the client's namespace, else in the service's, else in the root namespace."""
    by_place: dict[tuple[str, str], list[istio.DestinationRule]] = {}
    problems: list[Problem] = []
    for rule in sorted(world.destination_rules.values(), key=lambda rule: rule.meta.age_order):
        if rule.host:
            by_place.setdefault((rule.meta.namespace, rule.host), []).append(rule)
    shared: dict[str, Governing] = {}
    private: dict[str, dict[str, Governing]] = {}
    for (namespace, host), rules in by_place.items():
        merged = _merge(rules, problems)
        owner = registry.get(host)
        covered = owner is not None or any(covers(host, name) for name in registry.services)
        if not covered:
            reason = "UnknownDestinationRuleHost"
            problems.append(
                Problem(merged.meta.ref, "spec.host", f"no service has the host {host}", reason, Severity.WARNING)
            )
        is_owners = owner is not None and owner.namespace == namespace
        is_exported = not rules[0].export_to or rules[0].export_to != frozenset({namespace})
        if is_owners and is_exported:
            shared[host] = merged
        elif namespace == root_namespace and is_exported:
            shared.setdefault(host, merged)
        else:
            private.setdefault(namespace, {})[host] = merged
    return Policies(shared, private, tuple(problems))


def _merge(rules: list[istio.DestinationRule], problems: list[Problem]) -> Governing:
    first = rules[0]
    subsets: dict[str, tuple[Meta, istio.Subset]] = {}
    for rule in rules:
        if rule is not first and rule.policy != istio.NO_POLICY:
            message = f"{first.meta.ref} already sets the policy of {rule.host}; this one's has no effect"
            problems.append(Problem(rule.meta.ref, "spec.trafficPolicy", message, "ConflictingDestinationRule"))
        for subset in rule.subsets:
            winner = subsets.setdefault(subset.name, (rule.meta, subset))
            if winner[1] is not subset:
                message = f"subset {subset.name} is already defined by {winner[0].ref}"
                problems.append(Problem(rule.meta.ref, subset.path, message, "DuplicateSubset"))
    return Governing(first.meta, first.policy, tuple(subsets.values()))


def _overlay(base: istio.TrafficPolicy, over: istio.TrafficPolicy) -> istio.TrafficPolicy:
    return replace(
        base,
        balancer=over.balancer or base.balancer,
        pool=over.pool or base.pool,
        outlier=over.outlier or base.outlier,
        tls=over.tls or base.tls,
    )
