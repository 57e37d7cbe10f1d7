"""Node on the wire: `envoy.config.core.v3.Node` to and from `mesh.model.node.Node`."""

from __future__ import annotations

from typing import Any

import envoy.config.core.v3.base_pb2 as base_pb
from google.protobuf.json_format import MessageToDict

from mesh.model.node import Node, Role

_ROLES = {"sidecar": Role.SIDECAR, "router": Role.ROUTER}
_USER_AGENT = "triomesh"


def read_node(message: Any) -> Node:
    """Istio's id `role~ip~pod.namespace~domain` is parsed; any other id is a proxyless gRPC client's.

    `metadata.GENERATOR` "grpc" makes it one whatever the id. The namespace falls back to metadata's NAMESPACE.
    """
    metadata: dict[str, Any] = MessageToDict(message.metadata)
    labels = metadata.get("LABELS")
    namespace = str(metadata.get("NAMESPACE") or "")
    parts = str(message.id).split("~")
    role = _ROLES.get(parts[0], Role.GRPC) if len(parts) == 4 else Role.GRPC
    name, ip = str(message.id), ""
    if len(parts) == 4:
        ip = parts[1]
        name, _, own_namespace = parts[2].partition(".")
        namespace = own_namespace or namespace
    if metadata.get("GENERATOR") == "grpc":
        role = Role.GRPC
    return Node(
        id=str(message.id),
        role=role,
        ip=ip,
        name=name,
        namespace=namespace,
        labels={str(key): str(value) for key, value in labels.items()} if isinstance(labels, dict) else {},
        metadata=metadata,
    )


def write_node(node: Node) -> Any:
    """The message of our own client's first request."""
    message = base_pb.Node(id=node.id, cluster=f"{node.name}.{node.namespace}", user_agent_name=_USER_AGENT)
    metadata = dict(node.metadata)
    if node.labels:
        metadata.setdefault("LABELS", dict(node.labels))
    metadata.setdefault("NAMESPACE", node.namespace)
    message.metadata.update(metadata)
    return message
