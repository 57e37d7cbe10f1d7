"""Node: who is at the other end of an ADS stream."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any


class Role(Enum):
    """First part of the node id. GRPC: a proxyless gRPC client (`metadata.GENERATOR == "grpc"` or any foreign id)."""

    SIDECAR = "sidecar"
    ROUTER = "router"
    GRPC = "grpc"


@dataclass(frozen=True, slots=True)
class Node:
    """Istio's node id `sidecar~<podIP>~<pod>.<namespace>~<namespace>.svc.cluster.local` and metadata, parsed.

    metadata: JSON object as sent (Istio's keys NAMESPACE, LABELS, WORKLOAD_NAME, CLUSTER_ID, INTERCEPTION_MODE, …).
    has_identity: the stream was authenticated as this namespace and service account, so that it may be sent secrets,
        and its proxy has a mesh certificate. Never taken from what the node says of itself.
    """

    id: str
    role: Role
    ip: str
    name: str
    namespace: str
    labels: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    has_identity: bool = False
