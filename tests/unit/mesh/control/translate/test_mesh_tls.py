"""When and how a client's proxy encrypts with the mesh's certificates."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mesh.control.translate.build import build
from mesh.control.translate.graph import Graph
from mesh.control.translate.project import project
from mesh.model.cluster import Cluster as MeshCluster
from mesh.model.cluster import Discovery, TlsMatch
from mesh.model.match import StringKind, StringMatch
from mesh.model.secret import UpstreamTls
from tests.support.world import SYSTEM, Cluster, gateway_node, sidecar_node

HOST = "web.default.svc.cluster.local"
WEB = """
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{name: http, port: 80}, {name: tcp, port: 81}, {name: x, port: 82}]}
---
apiVersion: v1
kind: Service
metadata: {name: peers}
spec: {clusterIP: None, selector: {app: web}, ports: [{name: tcp, port: 90}]}
---
apiVersion: v1
kind: Service
metadata: {name: alias}
spec: {type: ExternalName, externalName: www.example.com, ports: [{name: http, port: 80}]}
"""
PEER = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: p}
spec: {mtls: {mode: %s}}
"""
ACCOUNT = StringMatch(StringKind.EXACT, "spiffe://cluster.local/ns/default/sa/web")
CLIENT = replace(sidecar_node("client"), has_identity=True)


def cluster(*more: str, plain: bool = False) -> Cluster:
    made = Cluster()
    made.apply(WEB)
    for name in ("web-1", "web-2"):
        pod = made.pod(name, {"app": "web", "security.istio.io/tlsMode": "istio"})
        pod["spec"]["serviceAccountName"] = "web"
        made.apply([pod])
    if plain:
        made.apply([made.pod("web-3", {"app": "web"})])
    for text in more:
        made.apply(text)
    return made


def rule(policy: str, host: str = "web", more: str = "") -> str:
    head = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: r}\nspec: "
    return f"{head}{{host: {host}, trafficPolicy: {policy}{more}}}"


def seen(made: Cluster, has_identity: bool = True) -> dict[str, MeshCluster]:
    found = project(made.graph(), replace(CLIENT, has_identity=has_identity)).clusters
    return {name.removesuffix(".default.svc.cluster.local"): cluster for name, cluster in found.items()}


def mesh(port: int, *alpn: str, subset: str = "", host: str = HOST) -> UpstreamTls:
    return UpstreamTls("default", "ROOTCA", f"outbound_.{port}_.{subset}_.{host}", alpn=alpn, subject_alt_names=(ACCOUNT,))


def matches(tls: UpstreamTls) -> tuple[TlsMatch, ...]:
    return (TlsMatch("tlsMode-istio", "istio", tls), TlsMatch("tlsMode-disabled", "", None))


def test_endpoints_that_offer_it_are_talked_to_in_mesh_tls() -> None:
    found = seen(cluster())
    assert found["outbound|80||web"].tls_matches == matches(mesh(80, "istio-http/1.1", "istio"))
    assert found["outbound|81||web"].tls_matches == matches(mesh(81, "istio"))
    assert found["outbound|82||web"].tls_matches == matches(mesh(82, "istio-http/1.1", "istio"))
    assert {found[f"outbound|{port}||web"].tls for port in (80, 81, 82)} == {None}


def test_who_has_no_identity_is_told_nothing_of_it() -> None:
    assert all(c.tls is None and not c.tls_matches for c in seen(cluster(), has_identity=False).values())


def test_nothing_is_encrypted_outside_the_mesh() -> None:
    found = seen(cluster())
    for name in ("outbound|80||alias", "PassthroughCluster", "BlackHoleCluster", "InboundPassthroughCluster"):
        assert (found[name].tls, found[name].tls_matches) == (None, ())


def test_it_can_be_switched_off_for_the_mesh() -> None:
    config = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: triomesh, namespace: triomesh-system}\ndata: {mesh: 'enableAutoMtls: false'}"
    found = seen(cluster(config))
    assert (found["outbound|80||web"].tls_matches, found["outbound|80||web"].tls) == ((), None)
    forced = seen(cluster(config, rule("{tls: {mode: ISTIO_MUTUAL}}")))
    assert forced["outbound|80||web"].tls == mesh(80, "istio-http/1.1", "istio")


def test_a_headless_service_is_encrypted_if_all_of_it_takes_that() -> None:
    tls = mesh(90, "istio", host="peers.default.svc.cluster.local")
    whole = seen(cluster())["outbound|90||peers"]
    assert (whole.discovery, whole.tls, whole.tls_matches) == (Discovery.ORIGINAL_DST, tls, ())
    mixed = seen(cluster(plain=True))["outbound|90||peers"]
    assert (mixed.tls, mixed.tls_matches) == (None, ())


def test_istio_mutual_insists_whoever_answers() -> None:
    found = seen(cluster(rule("{tls: {mode: ISTIO_MUTUAL}}", more=", subsets: [{name: v1, labels: {version: v1}}]"), plain=True))
    names = (*mesh(80).subject_alt_names, StringMatch(StringKind.EXACT, "spiffe://cluster.local/ns/default/sa/default"))
    both = tuple(sorted(names, key=lambda name: name.value))
    assert found["outbound|80||web"].tls == replace(mesh(80, "istio-http/1.1", "istio"), subject_alt_names=both)
    assert found["outbound|80||web"].tls_matches == ()
    subset = found["outbound|80|v1|web"].tls
    assert subset == replace(mesh(80, "istio-http/1.1", "istio", subset="v1"), subject_alt_names=both)


