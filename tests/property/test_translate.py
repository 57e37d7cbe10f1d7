"""Properties of the translation: order of arrival, isolation of mistakes, dangling names."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.control.kube import kinds
from mesh.control.kube.world import WorldStore
from mesh.control.translate.build import build
from mesh.control.translate.project import project
from mesh.model.listener import HttpManager
from mesh.model.route import ForwardAction
from mesh.model.snapshot import Snapshot
from tests.support.world import INGRESS_GATEWAY, SYSTEM, Cluster, Manifest, bookinfo, gateway_node, sidecar_node

_FILES = (
    "platform/kube/bookinfo.yaml",
    "platform/kube/bookinfo-versions.yaml",
    "networking/bookinfo-gateway.yaml",
    "networking/destination-rule-all.yaml",
    "networking/virtual-service-all-v1.yaml",
    "networking/egress-rule-google-apis.yaml",
    "gateway-api/bookinfo-gateway.yaml",
    "gateway-api/route-reviews-90-10.yaml",
)
NODES = (sidecar_node("productpage"), sidecar_node("reviews", "other"), gateway_node())


def _everything() -> list[tuple[kinds.Kind, Manifest]]:
    cluster = Cluster()
    cluster.apply(INGRESS_GATEWAY)
    cluster.apply(bookinfo(*_FILES))
    found = [(kinds.kind_of(item), item) for item in cluster.items.values()]
    slices = [(kinds.ENDPOINT_SLICE, item) for item in cluster._slices()]
    return [(kind, item) for kind, item in found if kind is not None] + slices


ITEMS = _everything()


def snapshots(items: list[tuple[kinds.Kind, Manifest]]) -> list[Snapshot]:
    store = WorldStore()
    for kind, item in items:
        store.put(kind, item)
    graph = build(store.take()[0], system_namespace=SYSTEM)
    return [project(graph, node) for node in NODES]


EXPECTED = snapshots(ITEMS)


@settings(max_examples=25, deadline=None)
@given(st.permutations(ITEMS))
def test_the_order_of_arrival_does_not_matter(items: list[tuple[kinds.Kind, Manifest]]) -> None:
    assert snapshots(items) == EXPECTED


@settings(max_examples=15, deadline=None)
@given(st.permutations(ITEMS), st.integers(1, 10))
def test_builds_in_between_do_not_matter(items: list[tuple[kinds.Kind, Manifest]], step: int) -> None:
    """Reusing the graph before gives what a build from nothing gives."""
    store, graph = WorldStore(), None
    for index, (kind, item) in enumerate(items):
        store.put(kind, item)
        if index % step == 0 or index == len(items) - 1:
            world, changes = store.take()
            graph = build(world, graph, changes, SYSTEM)
            for node in NODES:
                project(graph, node)
    assert graph is not None
    assert [project(graph, node) for node in NODES] == EXPECTED


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 70000) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=8), children, max_size=3),
    max_leaves=8,
)


def paths(value: Any, prefix: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place inside a JSON value."""
    found = [prefix] if prefix else []
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in entries:
        found += paths(item, (*prefix, key))
    return found


def replaced(item: Manifest, path: tuple[Any, ...], value: Any) -> Manifest:
    copied = copy.deepcopy(item)
    target: Any = copied["spec"]
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = value
    return copied


# Objects whose mistakes could reach others if anything leaked; each has a host or a gateway of its own.
VICTIM = "outbound|9080||details.default.svc.cluster.local"
MUTABLE = [
    (kind, item)
    for kind, item in ITEMS
    if kind
    in (
        kinds.VIRTUAL_SERVICE,
        kinds.DESTINATION_RULE,
        kinds.ISTIO_GATEWAY,
        kinds.SERVICE_ENTRY,
        kinds.GATEWAY,
        kinds.HTTP_ROUTE,
    )
    and item["metadata"]["name"] != "details"
]


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_malformed_object_never_changes_what_others_said(data: st.DataObject) -> None:
    kind, item = data.draw(st.sampled_from(MUTABLE))
    path = data.draw(st.sampled_from(paths(item["spec"])))
    bad = replaced(item, path, data.draw(JSON))
    world = [(k, bad if i is item else i) for k, i in ITEMS]
    before, after = EXPECTED[0], snapshots(world)[0]
    assert after.clusters[VICTIM] == before.clusters[VICTIM]
    assert after.endpoints[VICTIM] == before.endpoints[VICTIM]
    name = "details.default.svc.cluster.local:9080"
    (old,) = [v for v in before.routes["9080"].virtual_hosts if v.name == name]
    (new,) = [v for v in after.routes["9080"].virtual_hosts if v.name == name]
    hijacks = kind in (kinds.VIRTUAL_SERVICE, kinds.SERVICE_ENTRY, kinds.HTTP_ROUTE) and "details" in str(bad["spec"])
    assert new == old or hijacks
    assert set(before.listeners) - {"0.0.0.0_443"} <= set(after.listeners) | _own_listeners(kind)


def _own_listeners(kind: kinds.Kind) -> set[str]:
    """Listeners that exist only because of the object that was broken."""
    if kind is kinds.HTTP_ROUTE:
        return {name for name in EXPECTED[0].listeners if name.startswith("198.19.") and name.endswith("_9080")}
    if kind is kinds.SERVICE_ENTRY:
        return {"0.0.0.0_80"}
    return set()


@settings(max_examples=60, deadline=None)
@given(st.sets(st.sampled_from(range(len(ITEMS))), max_size=12))
def test_names_that_routes_use_exist_or_somebody_is_told(missing: set[int]) -> None:
    store = WorldStore()
    for index, (kind, item) in enumerate(ITEMS):
        if index not in missing:
            store.put(kind, item)
    graph = build(store.take()[0], system_namespace=SYSTEM)
    told = {(problem.ref.kind, problem.ref.name) for problem in graph.problems()}
    for node in NODES:
        snapshot = project(graph, node)
        for config in snapshot.routes.values():
            for vhost in config.virtual_hosts:
                for route in vhost.routes:
                    if not isinstance(route.action, ForwardAction):
                        continue
                    for cluster in route.action.clusters:
                        if cluster.name not in snapshot.clusters:
                            assert route.origin is not None
                            assert (route.origin.kind, route.origin.name) in told
        for listener in snapshot.listeners.values():
            chains = (*listener.chains, *filter(None, (listener.default_chain,)))
            for chain in chains:
                if isinstance(chain.filter, HttpManager):
                    name = chain.filter.route_config_name
                    assert name in snapshot.routes or chain.filter.route_config is not None
                else:
                    for share in chain.filter.clusters:
                        assert share.name in snapshot.clusters


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_domains_of_a_route_configuration_are_unique(data: st.DataObject) -> None:
    """Envoy refuses a configuration in which two virtual hosts claim one domain."""
    _kind, item = data.draw(st.sampled_from(MUTABLE))
    path = data.draw(st.sampled_from(paths(item["spec"])))
    host = st.sampled_from(["*", "reviews", "details.default.svc.cluster.local", "*.default.svc.cluster.local", "a.b"])
    world = [(k, replaced(i, path, data.draw(host)) if i is item else i) for k, i in ITEMS]
    for snapshot in snapshots(world):
        for config in snapshot.routes.values():
            domains = [domain.lower() for vhost in config.virtual_hosts for domain in vhost.domains]
            assert len(domains) == len(set(domains))
