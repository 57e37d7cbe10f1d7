"""Who serves a port now."""

from __future__ import annotations

from typing import Any

import pytest

from mesh.control.kube import kinds
from mesh.control.kube.parse_core import pod as parse_pod
from mesh.control.translate.endpoints import workload_of
from mesh.model.endpoint import Workload
from tests.support.world import Cluster, Manifest, slice_of

SERVICE = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {selector: {app: web}, ports: [{name: http, port: 80}]}"
CLUSTER = "outbound|80||web.default.svc.cluster.local"


def cluster_with(*pods: Manifest) -> Cluster:
    cluster = Cluster()
    cluster.apply(SERVICE)
    cluster.apply(pods)
    return cluster


def addresses(cluster: Cluster, name: str = CLUSTER) -> list[str]:
    return [endpoint.address.host for endpoint in cluster.graph().endpoints[name].endpoints()]


def test_ready_pods_are_endpoints() -> None:
    cluster = Cluster()
    one, two = cluster.pod("a", {"app": "web"}), cluster.pod("b", {"app": "web"})
    cluster.apply(SERVICE)
    cluster.apply([two, one])
    assert addresses(cluster) == ["198.18.0.1", "198.18.0.2"]


@pytest.mark.parametrize(
    "change",
    [
        {"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}},
        {"status": {"phase": "Failed"}},
        {"metadata": {"uid": "another"}},
    ],
)
def test_the_pod_is_believed_before_its_slice(change: dict[str, Any]) -> None:
    """Rollouts drop requests while one waits for the EndpointSlice controller."""
    cluster = Cluster()
    pods = [cluster.pod("a", {"app": "web"}), cluster.pod("b", {"app": "web"})]
    cluster.apply(SERVICE)
    cluster.apply(pods)
    stale = slice_of(cluster.items[("", "Service", "default", "web")], pods)
    for part, values in change.items():
        pods[0] = {**pods[0], part: {**pods[0][part], **values}}
    cluster.store.replace(kinds.POD, pods)
    cluster.store.replace(kinds.ENDPOINT_SLICE, [stale])
    assert addresses(cluster) == ["198.18.0.2"]


def test_subsets_select_by_pod_labels() -> None:
    cluster = Cluster()
    cluster.apply(SERVICE)
    cluster.apply(
        [cluster.pod("a", {"app": "web", "version": "v1"}), cluster.pod("b", {"app": "web", "version": "v2"})]
    )
    cluster.apply(
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: web}\n"
        "spec: {host: web, subsets: [{name: v2, labels: {version: v2}}, {name: v9, labels: {version: v9}}]}"
    )
    graph = cluster.graph()
    name = "outbound|80|v2|web.default.svc.cluster.local"
    assert [str(e.address) for e in graph.endpoints[name].endpoints()] == ["198.18.0.2:80"]
    assert [(p.field, p.reason) for p in graph.endpoint_problems] == [
        ("spec.subsets[1].labels", "DestinationRuleSubsetNotSelectPods")
    ]


def test_unchanged_assignments_stay_the_same_object() -> None:
    cluster = cluster_with()
    cluster.apply([cluster.pod("a", {"app": "web"})])
    first = cluster.graph()
    from mesh.control.translate.build import build

    cluster.apply([cluster.pod("other", {"app": "other"})])
    world, changes = cluster.store.take()
    second = build(world, first, changes)
    assert changes.endpoints_only
    assert second.endpoints[CLUSTER] is first.endpoints[CLUSTER]


def test_localities_come_from_nodes() -> None:
    cluster = cluster_with()
    labels = {"topology.kubernetes.io/region": "r", "topology.kubernetes.io/zone": "z"}
    cluster.apply(
        [{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node", "namespace": "", "labels": labels}}]
    )
    cluster.apply([cluster.pod("a", {"app": "web"}), cluster.pod("b", {"app": "web"})])
    (place,) = cluster.graph().endpoints[CLUSTER].localities
    assert (place.locality.region, place.locality.zone, len(place.endpoints)) == ("r", "z", 2)


@pytest.mark.parametrize(
    ("labels", "canonical", "revision"),
    [
        ({"app": "a", "version": "v1"}, "a", "v1"),
        ({"app.kubernetes.io/name": "n", "app": "a"}, "n", "latest"),
        ({"service.istio.io/canonical-name": "c", "service.istio.io/canonical-revision": "r", "app": "a"}, "c", "r"),
        ({}, "p", "latest"),
    ],
)
def test_canonical_service(labels: dict[str, str], canonical: str, revision: str) -> None:
    pod = parse_pod({"metadata": {"name": "p", "namespace": "n", "labels": labels}})
    assert workload_of(pod) == Workload("p", "n", canonical, revision)


def test_endpoints_say_whether_they_take_mesh_tls() -> None:
    cluster = cluster_with()
    offering = {"app": "web", "security.istio.io/tlsMode": "istio"}
    cluster.apply([cluster.pod("a", offering), cluster.pod("b", {"app": "web"}), cluster.pod("c", {**offering, "v": "off"})])
    head = "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: off}\nspec: "
    cluster.apply(head + "{selector: {matchLabels: {v: 'off'}}, portLevelMtls: {80: {mode: DISABLE}}}")
    endpoints = cluster.graph().endpoints[CLUSTER].endpoints()
    assert [(endpoint.tls_mode, endpoint.is_meshed) for endpoint in endpoints] == [("istio", True), ("", True), ("", True)]


def test_nothing_outside_is_taken_for_the_mesh() -> None:
    cluster = Cluster()
    entry = "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: e}\nspec: "
    endpoint = "{address: 198.18.7.7, labels: {security.istio.io/tlsMode: istio}}"
    cluster.apply(entry + f"{{hosts: [x.example], resolution: STATIC, ports: [{{number: 80, name: http}}], endpoints: [{endpoint}]}}")
    (found,) = cluster.graph().endpoints["outbound|80||x.example"].endpoints()
    assert (found.tls_mode, found.is_meshed) == ("", False)
