"""project: Graph × Node → Snapshot."""

from __future__ import annotations

from typing import assert_never

from mesh.control.translate.gateway import gateway
from mesh.control.translate.graph import Graph
from mesh.control.translate.proxyless import proxyless
from mesh.control.translate.sidecar import sidecar
from mesh.model.node import Node, Role
from mesh.model.snapshot import Snapshot


def project(graph: Graph, node: Node) -> Snapshot:
    """Everything the node is to have. Pure but for the graph's memory of what nodes share."""
    match node.role:
        case Role.SIDECAR:
            return sidecar(graph, node)
        case Role.ROUTER:
            return gateway(graph, node)
        case Role.GRPC:
            return proxyless(graph, node)
        case _:
            assert_never(node.role)
