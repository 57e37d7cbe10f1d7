"""What a Sidecar lets a pod's proxy know."""

from __future__ import annotations

from mesh.model.cluster import Discovery
from mesh.model.listener import HttpManager
from mesh.model.route import DirectResponse, ForwardAction
from mesh.model.snapshot import Snapshot
from tests.support.world import SYSTEM, Cluster, project, sidecar_node

SERVICES = """
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {clusterIP: 198.19.1.1, ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: db}
spec: {clusterIP: 198.19.1.2, ports: [{name: tcp, port: 3306}]}
---
apiVersion: v1
kind: Service
metadata: {name: api, namespace: shop}
spec: {clusterIP: 198.19.1.3, ports: [{name: http, port: 80}]}
"""
WEB, DB = "outbound|80||web.default.svc.cluster.local", "outbound|3306||db.default.svc.cluster.local"
API = "outbound|80||api.shop.svc.cluster.local"


def limit(*hosts: str, name: str = "default", namespace: str = "default", more: str = "") -> str:
    listed = ", ".join(f"'{host}'" for host in hosts)
    egress = f"egress: [{{hosts: [{listed}]}}]" if hosts else ""
    return (
        f"apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {{name: {name}, namespace: {namespace}}}\n"
        f"spec:\n  {egress}\n  {more}\n"
    )


def cluster(*texts: str) -> Cluster:
    made = Cluster()
    for text in (SERVICES, *texts):
        made.apply(text)
    return made


def outbound(snapshot: Snapshot) -> set[str]:
    return {name for name in snapshot.clusters if name.startswith("outbound|")}


def test_hosts_outside_the_scope_are_unknown_to_the_proxy() -> None:
    made = cluster(limit("./*"))
    snapshot = made.sidecar("x")
    assert outbound(snapshot) == {WEB, DB}
    assert not any("api.shop" in vhost.name for vhost in snapshot.routes["80"].virtual_hosts)
    # Another namespace has no Sidecar, so it sees everything.
    assert outbound(made.sidecar("x", "shop")) == {WEB, DB, API}


def test_hosts_are_named_with_their_namespace() -> None:
    assert outbound(cluster(limit("shop/*", "./web.default.svc.cluster.local")).sidecar("x")) == {WEB, API}
    assert outbound(cluster(limit("*/db.default.svc.cluster.local")).sidecar("x")) == {DB}
    snapshot = cluster(limit("~/*")).sidecar("x")
    assert outbound(snapshot) == set() and "198.19.1.2_3306" not in snapshot.listeners


def test_selector_beats_namespace_beats_root_namespace() -> None:
    made = cluster(
        limit("./*", namespace=SYSTEM),
        limit("shop/*", namespace="default"),
        limit("*/*", name="one", more="workloadSelector: {labels: {app: web}}"),
    )
    assert outbound(made.sidecar("x", app="web")) == {WEB, DB, API}
    assert outbound(made.sidecar("x", app="db")) == {API}
    # "." is the namespace of the pod, also in the root namespace's Sidecar.
    assert outbound(made.sidecar("x", "shop")) == {API}


def test_rules_in_scope_may_send_to_hosts_out_of_it() -> None:
    rule = (
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: v}\n"
        "spec: {hosts: [web], http: [{route: [{destination: {host: api.shop.svc.cluster.local}}], "
        "mirror: {host: db.default.svc.cluster.local, port: {number: 3306}}}]}"
    )
    snapshot = cluster(rule, limit("./web.default.svc.cluster.local")).sidecar("x")
    assert outbound(snapshot) == {WEB, API, DB}
    assert {API, DB} <= snapshot.endpoints.keys()
    assert not any("api.shop" in vhost.name for vhost in snapshot.routes["80"].virtual_hosts)


