"""build: World → Graph. Everything is resolved anew; what only endpoints changed keeps the rest as it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from mesh.control.kube.world import Changes, World
from mesh.control.mesh_config import CONFIG_MAP_NAME, MeshConfig, mesh_config
from mesh.control.translate.actions import Names
from mesh.control.translate.authentication import authentication
from mesh.control.translate.bindings import bindings
from mesh.control.translate.clusters import fixed_clusters, outbound_clusters
from mesh.control.translate.endpoints import assignments, cluster_name, slices_of
from mesh.control.translate.gateways import gateways
from mesh.control.translate.graph import CLUSTERS_MEMO, Graph
from mesh.control.translate.mesh_tls import MeshTls
from mesh.control.translate.outbound import has_pod_listeners
from mesh.control.translate.peers import Key, Peers, changed_hosts, peers
from mesh.control.translate.policies import policies
from mesh.control.translate.registry import registry
from mesh.control.translate.scopes import scopes
from mesh.model.cluster import Cluster
from mesh.model.endpoint import LoadAssignment
from mesh.model.origin import Problem

DEFAULT_SYSTEM_NAMESPACE = "triomesh-system"


def build(
    world: World,
    previous: Graph | None = None,
    changes: Changes | None = None,
    system_namespace: str = DEFAULT_SYSTEM_NAMESPACE,
) -> Graph:
    """The graph of a world. Pure; the same world gives an equal graph whatever came before.

    Args: previous, changes: what the graph before was and what differs, to reuse what cannot have changed.
    """
    if previous is not None and changes is not None and changes.endpoints_only:
        return _with_endpoints(world, previous)
    source = world.config_maps.get((system_namespace, CONFIG_MAP_NAME))
    config, config_problems = mesh_config(source, system_namespace)
    return _full(world, config, config_problems, previous)


def _full(world: World, config: MeshConfig, config_problems: tuple[Problem, ...], previous: Graph | None) -> Graph:
    known = registry(world)
    rules = policies(world, known, config.root_namespace)
    names = Names(known, rules)
    bound = bindings(world, names)
    served = gateways(world, config)
    limits = scopes(world, config.root_namespace)
    demands = authentication(world, config.root_namespace)
    slices = slices_of(world)
    before = previous.endpoints if previous is not None else {}
    endpoints, endpoint_problems = assignments(world, known, rules, demands, slices, before)
    behind = peers(world, known, demands, config.trust_domain, slices)
    anonymous, identified = (
        outbound_clusters(
            known, rules, config, bound.balanced, MeshTls(has_identity, config.auto_mtls, behind), demands
        )
        for has_identity in (False, True)
    )
    return Graph(
        world=world,
        config=config,
        names=names,
        bindings=bound,
        gateways=served,
        clusters=anonymous,
        identified=identified,
        fixed=fixed_clusters(config),
        endpoints=endpoints,
        scopes=limits,
        authentication=demands,
        peers=behind,
        routing_problems=(
            *config_problems,
            *known.problems,
            *rules.problems,
            *bound.problems,
            *served.problems,
            *limits.problems,
            *demands.problems,
        ),
        endpoint_problems=endpoint_problems,
    )


def _with_endpoints(world: World, previous: Graph) -> Graph:
    names, demands, slices = previous.names, previous.authentication, slices_of(world)
    endpoints, problems = assignments(world, names.registry, names.policies, demands, slices, previous.endpoints)
    graph = replace(previous, world=world, endpoints=endpoints, endpoint_problems=problems)
    behind = peers(world, names.registry, demands, previous.config.trust_domain, slices)
    hosts = changed_hosts(previous.peers, behind)
    if hosts:
        graph = _with_peers(graph, behind, hosts)
    # What `project` remembers holds as long as no listener is made of endpoints.
    return replace(graph, memo={}) if _moves_listeners(previous, endpoints) else graph


def _with_peers(graph: Graph, behind: Mapping[Key, Peers], hosts: list[str]) -> Graph:
    """New clusters for the hosts that others answer for now, as far as that makes a difference to their clients."""
    clusters = _with_hosts(graph, graph.clusters, MeshTls(False, graph.config.auto_mtls, behind), hosts)
    identified = _with_hosts(graph, graph.identified, MeshTls(True, graph.config.auto_mtls, behind), hosts)
    memo = {key: value for key, value in graph.memo.items() if key[0] != CLUSTERS_MEMO}
    return replace(graph, peers=behind, clusters=clusters, identified=identified, memo=memo)


def _with_hosts(
    graph: Graph, before: Mapping[str, Cluster], mesh_tls: MeshTls, hosts: list[str]
) -> Mapping[str, Cluster]:
    names, balanced = graph.names, graph.bindings.balanced
    fresh = outbound_clusters(
        names.registry, names.policies, graph.config, balanced, mesh_tls, graph.authentication, hosts=hosts
    )
    changed = {name: cluster for name, cluster in fresh.items() if before[name] != cluster}
    return {**before, **changed} if changed else before


def _moves_listeners(previous: Graph, endpoints: Mapping[str, LoadAssignment]) -> bool:
    return any(
        endpoints.get(name) is not previous.endpoints.get(name)
        for service in previous.names.registry.services.values()
        for port in service.ports
        if has_pod_listeners(service, port)
        for name in (cluster_name(port.number, "", service.host),)
    )
