"""Story: a mesh that is encrypted already becomes one that takes nothing else.

World in, snapshot out: who encrypts towards whom, and who is let in.
"""

from __future__ import annotations

from mesh.control.translate.endpoints import cluster_name
from mesh.model.cluster import Cluster as MeshCluster
from mesh.model.listener import FilterChain
from mesh.model.snapshot import Snapshot
from tests.support.world import SYSTEM, Cluster, bookinfo

PORT = 9080
SERVICES = ("productpage", "details", "reviews", "ratings")
ACCOUNT = "spiffe://cluster.local/ns/default/sa/bookinfo-"


def bookstore(*files: str) -> Cluster:
    cluster = Cluster(has_identities=True)
    cluster.apply(bookinfo("platform/kube/bookinfo.yaml", *files))
    return cluster


def policy(cluster: Cluster, mode: str, namespace: str = SYSTEM, more: str = "") -> None:
    cluster.apply(f"""
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{name: default, namespace: {namespace}}}
spec: {{mtls: {{mode: {mode}}}{more}}}
""")


def chains(snapshot: Snapshot) -> list[FilterChain]:
    return [chain for chain in snapshot.listeners["virtualInbound"].chains if chain.match.destination_port != 15006]


def towards(snapshot: Snapshot, service: str, subset: str = "") -> MeshCluster:
    return snapshot.clusters[cluster_name(PORT, subset, f"{service}.default.svc.cluster.local")]


def encrypts(cluster: MeshCluster) -> tuple[str, ...]:
    """Whom it takes for the server, if it encrypts towards those that offer it."""
    tls = next((match.tls for match in cluster.tls_matches if match.tls_mode == "istio"), cluster.tls)
    return tuple(name.value for name in tls.subject_alt_names) if tls is not None else ()


def test_without_any_object_everybody_encrypts() -> None:
    snapshot = bookstore().sidecar("productpage")
    for service in SERVICES:
        cluster = towards(snapshot, service)
        assert encrypts(cluster) == (f"{ACCOUNT}{service}",)
        assert {endpoint.tls_mode for endpoint in snapshot.endpoints[cluster.name].endpoints()} == {"istio"}


def test_from_permissive_to_strict_only_the_other_ways_in_are_closed() -> None:
    cluster = bookstore()
    before = cluster.sidecar("reviews")
    policy(cluster, "STRICT")
    after = cluster.sidecar("reviews")
    assert (after.clusters, after.endpoints, after.routes) == (before.clusters, before.endpoints, before.routes)
    open_before, open_after = chains(before), chains(after)
    assert {chain.tls is None for chain in open_before} == {True, False}
    assert {chain.tls is None for chain in open_after} == {False}
    assert all(chain.match.transport_protocol == "tls" for chain in open_after)
    # What terminates TLS is the same, but that TLS without Istio's protocol names is no longer the app's own.
    assert [(c.tls, c.filter) for c in open_after] == [(c.tls, c.filter) for c in open_before if c.tls is not None]


def test_one_workload_first_and_a_port_of_it_last() -> None:
    cluster = bookstore()
    policy(cluster, "STRICT", "default", ", selector: {matchLabels: {app: reviews}}, portLevelMtls: {9999: {mode: PERMISSIVE}}")
    assert all(chain.tls is not None for chain in chains(cluster.sidecar("reviews")) if chain.match.destination_port != 9999)
    assert any(chain.tls is None for chain in chains(cluster.sidecar("reviews")) if chain.match.destination_port == 9999)
    assert any(chain.tls is None for chain in chains(cluster.sidecar("ratings")))


def test_switched_off_nobody_encrypts_and_nobody_is_asked_to() -> None:
    cluster = bookstore()
    policy(cluster, "DISABLE", "default")
    snapshot = cluster.sidecar("productpage")
    assert all(chain.tls is None for chain in chains(snapshot))
    endpoints = [e for assignment in snapshot.endpoints.values() for e in assignment.endpoints()]
    assert {endpoint.tls_mode for endpoint in endpoints} == {""}


def test_bookinfos_mutual_tls_rules_encrypt_every_cluster() -> None:
    snapshot = bookstore("networking/destination-rule-all-mtls.yaml").sidecar("productpage")
    found = [cluster for name, cluster in snapshot.clusters.items() if name.startswith(f"outbound|{PORT}|")]
    assert len(found) == 14
    for cluster in found:
        assert cluster.tls is not None and cluster.tls.certificate_name == "default"
        assert cluster.service is not None
        assert encrypts(cluster) == (f"{ACCOUNT}{cluster.service.name}",)


def test_the_gateway_encrypts_too() -> None:
    cluster = bookstore("networking/bookinfo-gateway.yaml")
    assert encrypts(towards(cluster.gateway(), "productpage")) == (f"{ACCOUNT}productpage",)
