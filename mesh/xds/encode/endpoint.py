"""LoadAssignment to `ClusterLoadAssignment`."""

from __future__ import annotations

from typing import Any

import envoy.config.core.v3.base_pb2 as base_pb
import envoy.config.core.v3.health_check_pb2 as health_pb
import envoy.config.endpoint.v3.endpoint_components_pb2 as components_pb
import envoy.config.endpoint.v3.endpoint_pb2 as endpoint_pb

from mesh.model.endpoint import Endpoint, Health, LoadAssignment, LocalityEndpoints, Workload
from mesh.xds.encode.common import Path, address, bounded, metadata_of, uint32
from mesh.xds.wire import ISTIO_METADATA, MESH_TLS_MODE, ORIGIN_METADATA, TLS_MATCH_METADATA, TLS_MODE

_HEALTH = {
    Health.HEALTHY: health_pb.HealthStatus.HEALTHY,
    Health.UNHEALTHY: health_pb.HealthStatus.UNHEALTHY,
    Health.DRAINING: health_pb.HealthStatus.DRAINING,
}
_MAX_PRIORITY = 128


def encode_assignment(value: LoadAssignment, path: Path | None = None) -> Any:
    """Raises: EncodeError."""
    path = path or Path(value.cluster_name)
    return endpoint_pb.ClusterLoadAssignment(
        cluster_name=value.cluster_name,
        endpoints=[_locality(group, path.at("localities", i)) for i, group in enumerate(value.localities)],
    )


def _locality(group: LocalityEndpoints, path: Path) -> Any:
    message = components_pb.LocalityLbEndpoints(
        lb_endpoints=[_endpoint(endpoint, path.at("endpoints", i)) for i, endpoint in enumerate(group.endpoints)],
        priority=bounded(group.priority, path, "priority", 0, _MAX_PRIORITY),
    )
    # gRPC insists on both: a locality, if only an empty one, and a weight. By default the weight that spreads load
    # just as the endpoints' own weights would.
    where = group.locality
    message.locality.CopyFrom(base_pb.Locality(region=where.region, zone=where.zone, sub_zone=where.sub_zone))
    weight = group.weight or sum(endpoint.weight for endpoint in group.endpoints)
    if weight:
        message.load_balancing_weight.CopyFrom(uint32(weight, path, "weight", 1))
    return message


def _endpoint(endpoint: Endpoint, path: Path) -> Any:
    return components_pb.LbEndpoint(
        endpoint=components_pb.Endpoint(
            address=address(endpoint.address, path, "address"), hostname=endpoint.host_name
        ),
        health_status=_HEALTH[endpoint.health],
        load_balancing_weight=uint32(endpoint.weight, path, "weight", 1),
        metadata=metadata_of(
            {
                ISTIO_METADATA: {"workload": _workload(endpoint.workload, path)} if endpoint.workload else {},
                TLS_MATCH_METADATA: {TLS_MODE: endpoint.tls_mode} if endpoint.tls_mode else {},
                # tlsMode "istio" says it already, as it does for Istio's own endpoints.
                ORIGIN_METADATA: {"meshed": True} if endpoint.is_meshed and endpoint.tls_mode != MESH_TLS_MODE else {},
            }
        ),
    )


def _workload(workload: Workload, path: Path) -> str:
    parts = (
        workload.name,
        workload.namespace,
        workload.canonical_name,
        workload.canonical_revision,
        workload.cluster_id,
    )
    if any(";" in part for part in parts):
        raise path.error("workload", f"a part holds ';': {parts}")
    return ";".join(parts)
