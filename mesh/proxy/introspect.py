"""Introspection: clusters, listeners and certificates as Envoy's admin endpoints print them, and metrics made on reading."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from mesh.model.cluster import Discovery
from mesh.model.listener import Listener
from mesh.model.secret import Secret
from mesh.proxy.balance.host import Host
from mesh.proxy.observe.metrics import Family, Kind, Metric, Sample, escape

if TYPE_CHECKING:
    from mesh.proxy.clusters import ClusterRuntime
    from mesh.proxy.identity_keeper import IdentityKeeper
    from mesh.proxy.pipeline import Proxy


def clusters_text(clusters: Iterable[ClusterRuntime]) -> str:
    """Envoy's `/clusters`: one `cluster::…` line per fact."""
    lines: list[str] = []
    for cluster in clusters:
        name, limits = cluster.name, cluster.model.circuit_breaker
        lines.append(f"{name}::observability_name::{name}")
        for key in ("max_connections", "max_pending_requests", "max_requests", "max_retries"):
            lines.append(f"{name}::default_priority::{key}::{getattr(limits, key)}")
        lines.append(f"{name}::added_via_api::true")
        lines.append(f"{name}::eds_service_name::{cluster.model.eds_service_name or name}")
        for host in cluster.balancer.hosts:
            for key, value in _host_facts(host):
                lines.append(f"{name}::{host.name}::{key}::{value}")
    return "\n".join(lines) + "\n" if lines else ""


def _host_facts(host: Host) -> Iterator[tuple[str, object]]:
    yield "cx_connect_fail", host.connect_failures
    yield "rq_active", host.active
    yield "rq_error", host.requests_error
    yield "rq_success", host.requests_success
    yield "rq_total", host.requests_total
    yield "hostname", host.endpoint.host_name
    yield "health_flags", health_flags(host)
    yield "weight", host.weight
    yield "region", host.locality.region
    yield "zone", host.locality.zone
    yield "sub_zone", host.locality.sub_zone
    yield "canary", "false"
    yield "priority", host.priority


def health_flags(host: Host) -> str:
    """Envoy's words, joined by "/"; `healthy` when there is nothing to say."""
    flags = []
    if host.ejected:
        flags.append("/failed_outlier_check")
    if host.is_draining:
        flags.append("/eds_status_draining")
    elif host.endpoint.health.value == "unhealthy":
        flags.append("/failed_eds_health")
    return "".join(flags) or "healthy"


def clusters_json(clusters: Iterable[ClusterRuntime]) -> dict[str, Any]:
    """Envoy's `/clusters?format=json` (`envoy.admin.v3.Clusters`)."""
    return {"cluster_statuses": [_cluster_status(cluster) for cluster in clusters]}


def _cluster_status(cluster: ClusterRuntime) -> dict[str, Any]:
    limits = cluster.model.circuit_breaker
    return {
        "name": cluster.name,
        "added_via_api": True,
        "eds_service_name": cluster.model.eds_service_name or cluster.name,
        "circuit_breakers": {
            "thresholds": [
                {
                    "priority": "DEFAULT",
                    "max_connections": limits.max_connections,
                    "max_pending_requests": limits.max_pending_requests,
                    "max_requests": limits.max_requests,
                    "max_retries": limits.max_retries,
                }
            ]
        },
        "host_statuses": [_host_status(host) for host in cluster.balancer.hosts],
    }


def _host_status(host: Host) -> dict[str, Any]:
    address = host.endpoint.address
    stats = [
        {"type": "GAUGE", "name": "rq_active", "value": str(host.active)},
        {"name": "rq_total", "value": str(host.requests_total)},
        {"name": "rq_success", "value": str(host.requests_success)},
        {"name": "rq_error", "value": str(host.requests_error)},
        {"name": "cx_connect_fail", "value": str(host.connect_failures)},
    ]
    locality = host.locality
    return {
        "address": {"socket_address": {"address": address.host, "port_value": address.port}},
        "stats": stats,
        "health_status": {
            "eds_health_status": host.endpoint.health.value.upper(),
            **({"failed_outlier_check": True} if host.ejected else {}),
        },
        "weight": host.weight,
        "priority": host.priority,
        "hostname": host.endpoint.host_name,
        "locality": {"region": locality.region, "zone": locality.zone, "sub_zone": locality.sub_zone},
    }


