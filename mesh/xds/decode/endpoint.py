"""`ClusterLoadAssignment` to LoadAssignment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import envoy.config.core.v3.health_check_pb2 as health_pb
import envoy.config.endpoint.v3.endpoint_pb2 as endpoint_pb

from mesh.model.endpoint import Endpoint, Health, LoadAssignment, Locality, LocalityEndpoints, Workload
from mesh.xds.decode.common import Reader, read_address, read_metadata
from mesh.xds.wire import ISTIO_METADATA, MESH_TLS_MODE, ORIGIN_METADATA, TLS_MATCH_METADATA, TLS_MODE

MESSAGE = endpoint_pb.ClusterLoadAssignment
FIELDS = ("cluster_name", "endpoints")
HARMLESS = ("named_endpoints",)

_Status = health_pb.HealthStatus
_HEALTH = {
    # UNKNOWN: nobody said otherwise.
    _Status.UNKNOWN: Health.HEALTHY,
    _Status.HEALTHY: Health.HEALTHY,
    _Status.UNHEALTHY: Health.UNHEALTHY,
    _Status.TIMEOUT: Health.UNHEALTHY,
    _Status.DRAINING: Health.DRAINING,
}
_LOCALITY_FIELDS = ("locality", "lb_endpoints", "load_balancing_weight", "priority")
# proximity: a hint for zone-aware policies of others. metadata: of the locality, read by no filter of ours.
_LOCALITY_HARMLESS = ("proximity", "metadata")
_ENDPOINT_FIELDS = ("endpoint", "health_status", "load_balancing_weight", "metadata")
_POLICY_HARMLESS = ("weighted_priority_health",)


def decode_assignment(message: Any, resource: str = "", path: str = "") -> LoadAssignment:
    """Raises: DecodeError."""
    reader = Reader(message, resource or message.cluster_name, path, (*FIELDS, "policy"), HARMLESS)
    _check_policy(reader)
    groups = reader.children("endpoints", _LOCALITY_FIELDS, _LOCALITY_HARMLESS)
    return LoadAssignment(message.cluster_name, tuple(_locality(group) for group in groups))


def _check_policy(reader: Reader) -> None:
    """Istio sends an overprovisioning factor of 140 (Envoy's default) with failover; others must not surprise us."""
    policy = reader.child("policy", ("overprovisioning_factor",), _POLICY_HARMLESS)
    if policy.wrapped("overprovisioning_factor", 140) != 140:
        raise policy.error("overprovisioning_factor", "only 140 is supported")


def _locality(reader: Reader) -> LocalityEndpoints:
    where = reader.child("locality", ("region", "zone", "sub_zone")).message
    endpoints = tuple(_endpoint(endpoint) for endpoint in reader.children("lb_endpoints", _ENDPOINT_FIELDS))
    weight = reader.wrapped("load_balancing_weight", 0)
    return LocalityEndpoints(
        endpoints=endpoints,
        locality=Locality(where.region, where.zone, where.sub_zone),
        priority=reader.message.priority,
        # The sum of its endpoints' weights says no more than they do.
        weight=0 if weight == sum(endpoint.weight for endpoint in endpoints) else weight,
    )


def _endpoint(reader: Reader) -> Endpoint:
    host = reader.child("endpoint", ("address", "hostname"), ("health_check_config",))
    status = reader.message.health_status
    if status not in _HEALTH:
        raise reader.error("health_status", f"{_Status.Name(status)} is not supported")
    weight = reader.wrapped("load_balancing_weight", 1)
    if weight < 1:
        raise reader.error("load_balancing_weight", "must be positive")
    metadata = read_metadata(reader)
    tls_mode = str(metadata.get(TLS_MATCH_METADATA, {}).get(TLS_MODE, ""))
    return Endpoint(
        address=read_address(host, "address"),
        weight=weight,
        health=_HEALTH[status],
        workload=_workload(metadata),
        is_meshed=tls_mode == MESH_TLS_MODE or metadata.get(ORIGIN_METADATA, {}).get("meshed") is True,
        tls_mode=tls_mode,
        host_name=host.message.hostname,
    )


def _workload(metadata: Mapping[str, Mapping[str, Any]]) -> Workload | None:
    """Labels only: what another control plane writes differently is not worth refusing an endpoint."""
    text = metadata.get(ISTIO_METADATA, {}).get("workload")
    if not isinstance(text, str) or not text:
        return None
    parts = text.split(";")
    if len(parts) != 5:
        return Workload(parts[0], *parts[1:2]) if len(parts) > 1 else None
    return Workload(*parts)
