"""Collector: where a cluster's spans go, in gRPC's words."""

from __future__ import annotations

import ipaddress

from mesh.model.addr import Address
from mesh.model.cluster import Cluster, Discovery
from mesh.model.endpoint import Health, LoadAssignment


def target_of(cluster: Cluster | None, assignment: LoadAssignment | None) -> str:
    """All usable endpoints, of which gRPC takes the first that answers; "" = there is none.

    Args: assignment: the cluster's endpoints, for EDS; others have their own. Names are left to gRPC to resolve.
    Source: gRPC naming, the schemes `ipv4`, `ipv6` and `dns`.
    """
    if cluster is None or cluster.discovery is Discovery.ORIGINAL_DST:
        return ""
    found = assignment if cluster.discovery is Discovery.EDS else cluster.assignment
    usable = [
        endpoint.address
        for group in (found.localities if found is not None else ())
        for endpoint in group.endpoints
        if endpoint.health is not Health.UNHEALTHY
    ]
    if not usable:
        return ""
    scheme = _scheme(usable[0])
    # One target has one scheme.
    alike = [str(address) for address in usable if _scheme(address) == scheme]
    return f"dns:///{alike[0]}" if scheme == "dns" else f"{scheme}:{','.join(alike)}"


def _scheme(address: Address) -> str:
    try:
        return f"ipv{ipaddress.ip_address(address.host).version}"
    except ValueError:
        return "dns"
