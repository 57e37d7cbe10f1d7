"""Opaque traffic by rule."""

from __future__ import annotations

from mesh.control.kube.istio import L4Match, L4Rule
from mesh.control.kube.rules import Backend, Where
from mesh.control.translate.l4 import gateway_l4, hosts_within
from mesh.model.listener import Listener, TcpProxy
from tests.support.world import Cluster

SERVICES = """
apiVersion: v1
kind: Service
metadata: {name: db}
spec: {clusterIP: 198.19.1.2, ports: [{name: tcp, port: 3306}, {name: tls, port: 443}]}
---
apiVersion: v1
kind: Service
metadata: {name: db-v2}
spec: {clusterIP: 198.19.1.3, ports: [{name: tcp, port: 3306}]}
"""


def listener(rules: str, name: str = "198.19.1.2_3306", **labels: str) -> Listener:
    cluster = Cluster()
    cluster.apply(SERVICES)
    cluster.apply(
        f"apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: v}}\nspec: {{hosts: [db], {rules}}}"
    )
    return cluster.sidecar("x", **labels).listeners[name]


def shares(found: Listener) -> list[tuple[str, int]]:
    (chain,) = found.chains
    assert isinstance(chain.filter, TcpProxy)
    return [(cluster.name.split("|")[3].split(".")[0], cluster.weight) for cluster in chain.filter.clusters]


SPLIT = "route: [{destination: {host: db}, weight: 3}, {destination: {host: db-v2}, weight: 1}]"


def test_tcp_weights() -> None:
    assert shares(listener(f"tcp: [{{{SPLIT}}}]")) == [("db", 3), ("db-v2", 1)]


def test_the_first_tcp_rule_that_applies_wins() -> None:
    to_v2 = "route: [{destination: {host: db-v2}}]"
    assert shares(listener(f"tcp: [{{match: [{{port: 3307}}], {to_v2}}}]")) == [("db", 1)]
    assert shares(listener(f"tcp: [{{match: [{{destinationSubnets: [198.19.1.0/24]}}], {to_v2}}}]")) == [("db-v2", 1)]
    assert shares(listener(f"tcp: [{{match: [{{destinationSubnets: [10.0.0.0/8]}}], {to_v2}}}]")) == [("db", 1)]
    by_label = f"tcp: [{{match: [{{sourceLabels: {{app: a}}}}], {to_v2}}}]"
    assert shares(listener(by_label, app="a")) == [("db-v2", 1)]
    assert shares(listener(by_label, app="b")) == [("db", 1)]


def test_tls_by_server_name() -> None:
    rules = "tls: [{match: [{port: 443, sniHosts: [a.example]}], route: [{destination: {host: db-v2, port: {number: 3306}}}]}]"
    found = listener(rules, "198.19.1.2_443")
    assert [chain.match.server_names for chain in found.chains] == [("a.example",)]
    assert found.default_chain is not None


def test_gateway_rules_are_chosen_by_gateway_and_port() -> None:
    rule = L4Rule("tcp[0]", (L4Match(Where(frozenset({"default/g"}), 9999)), L4Match(Where(port=1))), (Backend("x"),))
    assert gateway_l4([rule], "default/g", 9999) == [(rule.wheres[0], rule)]
    assert gateway_l4([rule], "default/other", 9999) == []


def test_server_names_stay_within_the_servers_hosts() -> None:
    assert hosts_within(("a.example", "b.other"), ("*.example",)) == ("a.example",)
