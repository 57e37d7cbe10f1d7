"""What the sidecars of a view send where."""

from __future__ import annotations

from mesh.control.translate.build import build
from mesh.control.translate.outbound import AddressPlan, WildcardPlan, outbound, view_of
from mesh.model.cluster import Discovery
from mesh.model.listener import TcpProxy
from mesh.model.route import DirectResponse, ForwardAction, WeightedCluster
from tests.support.world import SYSTEM, Cluster, bookinfo, project, sidecar_node

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
metadata: {name: guess}
spec: {clusterIP: 198.19.1.3, ports: [{port: 7000}]}
"""
GUESS = "guess.default.svc.cluster.local:7000"


def cluster(*texts: str) -> Cluster:
    made = Cluster()
    made.apply(SERVICES)
    for text in texts:
        made.apply(text)
    return made


def test_declared_http_shares_a_port_and_opaque_ports_have_addresses() -> None:
    graph = cluster().graph()
    found = outbound(graph, view_of(graph, "default", {}))
    assert found.wildcards == (WildcardPlan(80, has_http=True),)
    db, guess = "outbound|3306||db.default.svc.cluster.local", "outbound|7000||guess.default.svc.cluster.local"
    assert set(found.addresses) == {
        AddressPlan("198.19.1.2", 3306, "", (WeightedCluster(db),)),
        AddressPlan("198.19.1.3", 7000, GUESS, (WeightedCluster(guess),)),
    }
    assert set(found.routes) == {"80", GUESS}


def test_unknown_hosts_pass_through_unless_the_registry_is_all_there_is() -> None:
    made = cluster()
    last = made.sidecar("x").routes["80"].virtual_hosts[-1]
    assert (last.name, last.domains) == ("allow_any", ("*",))
    assert isinstance(last.routes[0].action, ForwardAction)
    assert last.routes[0].action.clusters == (WeightedCluster("PassthroughCluster"),)
    made.apply(
        f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: triomesh, namespace: {SYSTEM}}}\n"
        "data: {mesh: 'outboundTrafficPolicy: {mode: REGISTRY_ONLY}'}"
    )
    snapshot = made.sidecar("x")
    last = snapshot.routes["80"].virtual_hosts[-1]
    assert (last.name, last.routes[0].action) == ("block_all", DirectResponse(502))
    default = snapshot.listeners["virtualOutbound"].default_chain
    assert default is not None and default.filter.stat_prefix == "BlackHoleCluster"


def test_an_opaque_headless_port_forbids_to_assume_http() -> None:
    headless = "apiVersion: v1\nkind: Service\nmetadata: {name: peers}\nspec: {clusterIP: None, ports: [{name: tcp, port: 80}]}"
    graph = cluster(headless).graph()
    found = outbound(graph, view_of(graph, "default", {}))
    assert found.wildcards == (WildcardPlan(80, has_http=True, is_sniffed=True),)


def test_an_http_route_makes_its_service_be_told_by_address() -> None:
    route = (
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: r}\n"
        "spec: {parentRefs: [{group: '', kind: Service, name: web}], rules: [{backendRefs: [{name: web, port: 80}]}]}"
    )
    snapshot = cluster(route).sidecar("x")
    assert "198.19.1.1_80" in snapshot.listeners
    assert [v.domains for v in snapshot.routes["web.default.svc.cluster.local:80"].virtual_hosts] == [("*",)]


def test_tls_hosts_without_addresses_are_told_by_server_name() -> None:
    made = Cluster()
    made.apply(bookinfo("networking/egress-rule-google-apis.yaml"))
    listener = made.sidecar("details").listeners["0.0.0.0_443"]
    (chain,) = listener.chains
    assert chain.match.server_names == ("www.googleapis.com",)
    # The file has the cluster originate TLS: what the app has encrypted itself must not go through it.
    assert chain.filter.stat_prefix == "0.0.0.0_443" and isinstance(chain.filter, TcpProxy)
    assert chain.filter.clusters == (WeightedCluster("PassthroughCluster"),)
    assert listener.default_chain is not None


def test_a_rule_for_an_undeclared_host_holds_on_port_80() -> None:
    rule = (
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: v}\n"
        "spec: {hosts: [old.example.com], http: [{redirect: {authority: new.example.com}}]}"
    )
    vhosts = cluster(rule).sidecar("x").routes["80"].virtual_hosts
    assert [vhost.domains for vhost in vhosts if vhost.name == "old.example.com:80"] == [
        ("old.example.com", "old.example.com:80")
    ]


def test_services_that_are_not_exported_are_invisible() -> None:
    private = (
        "apiVersion: v1\nkind: Service\nmetadata: {name: mine, annotations: {networking.istio.io/exportTo: '.'}}\n"
        "spec: {clusterIP: 198.19.1.9, ports: [{name: http, port: 80}]}"
    )
    made = cluster(private)
    name = "outbound|80||mine.default.svc.cluster.local"
    assert name in made.sidecar("x", "default").clusters
    assert name not in made.sidecar("x", "other").clusters


def test_views_differ_only_by_labels_that_rules_look_at() -> None:
    graph = cluster().graph()
    assert view_of(graph, "default", {"app": "a"}) == view_of(graph, "default", {"app": "b"})


PEERS = """
apiVersion: v1
kind: Service
metadata: {name: peers}
spec: {clusterIP: None, selector: {app: peers}, ports: [{name: tcp, port: 7000}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: peers}
spec: {template: {metadata: {labels: {app: peers}}, spec: {containers: [{name: a}]}}}
"""
PEERS_CLUSTER = "outbound|7000||peers.default.svc.cluster.local"


def test_opaque_pods_of_a_headless_service_have_addresses_of_their_own() -> None:
    made = cluster(PEERS)
    (pod,) = [item for key, item in made.items.items() if key[1] == "Pod"]
    address = pod["status"]["podIP"]
    graph = made.graph()
    found = outbound(graph, view_of(graph, "default", {}))
    assert AddressPlan(address, 7000, "", (WeightedCluster(PEERS_CLUSTER),)) in found.addresses
    # The address that was dialled, under the service's name.
    snapshot = made.sidecar("x")
    assert snapshot.clusters[PEERS_CLUSTER].discovery is Discovery.ORIGINAL_DST
    assert f"{address}_7000" in snapshot.listeners


def test_listeners_follow_the_pods_of_a_headless_service() -> None:
    made = cluster(PEERS)
    made.apply(PEERS.replace("name: peers}\nspec: {template", "name: more}\nspec: {template"))
    world, _ = made.store.take()
    before = build(world, system_namespace=SYSTEM)
    node = sidecar_node("x")
    first = {name for name in project(before, node).listeners if name.startswith("198.18.")}
    made.delete("Pod", "more-abc12-x")
    world, changes = made.store.take()
    assert changes.endpoints_only
    after = build(world, before, changes, SYSTEM)
    second = {name for name in project(after, node).listeners if name.startswith("198.18.")}
    assert (len(first), len(second)) == (2, 1) and second < first


def test_two_headless_services_of_one_pod_share_its_address() -> None:
    other = "apiVersion: v1\nkind: Service\nmetadata: {name: zz}\nspec: {clusterIP: None, selector: {app: peers}, ports: [{name: tcp, port: 7000}]}"
    graph = cluster(PEERS, other).graph()
    found = [plan for plan in outbound(graph, view_of(graph, "default", {})).addresses if plan.address.startswith("198.18.")]
    assert [plan.clusters for plan in found] == [(WeightedCluster(PEERS_CLUSTER),)]