def listeners_text(listeners: Iterable[Listener]) -> str:
    """Envoy's `/listeners`: `name::address` per line; listeners that are only reached by destination too, marked."""
    lines = [
        f"{listener.name}::{listener.address}{'' if listener.bind_to_port else ' (not bound)'}"
        for listener in listeners
    ]
    return "\n".join(lines) + "\n" if lines else ""


def listeners_json(listeners: Iterable[Listener]) -> dict[str, Any]:
    """Envoy's `/listeners?format=json` (`envoy.admin.v3.Listeners`)."""
    return {
        "listener_statuses": [
            {
                "name": listener.name,
                "local_address": {
                    "socket_address": {"address": listener.address.host, "port_value": listener.address.port}
                },
            }
            for listener in listeners
        ]
    }


def certificates(secrets: Iterable[Secret]) -> list[dict[str, Any]]:
    """Envoy's `/certs` (`envoy.admin.v3.Certificate`); of keys nothing is shown."""
    found = []
    for secret in secrets:
        entry: dict[str, Any] = {"ca_cert": [], "cert_chain": []}
        if secret.certificate is not None:
            entry["cert_chain"] = _details(secret.name, secret.certificate.chain_pem)
        if secret.trust is not None:
            entry["ca_cert"] = _details(secret.name, secret.trust.roots_pem)
        found.append(entry)
    return found


def _details(name: str, pem: bytes) -> list[dict[str, Any]]:
    # Imported when somebody asks: the library is large, and a sidecar needs it for nothing else.
    from cryptography import x509

    rows = []
    for certificate in x509.load_pem_x509_certificates(pem):
        try:
            names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except x509.ExtensionNotFound:
            names = x509.SubjectAlternativeName([])
        left = certificate.not_valid_after_utc - datetime.now(UTC)
        alternatives = [{"uri": value} for value in names.get_values_for_type(x509.UniformResourceIdentifier)]
        alternatives += [{"dns": value} for value in names.get_values_for_type(x509.DNSName)]
        rows.append(
            {
                "path": f"<inline: {name}>",
                "serial_number": f"{certificate.serial_number:x}",
                "subject_alt_names": alternatives,
                "days_until_expiration": str(max(0, left.days)),
                "valid_from": certificate.not_valid_before_utc.strftime("%Y-%m-%dT%H:%M:%SZ"),
                "expiration_time": certificate.not_valid_after_utc.strftime("%Y-%m-%dT%H:%M:%SZ"),
            }
        )
    return rows


_OPEN = Metric("triomesh_downstream_connections", "Downstream connections open now.", Kind.GAUGE)
_ERRONEOUS = Metric("triomesh_downstream_protocol_errors_total", "Connections ended by malformed bytes.", Kind.COUNTER)
_CRASHES = Metric("triomesh_connection_crashes_total", "Connections ended by a bug of ours.", Kind.COUNTER)
_SNAPSHOTS = Metric("triomesh_snapshots_applied_total", "Configurations put to use.", Kind.COUNTER)
_PROBLEMS = Metric("triomesh_config_problems", "Resources whose newest version is not in use.", Kind.GAUGE)
_RESIDENT = Metric("process_resident_memory_bytes", "Resident memory size.", Kind.GAUGE)
_CPU = Metric("process_cpu_seconds_total", "User and system CPU time spent.", Kind.COUNTER)
_STARTED = Metric("process_start_time_seconds", "Start time of the process since the epoch.", Kind.GAUGE)


def proxy_families(proxy: Proxy) -> list[Family]:
    """The process and what it serves, made when the metrics are read."""
    return [
        Family(
            _OPEN,
            [
                Sample("", 'direction="inbound"', proxy.drain.inbound),
                Sample("", 'direction="outbound"', proxy.drain.outbound),
            ],
        ),
        _single(_ERRONEOUS, proxy.protocol_errors),
        _single(_CRASHES, proxy.crashes),
        _single(_SNAPSHOTS, proxy.version),
        _single(_PROBLEMS, len(proxy.current.problems)),
        _single(_RESIDENT, memory_bytes()[0]),
        _single(_CPU, time.process_time()),
        _single(_STARTED, _started_at()),
    ]


_EXPIRY = Metric("triomesh_workload_certificate_expiry_timestamp_seconds", "When it runs out, since the epoch.", Kind.GAUGE)
_ASKED = Metric("triomesh_workload_certificate_requests_total", "Certificates asked for.", Kind.COUNTER)
_REFUSED = Metric("triomesh_workload_certificate_failures_total", "Of these, those that did not come.", Kind.COUNTER)


