"""Who is behind a service port."""

from __future__ import annotations

from typing import Any

from mesh.control.translate.peers import Peers, changed_hosts
from tests.support.world import Cluster

HOST = "web.default.svc.cluster.local"
WEB = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}, {name: tcp, port: 81}]}"
STRICT = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: p}
spec: {selector: {matchLabels: {app: web}}, mtls: {mode: %s}, portLevelMtls: {8080: {mode: %s}}}
"""


def pod(cluster: Cluster, name: str, account: str = "web", is_secure: bool = True) -> dict[str, Any]:
    labels = {"app": "web"} | ({"security.istio.io/tlsMode": "istio"} if is_secure else {})
    made = cluster.pod(name, labels)
    made["spec"]["serviceAccountName"] = account
    return made


def spiffe(account: str) -> str:
    return f"spiffe://cluster.local/ns/default/sa/{account}"


def cluster(*accounts: str) -> Cluster:
    made = Cluster()
    made.apply(WEB)
    made.apply([pod(made, f"p{i}", account) for i, account in enumerate(accounts)])
    return made


def test_accounts_are_sorted_and_said_once() -> None:
    assert cluster("b", "a", "b").graph().peers == {
        (HOST, 80): Peers((spiffe("a"), spiffe("b")), offers_tls=True),
        (HOST, 81): Peers((spiffe("a"), spiffe("b")), offers_tls=True),
    }


def test_one_without_an_identity_spoils_the_offer() -> None:
    made = cluster("a")
    made.apply([pod(made, "plain", is_secure=False)])
    assert not made.graph().peers[HOST, 80].offers_tls


def test_policy_takes_the_offer_back_or_insists_port_by_port() -> None:
    made = cluster("a")
    made.apply(STRICT % ("STRICT", "DISABLE"))
    found = made.graph().peers
    assert (found[HOST, 80].offers_tls, found[HOST, 80].refuses_plaintext) == (False, False)
    assert (found[HOST, 81].offers_tls, found[HOST, 81].refuses_plaintext) == (True, True)


def test_nobody_offers_nothing() -> None:
    made = Cluster()
    made.apply(WEB)
    assert made.graph().peers == {}


def test_a_trust_domain_of_its_own() -> None:
    made = cluster("a")
    made.apply("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: triomesh, namespace: triomesh-system}\ndata: {mesh: 'trustDomain: shop.example'}")
    assert made.graph().peers[HOST, 80].accounts == ("spiffe://shop.example/ns/default/sa/a",)


def test_a_service_entry_says_who_its_endpoints_are() -> None:
    made = Cluster()
    made.apply("""
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: vm}
spec:
  hosts: [vm.example]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  subjectAltNames: ["spiffe://cluster.local/ns/vm/sa/x"]
  endpoints: [{address: 198.18.7.7, serviceAccount: vm, labels: {security.istio.io/tlsMode: istio}}]
""")
    graph = made.graph()
    assert graph.peers == {("vm.example", 80): Peers((spiffe("vm"), "spiffe://cluster.local/ns/vm/sa/x"), offers_tls=True)}
    (endpoint,) = graph.endpoints["outbound|80||vm.example"].endpoints()
    assert (endpoint.tls_mode, endpoint.is_meshed) == ("istio", True)


def test_hosts_that_changed_come_and_go() -> None:
    one, other = Peers(("a",)), Peers(("b",))
    assert changed_hosts({("x", 1): one, ("y", 1): one}, {("x", 1): one, ("y", 1): other, ("z", 1): one}) == ["y", "z"]
    assert changed_hosts({("x", 1): one}, {}) == ["x"]
