"""Clusters: `outbound|port|subset|host` with the policy of its DestinationRule, and the fixed ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from mesh.control.kube import istio
from mesh.control.kube.objects import PortProtocol
from mesh.control.mesh_config import MeshConfig
from mesh.control.translate.authentication import NO_AUTHENTICATION, Authentication
from mesh.control.translate.endpoints import cluster_name, static_assignment
from mesh.control.translate.mesh_tls import MeshTls, refused
from mesh.control.translate.policies import Policies
from mesh.control.translate.registry import MeshPort, MeshService, Reach, Registry
from mesh.model.cluster import CircuitBreaker, Cluster, Discovery, LbPolicy, Protocol
from mesh.model.endpoint import LoadAssignment
from mesh.model.match import StringKind, StringMatch
from mesh.model.secret import FILE_CERTIFICATE, FILE_ROOTS, UpstreamTls

PASSTHROUGH = "PassthroughCluster"
BLACK_HOLE = "BlackHoleCluster"
INBOUND_PASSTHROUGH = "InboundPassthroughCluster"
# Where inbound connections to the app come from, so that the pod's own rules never capture them again.
INBOUND_BIND_HOST = "127.0.0.6"


def fixed_clusters(config: MeshConfig) -> dict[str, Cluster]:
    """What every sidecar has beside its services."""
    passthrough = Cluster(
        PASSTHROUGH,
        Discovery.ORIGINAL_DST,
        LbPolicy.CLUSTER_PROVIDED,
        protocol=Protocol.DOWNSTREAM,
        connect_timeout_seconds=config.connect_timeout_seconds,
    )
    black_hole = Cluster(BLACK_HOLE, Discovery.STATIC, assignment=LoadAssignment(BLACK_HOLE))
    inbound = replace(passthrough, name=INBOUND_PASSTHROUGH, bind_host=INBOUND_BIND_HOST)
    return {cluster.name: cluster for cluster in (passthrough, black_hole, inbound)}


def outbound_clusters(
    registry: Registry,
    policies: Policies,
    config: MeshConfig,
    balanced: frozenset[str],
    mesh_tls: MeshTls,
    demands: Authentication = NO_AUTHENTICATION,
    client_namespace: str = "",
    hosts: Iterable[str] | None = None,
) -> dict[str, Cluster]:
    """Every cluster of the given hosts (default: all). Hosts that do not exist have none.

    Args: mesh_tls: what the clients can do. balanced: hosts that some rule names as a backend: a headless one among them is balanced like any other
          service, because the address that the client dialled belongs to the rule's own host.
    """
    found: dict[str, Cluster] = {}
    for host in registry.services if hosts is None else hosts:
        service = registry.services.get(host)
        if service is None:
            continue
        rule = policies.governing(host, client_namespace)
        subsets: tuple[istio.Subset | None, ...] = (None,)
        if rule is not None:
            subsets += tuple(subset for _, subset in rule.subsets)
        for port in service.ports:
            for subset in subsets:
                policy = rule.effective(port.number, subset) if rule is not None else istio.NO_POLICY
                cluster = _cluster(service, port, subset, policy, config, demands, host in balanced)
                cluster = mesh_tls.secured(_with_tls(cluster, service, policy.tls), service, port, policy.tls)
                if rule is not None:
                    cluster = replace(cluster, origin=rule.meta.origin(_rule_path(subset)))
                found[cluster.name] = cluster
    return found


def _rule_path(subset: istio.Subset | None) -> str:
    return "trafficPolicy" if subset is None else subset.path.removeprefix("spec.")


def _cluster(
    service: MeshService,
    port: MeshPort,
    subset: istio.Subset | None,
    policy: istio.TrafficPolicy,
    config: MeshConfig,
    demands: Authentication,
    is_balanced: bool,
) -> Cluster:
    name = cluster_name(port.number, subset.name if subset else "", service.host)
    balancer = policy.balancer or _DEFAULT_BALANCER
    discovery = _discovery(service, balancer, is_balanced)
    cluster = Cluster(
        name=name,
        discovery=discovery,
        lb=LbPolicy.CLUSTER_PROVIDED if discovery is Discovery.ORIGINAL_DST else balancer.policy,
        assignment=(
            static_assignment(name, service, port, subset.labels if subset else {}, demands)
            if discovery is Discovery.STRICT_DNS
            else None
        ),
        connect_timeout_seconds=config.connect_timeout_seconds,
        protocol=_PROTOCOLS.get(port.protocol, Protocol.HTTP1),
        outlier=policy.outlier,
        ring_min_size=balancer.ring_min_size,
        maglev_table_size=balancer.maglev_table_size,
        slow_start_seconds=balancer.slow_start_seconds,
        service=service.service_ref,
        subset=subset.name if subset else "",
        origin=service.meta.origin(),
    )
    return cluster if policy.pool is None else with_pool(cluster, policy.pool)


_DEFAULT_BALANCER = istio.LoadBalancer()
_NO_LIMIT = CircuitBreaker()
_PROTOCOLS: Mapping[PortProtocol, Protocol] = {
    PortProtocol.HTTP2: Protocol.HTTP2,
    PortProtocol.AUTO: Protocol.DOWNSTREAM,
}


def _discovery(service: MeshService, balancer: istio.LoadBalancer, is_balanced: bool) -> Discovery:
    if balancer.policy is LbPolicy.CLUSTER_PROVIDED or service.reach is Reach.ORIGINAL:
        return Discovery.ORIGINAL_DST
    if service.reach is Reach.DNS:
        return Discovery.STRICT_DNS
    if service.reach is Reach.HEADLESS and not is_balanced:
        return Discovery.ORIGINAL_DST
    return Discovery.EDS


def with_pool(cluster: Cluster, pool: istio.ConnectionPool) -> Cluster:
    """The cluster under a DestinationRule's connectionPool."""
    # 0 is Istio's "not set" in all four.
    breaker = CircuitBreaker(
        max_connections=pool.max_connections or _NO_LIMIT.max_connections,
        max_pending_requests=pool.max_pending_requests or _NO_LIMIT.max_pending_requests,
        max_requests=pool.max_requests or _NO_LIMIT.max_requests,
        max_retries=pool.max_retries or _NO_LIMIT.max_retries,
    )
    protocol = cluster.protocol
    if pool.use_client_protocol:
        protocol = Protocol.DOWNSTREAM
    elif pool.use_h2 is not None and protocol is not Protocol.HTTP2:
        protocol = Protocol.HTTP2 if pool.use_h2 else Protocol.HTTP1
    return replace(
        cluster,
        circuit_breaker=breaker,
        protocol=protocol,
        connect_timeout_seconds=pool.connect_timeout_seconds or cluster.connect_timeout_seconds,
        idle_timeout_seconds=(
            cluster.idle_timeout_seconds if pool.idle_timeout_seconds is None else pool.idle_timeout_seconds
        ),
        max_requests_per_connection=pool.max_requests_per_connection or 0,
        max_connection_duration_seconds=pool.max_connection_duration_seconds or 0.0,
        tcp_keepalive=pool.tcp_keepalive,
    )