def test_rules_in_scope_may_use_the_namespaces_own_subsets_of_hosts_out_of_it() -> None:
    rules = (
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: d}\n"
        "spec: {host: api.shop.svc.cluster.local, exportTo: ['.'], subsets: [{name: v2, labels: {version: v2}}]}\n---\n"
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: v}\n"
        "spec: {hosts: [web], http: [{route: [{destination: {host: api.shop.svc.cluster.local, subset: v2}}]}]}"
    )
    subset = "outbound|80|v2|api.shop.svc.cluster.local"
    assert outbound(cluster(rules, limit("./web.default.svc.cluster.local")).sidecar("x")) == {WEB, subset}


def test_a_scope_shows_nothing_that_is_not_exported() -> None:
    rule = (
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: v}\n"
        "spec: {hosts: [web], http: [{route: [{destination: {host: inner.shop.svc.cluster.local}}]}]}\n---\n"
        "apiVersion: v1\nkind: Service\nmetadata: {name: inner, namespace: shop, annotations: {networking.istio.io/exportTo: '.'}}\n"
        "spec: {clusterIP: 198.19.1.8, ports: [{name: http, port: 80}]}"
    )
    assert outbound(cluster(rule, limit("*/*")).sidecar("x")) == {WEB, DB, API}
    assert outbound(cluster(rule).sidecar("x")) == {WEB, DB, API}


def test_outbound_policy_of_the_sidecar_wins_over_the_meshs() -> None:
    snapshot = cluster(limit("./*", more="outboundTrafficPolicy: {mode: REGISTRY_ONLY}")).sidecar("x")
    assert snapshot.routes["80"].virtual_hosts[-1].routes[0].action == DirectResponse(502)
    assert snapshot.listeners["virtualOutbound"].default_chain.filter.stat_prefix == "BlackHoleCluster"  # type: ignore[union-attr]
    mesh = (
        f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: triomesh, namespace: {SYSTEM}}}\n"
        "data: {mesh: 'outboundTrafficPolicy: {mode: REGISTRY_ONLY}'}"
    )
    snapshot = cluster(mesh, limit(more="outboundTrafficPolicy: {mode: ALLOW_ANY}")).sidecar("x")
    assert isinstance(snapshot.routes["80"].virtual_hosts[-1].routes[0].action, ForwardAction)


def test_the_collector_is_reachable_from_every_scope() -> None:
    collector = (
        f"apiVersion: v1\nkind: Service\nmetadata: {{name: collector, namespace: {SYSTEM}}}\n"
        "spec: {clusterIP: 198.19.1.9, ports: [{name: grpc, port: 4317}]}\n---\n"
        f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: triomesh, namespace: {SYSTEM}}}\n"
        "data: {mesh: 'defaultConfig: {tracing: {otlp: \"collector.triomesh-system.svc:4317\"}}'}"
    )
    snapshot = cluster(collector, limit("./*")).sidecar("x")
    named = {
        chain.filter.tracing.otlp_cluster
        for listener in snapshot.listeners.values()
        for chain in listener.chains
        if isinstance(chain.filter, HttpManager) and chain.filter.tracing is not None
    }
    assert named == {f"outbound|4317||collector.{SYSTEM}.svc.cluster.local"}
    assert named <= snapshot.clusters.keys()
    assert snapshot.clusters[named.pop()].discovery is Discovery.EDS


def test_pods_of_one_scope_share_everything() -> None:
    graph = cluster(limit("./*")).graph()
    first, second = (project(graph, sidecar_node(name, app=name)) for name in ("a", "b"))
    assert first.listeners["0.0.0.0_80"] is second.listeners["0.0.0.0_80"]
    assert first.clusters[WEB] is second.clusters[WEB]


def test_a_second_sidecar_for_the_same_pods_is_told_that_it_counts_for_nothing() -> None:
    made = cluster(limit("./*", name="first"), limit("shop/*", name="second"))
    assert outbound(made.sidecar("x")) == {WEB, DB}
    assert [(p.ref.name, p.reason) for p in made.graph().problems() if p.ref.kind == "Sidecar"] in (
        [("second", "Conflict")],
    )
