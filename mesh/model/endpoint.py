"""Endpoints: the hosts of a cluster (Envoy `endpoint.v3`)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from mesh.model.addr import Address


class Health(Enum):
    """Envoy `HealthStatus`. DRAINING hosts finish what they have and get nothing new."""

    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    DRAINING = "draining"


@dataclass(frozen=True, slots=True, order=True)
class Locality:
    region: str = ""
    zone: str = ""
    sub_zone: str = ""


@dataclass(frozen=True, slots=True, order=True)
class Workload:
    """Who runs at an endpoint: the destination labels of the metrics.

    On the wire: `filter_metadata["istio"]["workload"] = "name;namespace;canonical-name;canonical-revision;cluster"`.
    """

    name: str
    namespace: str
    canonical_name: str = ""
    canonical_revision: str = "latest"
    cluster_id: str = "Kubernetes"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Envoy `LbEndpoint`.

    is_meshed: a sidecar of ours or Istio's is there (peer metadata may be sent);
    tls_mode: "istio" when it accepts mesh mTLS (`filter_metadata["envoy.transport_socket_match"]["tlsMode"]`), else "".
    host_name: the DNS name behind the address, if any (for auto_host_rewrite).
    """

    address: Address
    weight: int = 1
    health: Health = Health.HEALTHY
    workload: Workload | None = None
    is_meshed: bool = False
    tls_mode: str = ""
    host_name: str = ""


@dataclass(frozen=True, slots=True)
class LocalityEndpoints:
    """Envoy `LocalityLbEndpoints`. Priority 0 is used first; weight 0 = not set (spread by endpoint weight)."""

    endpoints: tuple[Endpoint, ...]
    locality: Locality = Locality()
    priority: int = 0
    weight: int = 0


@dataclass(frozen=True, slots=True)
class LoadAssignment:
    """An EDS resource (Envoy `ClusterLoadAssignment`)."""

    cluster_name: str
    localities: tuple[LocalityEndpoints, ...] = ()

    def endpoints(self) -> tuple[Endpoint, ...]:
        """All endpoints of all localities, in order."""
        return tuple(endpoint for locality in self.localities for endpoint in locality.endpoints)