def _with_tls(cluster: Cluster, service: MeshService, tls: istio.ClientTls | None) -> Cluster:
    if tls is None or tls.mode in (istio.TlsMode.DISABLE, istio.TlsMode.ISTIO_MUTUAL):
        # ISTIO_MUTUAL is `mesh_tls`'s.
        return cluster
    if tls.mode is istio.TlsMode.BROKEN:
        return refused(cluster)
    names = tls.subject_alt_names or tuple(StringMatch(StringKind.EXACT, n) for n in service.subject_alt_names)
    sni = tls.sni or ("" if service.host.startswith("*") else service.host)
    if not names and sni:
        names = (StringMatch(StringKind.EXACT, sni),)
    certificate = f"{FILE_CERTIFICATE}{tls.certificate_file}~{tls.key_file}" if tls.certificate_file else ""
    trust = f"{FILE_ROOTS}{tls.roots_file}" if tls.roots_file and not tls.insecure else ""
    upstream = UpstreamTls(
        certificate_name=certificate if tls.mode is istio.TlsMode.MUTUAL else "",
        trust_name=trust,
        sni=sni,
        auto_sni=not sni,
        alpn=("h2",) if cluster.protocol is Protocol.HTTP2 else ("http/1.1",),
        subject_alt_names=() if tls.insecure else names,
        system_roots=not tls.insecure and not trust,
        insecure=tls.insecure,
    )
    return replace(cluster, tls=upstream)
