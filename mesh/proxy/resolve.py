"""Resolve: the endpoints of DNS clusters, looked up again while the cluster is in use.

STRICT_DNS takes every address of a name as an endpoint, LOGICAL_DNS the first. A failed look-up keeps what was
known. A cluster that nobody asked for since the last look-up is left alone until somebody does.
"""

from __future__ import annotations

import logging
import socket
from dataclasses import replace
from ipaddress import ip_address

import trio

from mesh.model.addr import Address
from mesh.model.cluster import Cluster, Discovery
from mesh.model.endpoint import Endpoint, LoadAssignment, LocalityEndpoints
from mesh.proxy.clusters import ClusterRuntime

_log = logging.getLogger(__name__)
_MIN_REFRESH_SECONDS = 1.0


async def keep_resolved(runtime: ClusterRuntime) -> None:
    """Resolve the cluster's names until cancelled."""
    while True:
        model = runtime.model
        assignment = await resolve(model, runtime.assignment)
        if assignment is not None:
            runtime.update(runtime.model, assignment)
        runtime.is_used = False
        runtime.used = trio.Event()
        with trio.move_on_after(max(_MIN_REFRESH_SECONDS, model.dns_refresh_seconds)):
            await runtime.changed.wait()
        if not runtime.changed.is_set():
            await runtime.used.wait()
        runtime.changed = trio.Event()


async def resolve(model: Cluster, known: LoadAssignment) -> LoadAssignment | None:
    """The cluster's assignment with addresses for names; None when nothing could be resolved."""
    if model.assignment is None:
        return LoadAssignment(model.name)
    answers: dict[Address, list[Address]] = {}
    for endpoint in model.assignment.endpoints():
        answers[endpoint.address] = await _look_up(endpoint.address, model.name)
    kept = {endpoint.host_name: [] for endpoint in known.endpoints()}  # type: dict[str, list[Address]]
    for endpoint in known.endpoints():
        kept[endpoint.host_name].append(endpoint.address)
    localities = []
    for group in model.assignment.localities:
        endpoints: list[Endpoint] = []
        for endpoint in group.endpoints:
            addresses = answers[endpoint.address] or kept.get(endpoint.address.host, [])
            if model.discovery is Discovery.LOGICAL_DNS:
                addresses = addresses[:1]
            endpoints.extend(
                replace(endpoint, address=address, host_name=endpoint.host_name or endpoint.address.host)
                for address in addresses
            )
        localities.append(LocalityEndpoints(tuple(endpoints), group.locality, group.priority, group.weight))
    if not any(group.endpoints for group in localities):
        return None
    return LoadAssignment(model.name, tuple(localities))


async def _look_up(address: Address, cluster: str) -> list[Address]:
    try:
        ip_address(address.host)
        return [address]
    except ValueError:
        pass  # a name, then
    try:
        found = await trio.socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except OSError as exc:
        _log.warning("cluster %s: %s cannot be resolved: %s", cluster, address.host, exc)
        return []
    return sorted({Address(str(entry[4][0]), address.port) for entry in found})
