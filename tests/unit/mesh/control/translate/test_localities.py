"""Near endpoints first."""

from __future__ import annotations

import pytest

from mesh.control.translate.localities import distributed, locality_of, prioritised
from mesh.model.addr import Address
from mesh.model.endpoint import Endpoint, LoadAssignment, Locality, LocalityEndpoints
from tests.support.world import Cluster, Manifest, project, sidecar_node

CLIENT = Locality("r1", "z1", "s1")
PLACES = (
    Locality("r1", "z1", "s1"),
    Locality("r1", "z1", "s2"),
    Locality("r1", "z2"),
    Locality("r2", "z1"),
    Locality("r3", "z1"),
)


def assignment(*places: Locality, count: int = 1) -> LoadAssignment:
    return LoadAssignment(
        "c",
        tuple(
            LocalityEndpoints(tuple(Endpoint(Address(f"198.18.{i}.{k}", 80)) for k in range(count)), place)
            for i, place in enumerate(places)
        ),
    )


def priorities(found: LoadAssignment) -> list[int]:
    return [group.priority for group in found.localities]


def test_priorities_by_what_is_shared() -> None:
    assert priorities(prioritised(assignment(*PLACES), CLIENT, {})) == [0, 1, 2, 3, 3]


def test_failover_prefers_a_region() -> None:
    assert priorities(prioritised(assignment(*PLACES), CLIENT, {"r1": "r3"})) == [0, 1, 2, 4, 3]


def test_priorities_have_no_gaps() -> None:
    assert priorities(prioritised(assignment(PLACES[2], PLACES[4]), CLIENT, {})) == [0, 1]


def test_distribution() -> None:
    found = distributed(assignment(*PLACES), (("r1/*", 30), ("r1/z1/*", 60), ("r2/*", 10)))
    assert [(group.locality, group.weight) for group in found.localities] == [
        (PLACES[0], 30_000),
        (PLACES[1], 30_000),
        (PLACES[2], 30_000),
        (PLACES[3], 10_000),
    ]


def node(name: str, zone: str) -> Manifest:
    labels = {"topology.kubernetes.io/region": "r", "topology.kubernetes.io/zone": zone}
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "namespace": "", "labels": labels}}


def cluster(rule: str) -> Cluster:
    made = Cluster()
    made.apply(
        "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {selector: {app: web}, ports: [{name: http, port: 80}]}"
    )
    made.apply([node("a", "za"), node("b", "zb")])
    pods = [made.pod("web-a", {"app": "web"}), made.pod("web-b", {"app": "web"}), made.pod("client", {"app": "client"})]
    for pod, place in zip(pods, ("a", "b", "b"), strict=True):
        pod["spec"]["nodeName"] = place
    made.apply(pods)
    if rule:
        made.apply(
            f"apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: web}}\nspec: {{host: web, trafficPolicy: {{{rule}}}}}"
        )
    from mesh.control.kube import kinds

    slices = made._slices()
    for item in slices:
        for endpoint in item["endpoints"]:
            endpoint["nodeName"] = endpoint["targetRef"]["name"][-1]
    made.store.replace(kinds.ENDPOINT_SLICE, slices)
    return made


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("", {"za": (0, 0), "zb": (0, 0)}),
        ("outlierDetection: {consecutive5xxErrors: 1}", {"za": (1, 0), "zb": (0, 0)}),
        (
            "outlierDetection: {consecutive5xxErrors: 1}, loadBalancer: {localityLbSetting: {enabled: false}}",
            {"za": (0, 0), "zb": (0, 0)},
        ),
        (
            "loadBalancer: {localityLbSetting: {distribute: [{from: r/zb/*, to: {r/za/*: 20, r/zb/*: 80}}]}}",
            {"za": (0, 20_000), "zb": (0, 80_000)},
        ),
    ],
)
def test_what_a_client_is_told(rule: str, expected: dict[str, tuple[int, int]]) -> None:
    graph = cluster(rule).graph()
    client = sidecar_node("client")
    assert locality_of(graph.world, client) == Locality("r", "zb")
    groups = project(graph, client).endpoints["outbound|80||web.default.svc.cluster.local"].localities
    assert {group.locality.zone: (group.priority, group.weight) for group in groups} == expected
