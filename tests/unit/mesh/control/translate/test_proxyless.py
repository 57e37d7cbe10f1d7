"""gRPC's own xDS clients."""

from __future__ import annotations

import pytest

from mesh.control.translate.proxyless import named_listener, proxyless
from mesh.model.cluster import Discovery, LbPolicy
from mesh.model.node import Node, Role
from mesh.model.route import ForwardAction
from tests.support.world import Cluster, bookinfo

NODE = Node("client", Role.GRPC, "", "", "default")


def cluster() -> Cluster:
    made = Cluster()
    made.apply(bookinfo("platform/kube/bookinfo.yaml", "networking/destination-rule-reviews.yaml"))
    made.apply(bookinfo("networking/virtual-service-reviews-90-10.yaml"))
    return made


def test_clusters_keep_to_what_grpc_knows() -> None:
    clusters = proxyless(cluster().graph(), NODE).clusters
    assert {(c.discovery, c.lb) for c in clusters.values()} == {(Discovery.EDS, LbPolicy.ROUND_ROBIN)}


@pytest.mark.parametrize(
    "name",
    [
        "reviews.default.svc.cluster.local:9080",
        "reviews.default.svc:9080",
        "reviews.default:9080",
        "reviews:9080",
        "reviews.default.svc.cluster.local",
    ],
)
def test_a_target_finds_its_service(name: str) -> None:
    found = named_listener(cluster().graph(), NODE, name)
    assert found is not None
    manager = found.listeners[name].api
    assert manager is not None and manager.route_config is not None
    action = manager.route_config.virtual_hosts[0].routes[0].action
    assert isinstance(action, ForwardAction)
    assert [(c.name.split("|")[2], c.weight) for c in action.clusters] == [("v1", 90), ("v2", 10)]
    assert {c.name for c in action.clusters} <= set(found.clusters)
    assert {c.name for c in action.clusters} <= set(found.endpoints)


@pytest.mark.parametrize("name", ["nobody:80", "reviews:81", "reviews:x", ""])
def test_unknown_targets_are_unknown(name: str) -> None:
    assert named_listener(cluster().graph(), NODE, name) is None
