"""Graph × Node → Snapshot."""

from __future__ import annotations

from mesh.control.translate.project import project
from mesh.model.node import Node, Role
from tests.support.world import INGRESS_GATEWAY, Cluster, bookinfo, gateway_node, sidecar_node


def test_each_role_gets_its_own() -> None:
    cluster = Cluster()
    cluster.apply(INGRESS_GATEWAY)
    cluster.apply(bookinfo("platform/kube/bookinfo.yaml", "networking/bookinfo-gateway.yaml"))
    graph = cluster.graph()
    assert "virtualInbound" in project(graph, sidecar_node("reviews")).listeners
    assert list(project(graph, gateway_node()).listeners) == ["0.0.0.0_8080"]
    grpc = project(graph, Node("client", Role.GRPC, "", "", "default"))
    assert (grpc.listeners, bool(grpc.clusters)) == ({}, True)


def test_projection_is_repeatable() -> None:
    cluster = Cluster()
    cluster.apply(bookinfo("platform/kube/bookinfo.yaml"))
    graph = cluster.graph()
    assert project(graph, sidecar_node("reviews")) == project(graph, sidecar_node("reviews"))
