"""What a resource refers to: the edges that make-before-break, warming and named subscriptions follow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mesh.model.cluster import Cluster, Discovery
from mesh.model.endpoint import LoadAssignment
from mesh.model.listener import FilterChain, HttpManager, Listener
from mesh.model.route import ForwardAction, RouteConfig
from mesh.model.secret import FILE_CERTIFICATE, FILE_ROOTS, WORKLOAD_SECRETS, DownstreamTls, Secret, UpstreamTls
from mesh.xds.kind import Kind
from mesh.xds.resource import Ref

Model = Cluster | LoadAssignment | Listener | RouteConfig | Secret


def references(value: Model) -> frozenset[Ref]:
    """Names that `value` holds of other resources."""
    match value:
        case Cluster():
            return frozenset(_of_cluster(value))
        case Listener():
            return frozenset(_of_listener(value))
        case RouteConfig():
            return frozenset(_of_routes(value))
        case _:
            return frozenset()


def assignment_name(cluster: Cluster) -> str:
    """The EDS resource that an EDS cluster asks for."""
    return cluster.eds_service_name or cluster.name


def _of_cluster(cluster: Cluster) -> Iterator[Ref]:
    if cluster.discovery is Discovery.EDS:
        yield Kind.ENDPOINT, assignment_name(cluster)
    for tls in (cluster.tls, *(match.tls for match in cluster.tls_matches)):
        if tls is not None:
            yield from _of_tls(tls)


def _of_listener(listener: Listener) -> Iterator[Ref]:
    chains = listener.chains if listener.default_chain is None else (*listener.chains, listener.default_chain)
    for chain in chains:
        yield from _of_chain(chain)
    if listener.api is not None:
        yield from _of_manager(listener.api)


def _of_chain(chain: FilterChain) -> Iterator[Ref]:
    if chain.tls is not None:
        yield from _of_tls(chain.tls)
    if isinstance(chain.filter, HttpManager):
        yield from _of_manager(chain.filter)
    else:
        for cluster in chain.filter.clusters:
            yield Kind.CLUSTER, cluster.name


def _of_manager(manager: HttpManager) -> Iterator[Ref]:
    if manager.route_config_name:
        yield Kind.ROUTE, manager.route_config_name
    if manager.route_config is not None:
        yield from _of_routes(manager.route_config)
    if manager.tracing is not None and manager.tracing.otlp_cluster:
        yield Kind.CLUSTER, manager.tracing.otlp_cluster


def _of_routes(config: RouteConfig) -> Iterator[Ref]:
    for host in config.virtual_hosts:
        for route in host.routes:
            if isinstance(route.action, ForwardAction):
                for cluster in route.action.clusters:
                    yield Kind.CLUSTER, cluster.name
                for mirror in route.action.mirrors:
                    yield Kind.CLUSTER, mirror.cluster


def _of_tls(tls: UpstreamTls | DownstreamTls) -> Iterator[Ref]:
    certificates: Iterable[str] = (tls.certificate_name,) if isinstance(tls, UpstreamTls) else tls.certificate_names
    for name in (*certificates, tls.trust_name):
        if name and name not in WORKLOAD_SECRETS and not name.startswith((FILE_CERTIFICATE, FILE_ROOTS)):
            yield Kind.SECRET, name
