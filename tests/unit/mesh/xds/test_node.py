import envoy.config.core.v3.base_pb2 as base_pb
import pytest

from mesh.model.node import Node, Role
from mesh.xds.node import read_node, write_node


def message(node_id: str, **metadata):
    made = base_pb.Node(id=node_id)
    made.metadata.update(metadata)
    return made


def test_istio_sidecar_id_is_parsed():
    node = read_node(message("sidecar~10.0.0.7~web-1.shop~shop.svc.cluster.local", LABELS={"app": "web"}, X=1.0))
    assert node == Node(
        "sidecar~10.0.0.7~web-1.shop~shop.svc.cluster.local",
        Role.SIDECAR,
        "10.0.0.7",
        "web-1",
        "shop",
        {"app": "web"},
        {"LABELS": {"app": "web"}, "X": 1.0},
    )


def test_pod_names_with_dots_keep_the_namespace():
    assert read_node(message("router~10.0.0.7~web-1.shop~x")).role is Role.ROUTER


@pytest.mark.parametrize("node_id", ["projects/1/nodes/abc", "", "sidecar~1.2.3.4", "strange~a~b.c~d"])
def test_foreign_ids_are_grpc_clients(node_id):
    node = read_node(message(node_id, NAMESPACE="shop"))
    assert node.role is Role.GRPC
    assert node.namespace in ("shop", "c")


def test_generator_grpc_wins_over_the_id():
    node = read_node(message("sidecar~10.0.0.7~web-1.shop~x", GENERATOR="grpc"))
    assert (node.role, node.name, node.namespace) == (Role.GRPC, "web-1", "shop")


def test_labels_that_are_no_object_are_ignored():
    assert read_node(message("x", LABELS="no")).labels == {}


def test_written_node_reads_back():
    node = Node("sidecar~10.0.0.7~web-1.shop~x", Role.SIDECAR, "10.0.0.7", "web-1", "shop", {"app": "web"})
    again = read_node(write_node(node))
    assert (again.id, again.role, again.name, again.namespace, again.labels) == (
        node.id,
        Role.SIDECAR,
        "web-1",
        "shop",
        {"app": "web"},
    )