def identity_families(keeper: IdentityKeeper) -> list[Family]:
    """The proxy's own certificate; without one there is no expiry."""
    identity = keeper.identity
    known = [_single(_EXPIRY, identity.not_after)] if identity is not None else []
    return [*known, _single(_ASKED, keeper.requests), _single(_REFUSED, keeper.failures)]


def _single(metric: Metric, value: float) -> Family:
    return Family(metric, [Sample("", "", value)])


def memory_bytes() -> tuple[int, int]:
    """(resident, virtual) of this process (proc(5), statm)."""
    with open("/proc/self/statm", encoding="ascii") as file:
        virtual, resident = file.read().split()[:2]
    page = os.sysconf("SC_PAGE_SIZE")
    return int(resident) * page, int(virtual) * page


@functools.cache
def _started_at() -> float:
    """Seconds since the epoch: boot time plus the process's start in ticks after it (proc(5), stat field 22)."""
    with open("/proc/self/stat", encoding="ascii") as file:
        # The second field is the command in brackets and may hold spaces.
        ticks = int(file.read().rpartition(")")[2].split()[19])
    with open("/proc/stat", encoding="ascii") as file:
        boot = next(int(line.split()[1]) for line in file if line.startswith("btime "))
    return boot + ticks / os.sysconf("SC_CLK_TCK")


_HOSTS = Metric("envoy_cluster_membership_healthy", "Hosts of a cluster that may be picked.", Kind.GAUGE)
_MEMBERS = Metric("triomesh_cluster_hosts", "Hosts of a cluster, whatever their health.", Kind.GAUGE)
_ACTIVE = Metric("envoy_cluster_upstream_rq_active", "Requests in flight.", Kind.GAUGE)
_CONNECTIONS = Metric("envoy_cluster_upstream_cx_active", "Connections to a cluster.", Kind.GAUGE)
_TOTAL = Metric("envoy_cluster_upstream_rq_total", "Requests sent to a cluster's present hosts.", Kind.COUNTER)
_ERRORS = Metric("envoy_cluster_upstream_rq_error_total", "Of these, 5xx answers and none at all.", Kind.COUNTER)
_CONNECT_FAILED = Metric("envoy_cluster_upstream_cx_connect_fail_total", "Connections that failed.", Kind.COUNTER)
_RETRIES = Metric("envoy_cluster_upstream_rq_retry_total", "Requests repeated.", Kind.COUNTER)
_RETRY_OVERFLOW = Metric("envoy_cluster_upstream_rq_retry_overflow_total", "Retries the budget refused.", Kind.COUNTER)
_OVERFLOW = Metric("envoy_cluster_upstream_rq_pending_overflow_total", "Requests the breaker refused.", Kind.COUNTER)
_EJECTIONS = Metric("envoy_cluster_outlier_detection_ejections_enforced_total", "Hosts put aside.", Kind.COUNTER)


def cluster_families(clusters: Iterable[ClusterRuntime]) -> list[Family]:
    """Basics per cluster, made when the metrics are read; clusters that were never used are left out.

    Counters are sums over the present hosts: they start again when hosts leave, as Prometheus' rate() expects.
    """
    samples: dict[Metric, list[Sample]] = {}
    for cluster in clusters:
        if cluster.model.discovery is not Discovery.ORIGINAL_DST and not cluster.is_used:
            continue
        label = f'cluster_name="{escape(cluster.name)}"'
        hosts, breaker = cluster.balancer.hosts, cluster.breaker
        values: dict[Metric, float] = {
            _MEMBERS: len(hosts),
            _HOSTS: sum(1 for host in hosts if host.is_healthy),
            _ACTIVE: breaker.requests,
            _CONNECTIONS: breaker.connections,
            _TOTAL: sum(host.requests_total for host in hosts),
            _ERRORS: sum(host.requests_error for host in hosts),
            _CONNECT_FAILED: sum(host.connect_failures for host in hosts),
            _RETRIES: breaker.retries_total,
            _RETRY_OVERFLOW: breaker.overflow_retries,
            _OVERFLOW: breaker.overflow_requests + breaker.overflow_pending + breaker.overflow_connections,
        }
        if cluster.outlier is not None:
            values[_EJECTIONS] = cluster.outlier.ejected_total
        for metric, value in values.items():
            samples.setdefault(metric, []).append(Sample("", label, value))
    return [Family(metric, rows) for metric, rows in samples.items()]
