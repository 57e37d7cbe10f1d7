"""The snapshot of a sidecar."""

from __future__ import annotations

from mesh.control.translate.build import build
from mesh.control.translate.project import project
from mesh.model.cluster import LbPolicy
from mesh.model.listener import HttpManager
from tests.support.world import Cluster, bookinfo, sidecar_node


def cluster() -> Cluster:
    made = Cluster()
    made.apply(bookinfo("platform/kube/bookinfo.yaml"))
    return made


def test_every_named_thing_exists() -> None:
    snapshot = cluster().sidecar("productpage")
    for listener in snapshot.listeners.values():
        for chain in listener.chains:
            if isinstance(chain.filter, HttpManager) and chain.filter.route_config_name:
                assert chain.filter.route_config_name in snapshot.routes


def test_only_the_two_capture_ports_are_opened_and_only_outbound_hands_over() -> None:
    # An inbound connection handed to an outbound listener would be sent to the pod's own address again, for ever.
    listeners = cluster().sidecar("productpage").listeners
    assert {(item.address.port, item.use_original_dst) for item in listeners.values() if item.bind_to_port} == {
        (15001, True),
        (15006, False),
    }


def test_a_connection_to_the_capture_port_itself_goes_nowhere() -> None:
    chain = cluster().sidecar("x").listeners["virtualOutbound"].chains[0]
    assert (chain.match.destination_port, chain.filter.stat_prefix) == (15001, "BlackHoleCluster")


def test_sidecars_of_one_view_share_what_is_not_theirs() -> None:
    graph = cluster().graph()
    one, two = project(graph, sidecar_node("reviews")), project(graph, sidecar_node("ratings"))
    name = "outbound|9080||details.default.svc.cluster.local"
    assert one.clusters[name] is two.clusters[name]
    assert one.routes is two.routes
    assert one.listeners["0.0.0.0_9080"] is two.listeners["0.0.0.0_9080"]


def test_an_endpoint_change_touches_nothing_but_endpoints() -> None:
    made = cluster()
    world, _ = made.store.take()
    before = build(world)
    node = sidecar_node("productpage")
    old = project(before, node)
    made.apply([made.pod("details-v1-more", {"app": "details", "version": "v1"})])
    world, changes = made.store.take()
    new = project(build(world, before, changes), node)
    changed = {name for name in old.endpoints if old.endpoints[name] is not new.endpoints[name]}
    assert changed == {"outbound|9080||details.default.svc.cluster.local"}
    for part in ("clusters", "listeners", "routes"):
        assert all(getattr(old, part)[name] is getattr(new, part)[name] for name in getattr(old, part))


def test_a_namespaces_own_destination_rule_changes_only_its_view() -> None:
    made = cluster()
    made.apply(
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: mine, namespace: shop}\n"
        "spec: {host: reviews.default.svc.cluster.local, trafficPolicy: {loadBalancer: {simple: RANDOM}}}"
    )
    name = "outbound|9080||reviews.default.svc.cluster.local"
    assert made.sidecar("x", "shop").clusters[name].lb is LbPolicy.RANDOM
    assert made.sidecar("x", "default").clusters[name].lb is LbPolicy.LEAST_REQUEST


def test_every_eds_cluster_has_an_assignment() -> None:
    snapshot = cluster().sidecar("x")
    eds = {name for name, cluster in snapshot.clusters.items() if cluster.discovery.value == "eds"}
    assert eds == set(snapshot.endpoints)
