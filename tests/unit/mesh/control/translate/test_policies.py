"""Which DestinationRule governs a host."""

from __future__ import annotations

from mesh.control.kube import istio
from mesh.control.kube.objects import Meta
from mesh.control.translate.policies import Governing
from mesh.model.cluster import LbPolicy
from tests.support.world import Cluster

SERVICE = (
    "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: owner}\nspec: {ports: [{name: http, port: 80}]}"
)
HOST = "web.owner.svc.cluster.local"


def rule(name: str, namespace: str, simple: str = "", host: str = HOST, subset: str = "", more: str = "") -> str:
    policy = f"trafficPolicy: {{loadBalancer: {{simple: {simple}}}}}, " if simple else ""
    subsets = f"subsets: [{{name: {subset}, labels: {{v: {subset}}}}}], " if subset else ""
    return (
        f"apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: {name}, namespace: {namespace}}}\n"
        f"spec: {{host: '{host}', {policy}{subsets}{more}}}"
    )


def lb(governing: Governing | None) -> LbPolicy | None:
    assert governing is not None
    balancer = governing.effective(80, None).balancer
    return balancer.policy if balancer is not None else None


def cluster(*rules: str) -> Cluster:
    made = Cluster()
    made.apply(SERVICE)
    for text in rules:
        made.apply(text)
    return made


def test_the_clients_namespace_wins_over_the_owners() -> None:
    graph = cluster(rule("a", "owner", "RANDOM"), rule("b", "client", "ROUND_ROBIN")).graph()
    policies = graph.names.policies
    assert lb(policies.governing(HOST, "client")) is LbPolicy.ROUND_ROBIN
    assert lb(policies.governing(HOST, "third")) is LbPolicy.RANDOM


def test_the_root_namespace_governs_what_nobody_else_does() -> None:
    graph = cluster(rule("r", "triomesh-system", "RANDOM", host="*.owner.svc.cluster.local")).graph()
    assert lb(graph.names.policies.governing(HOST, "anyone")) is LbPolicy.RANDOM


def test_an_exact_host_wins_over_a_wildcard() -> None:
    graph = cluster(rule("w", "triomesh-system", "RANDOM", host="*.local"), rule("e", "owner", "ROUND_ROBIN")).graph()
    assert lb(graph.names.policies.governing(HOST)) is LbPolicy.ROUND_ROBIN


def test_rules_that_are_not_exported_stay_private() -> None:
    graph = cluster(rule("a", "owner", "RANDOM", more="exportTo: ['.']")).graph()
    policies = graph.names.policies
    assert lb(policies.governing(HOST, "owner")) is LbPolicy.RANDOM
    assert policies.governing(HOST, "other") is None


def test_two_rules_of_one_namespace_merge_their_subsets() -> None:
    graph = cluster(
        rule("one", "owner", "RANDOM", subset="v1"),
        rule("two", "owner", "ROUND_ROBIN", subset="v2"),
        rule("three", "owner", subset="v1"),
    ).graph()
    governing = graph.names.policies.governing(HOST)
    assert governing is not None
    assert lb(governing) is LbPolicy.RANDOM
    assert [subset.name for _, subset in governing.subsets] == ["v1", "v2"]
    assert {(p.ref.name, p.reason) for p in graph.names.policies.problems} == {
        ("two", "ConflictingDestinationRule"),
        ("three", "DuplicateSubset"),
    }


def test_unknown_hosts_are_reported() -> None:
    text = rule("a", "owner", host="nobody.owner.svc.cluster.local", more="trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}")
    reasons = {problem.reason for problem in cluster(text).graph().names.policies.problems}
    assert reasons == {"UnknownDestinationRuleHost"}


def test_subset_over_rule_and_port_over_all() -> None:
    random, robin = istio.LoadBalancer(LbPolicy.RANDOM), istio.LoadBalancer(LbPolicy.ROUND_ROBIN)
    pool = istio.ConnectionPool(max_connections=1)
    wide = istio.TrafficPolicy(balancer=random, pool=pool, ports={81: istio.TrafficPolicy(balancer=robin)})
    subset = istio.Subset("v1", {}, istio.TrafficPolicy(balancer=robin))
    governing = Governing(Meta("DestinationRule", "owner", "x"), wide, ())
    assert governing.effective(80, subset) == istio.TrafficPolicy(balancer=robin, pool=pool, ports=wide.ports)
    # Port-level settings do not inherit: the pool is gone.
    assert governing.effective(81, None) == istio.TrafficPolicy(balancer=robin)
