"""What the control plane means is what a proxy reads: every resource survives Envoy's protobufs unchanged."""

from __future__ import annotations

import pathlib
from dataclasses import replace

import pytest

from mesh.model.node import Node, Role
from mesh.model.snapshot import Snapshot
from mesh.xds.decode import decode
from mesh.xds.encode import Encoder
from mesh.xds.kind import Kind
from tests.support.world import BOOKINFO, INGRESS_GATEWAY, Cluster, bookinfo, gateway_node, project, sidecar_node
from tests.support.world_rich import RICH

NODES = {
    "sidecar": sidecar_node("auto", PROXY="x", app="auto"),
    "gateway": gateway_node(),
    "grpc": Node("client", Role.GRPC, "", "", "default"),
    "sidecar-with-identity": replace(sidecar_node("reviews", app="reviews"), has_identity=True),
    "gateway-with-identity": replace(gateway_node(), has_identity=True),
}
FILES = sorted(
    str(path.relative_to(BOOKINFO)) for folder in ("networking", "gateway-api") for path in (BOOKINFO / folder).glob("*.yaml")
)


def snapshot(node: str, *files: str, text: str = "") -> Snapshot:
    cluster = Cluster(NODES[node].has_identity)
    cluster.apply(INGRESS_GATEWAY)
    cluster.apply(bookinfo("platform/kube/bookinfo.yaml", "platform/kube/bookinfo-versions.yaml", *files))
    if text:
        cluster.apply(text)
    return project(cluster.graph(), NODES[node])


def check(found: Snapshot) -> None:
    bundle = Encoder().bundle(found)
    assert bundle.errors == ()
    parts = {
        Kind.CLUSTER: found.clusters,
        Kind.ENDPOINT: found.endpoints,
        Kind.LISTENER: found.listeners,
        Kind.ROUTE: found.routes,
    }
    for kind, values in parts.items():
        for name, value in values.items():
            assert decode(kind, bundle.resources[kind][name].body, name) == value


@pytest.mark.parametrize("node", NODES)
def test_rich_objects(node: str) -> None:
    check(snapshot(node, text=RICH))


@pytest.mark.parametrize("mode", ["STRICT", "PERMISSIVE", "DISABLE"])
def test_peer_authentication(mode: str) -> None:
    policy = "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: p}\nspec: "
    check(snapshot("sidecar-with-identity", text=policy + f"{{selector: {{matchLabels: {{app: reviews}}}}, portLevelMtls: {{9080: {{mode: {mode}}}}}}}"))


@pytest.mark.parametrize("file", FILES)
def test_bookinfo(file: str) -> None:
    for node in NODES:
        check(snapshot(node, *([] if "destination" in pathlib.Path(file).name else ["networking/destination-rule-all.yaml"]), file))
