"""What the control plane makes of Kubernetes objects, as the real Envoy sees it: every resource is accepted."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mesh.model.addr import Address
from mesh.model.node import Node
from mesh.model.snapshot import Snapshot
from tests.support.world import INGRESS_GATEWAY, Cluster, bookinfo, gateway_node, project, sidecar_node
from tests.support.world_rich import RICH
from tests.support.xds_server import ENVOY, NO_ENVOY, Envoy, RunningServer

pytestmark = pytest.mark.skipif(ENVOY is None, reason=NO_ENVOY)
FILES = [
    "platform/kube/bookinfo.yaml",
    "platform/kube/bookinfo-versions.yaml",
    "networking/destination-rule-all.yaml",
    "networking/bookinfo-gateway.yaml",
    "networking/virtual-service-reviews-90-10.yaml",
    "networking/virtual-service-ratings-test-delay.yaml",
]


def snapshot(node: Node) -> Snapshot:
    """The node's snapshot with its bound listeners on free loopback ports."""
    cluster = Cluster()
    cluster.apply(INGRESS_GATEWAY)
    cluster.apply(bookinfo(*FILES))
    cluster.apply(RICH)
    found = project(cluster.graph(), node)
    free = {
        name: replace(listener, address=Address("127.0.0.1", 0), additional_addresses=())
        if listener.bind_to_port
        else listener
        for name, listener in found.listeners.items()
    }
    return replace(found, listeners=free)


@pytest.mark.parametrize("delta", [True, False], ids=["delta", "sotw"])
@pytest.mark.parametrize("node", [sidecar_node("web-1", app="web"), gateway_node()], ids=["sidecar", "gateway"])
def test_envoy_accepts_what_the_control_plane_makes(tmp_path, node, delta):
    found = snapshot(node)
    with RunningServer() as server:
        server.publish(found)
        with Envoy(tmp_path, server.port, delta, node.id) as envoy:
            envoy.wait_for("/stats?filter=workers_started", lambda text: "workers_started: 1" in text)
            assert server.nacks == []
            stats = envoy.stats("")
            assert {name for name, value in stats.items() if name.endswith("update_rejected") and value} == set()
            assert stats["cluster_manager.active_clusters"] == len(found.clusters) + 1
            assert stats["listener_manager.total_listeners_active"] == len(found.listeners)
            assert stats["runtime.deprecated_feature_use"] == 0