def test_names_of_the_rule_win() -> None:
    found = seen(cluster(rule("{tls: {mode: ISTIO_MUTUAL, sni: web.example, subjectAltNames: ['spiffe://other/ns/a/sa/b']}}")))
    wanted = (StringMatch(StringKind.EXACT, "spiffe://other/ns/a/sa/b"),)
    tls = found["outbound|80||web"].tls
    assert tls == replace(mesh(80, "istio-http/1.1", "istio"), sni="web.example", subject_alt_names=wanted)


@pytest.mark.parametrize(
    ("policy", "wanted"),
    [
        ("{tls: {mode: DISABLE}}", {80: "plain", 81: "plain"}),
        ("{tls: {mode: SIMPLE}}", {80: "own", 81: "own"}),
        ("{tls: {mode: DISABLE}, portLevelSettings: [{port: {number: 81}, tls: {mode: ISTIO_MUTUAL}}]}", {80: "plain", 81: "mesh"}),
        ("{tls: {mode: ISTIO_MUTUAL}, portLevelSettings: [{port: {number: 81}, loadBalancer: {simple: RANDOM}}]}", {80: "mesh", 81: "auto"}),
    ],
)
def test_the_destination_rule_decides_port_by_port(policy: str, wanted: dict[int, str]) -> None:
    found = seen(cluster(rule(policy)))
    assert {port: kind(found[f"outbound|{port}||web"]) for port in wanted} == wanted


def kind(found: MeshCluster) -> str:
    if found.tls is not None:
        return "mesh" if found.tls.certificate_name == "default" else "own"
    return "auto" if found.tls_matches else "plain"


def test_a_server_that_switched_it_off_is_not_offered_it() -> None:
    endpoints = cluster(PEER % "DISABLE").graph().endpoints[f"outbound|80||{HOST}"].endpoints()
    assert {endpoint.tls_mode for endpoint in endpoints} == {""}
    assert seen(cluster(PEER % "DISABLE"))["outbound|90||peers"].tls is None


def test_who_cannot_encrypt_does_not_talk_in_the_clear_to_who_refuses_it() -> None:
    demanded = rule("{tls: {mode: ISTIO_MUTUAL}}")
    strict = seen(cluster(demanded, PEER % "STRICT"), has_identity=False)["outbound|80||web"]
    assert strict.discovery is Discovery.STATIC and strict.assignment is not None and strict.assignment.endpoints() == ()
    assert seen(cluster(demanded), has_identity=False)["outbound|80||web"].discovery is Discovery.EDS


def test_a_rule_of_the_clients_namespace_counts() -> None:
    private = rule("{tls: {mode: DISABLE}}", host=HOST).replace("{name: r}", "{name: r, namespace: away}")
    made = cluster(private)
    away = replace(sidecar_node("client", "away"), has_identity=True)
    assert kind(project(made.graph(), away).clusters[f"outbound|80||{HOST}"]) == "plain"
    assert kind(seen(made)["outbound|80||web"]) == "auto"


def test_gateways_encrypt_as_sidecars_do() -> None:
    found = project(cluster().graph(), replace(gateway_node(), has_identity=True)).clusters[f"outbound|80||{HOST}"]
    assert found.tls_matches == matches(mesh(80, "istio-http/1.1", "istio"))


def test_both_kinds_of_clients_are_served_by_one_graph() -> None:
    graph = cluster().graph()
    for node in (CLIENT, sidecar_node("other"), CLIENT, sidecar_node("other")):
        assert kind(project(graph, node).clusters[f"outbound|80||{HOST}"]) == ("auto" if node.has_identity else "plain")


def advanced(made: Cluster, graph: Graph) -> Graph:
    world, changes = made.store.take()
    assert changes.endpoints_only
    return build(world, graph, changes, SYSTEM)


def test_pods_that_come_and_go_change_clusters_only_with_their_accounts() -> None:
    made = cluster()
    before = made.graph()
    name = f"outbound|80||{HOST}"
    third = made.pod("web-9", {"app": "web", "security.istio.io/tlsMode": "istio"})
    third["spec"]["serviceAccountName"] = "web"
    made.apply([third])
    same = advanced(made, before)
    assert same.identified is before.identified and len(same.endpoints[name].endpoints()) == 3
    other = made.pod("web-10", {"app": "web", "security.istio.io/tlsMode": "istio"})
    other["spec"]["serviceAccountName"] = "other"
    made.apply([other])
    after = advanced(made, same)
    tls = after.identified[name].tls_matches[0].tls
    assert tls is not None
    assert [match.value.rpartition("/")[2] for match in tls.subject_alt_names] == ["other", "web"]
    untouched = "outbound|80||alias.default.svc.cluster.local"
    assert after.identified[untouched] is before.identified[untouched]
    assert after == build(made.store.take()[0], system_namespace=SYSTEM)
