"""The snapshot of a gateway pod."""

from __future__ import annotations

import base64

from mesh.model.listener import HttpManager, ListenerFilter, TcpProxy
from mesh.model.secret import DownstreamTls
from tests.support.world import INGRESS_GATEWAY, SYSTEM, Cluster, Manifest, bookinfo

RICH = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: g}
spec:
  selector: {istio: ingressgateway}
  servers:
  - {port: {number: 80, name: http, protocol: HTTP}, hosts: ["*.example.com"], tls: {httpsRedirect: true}}
  - {port: {number: 443, name: https, protocol: HTTPS}, hosts: ["a.example.com"], tls: {mode: SIMPLE, credentialName: cert}}
  - {port: {number: 443, name: tls, protocol: TLS}, hosts: ["sni.example.com"], tls: {mode: PASSTHROUGH}}
  - {port: {number: 9999, name: tcp, protocol: TCP}, hosts: ["*"]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: v}
spec:
  hosts: [a.example.com, sni.example.com]
  gateways: [g]
  http: [{route: [{destination: {host: reviews}}]}]
  tls: [{match: [{port: 443, sniHosts: [sni.example.com]}], route: [{destination: {host: details}}]}]
  tcp: [{match: [{port: 9999}], route: [{destination: {host: ratings}}]}]
"""


def cluster(*texts: str) -> Cluster:
    made = Cluster()
    made.apply(INGRESS_GATEWAY)
    made.apply(bookinfo("platform/kube/bookinfo.yaml"))
    for text in texts:
        made.apply(text)
    return made


def secret(name: str = "cert", **data: str) -> Manifest:
    data = data or {"tls.crt": "chain", "tls.key": "key"}
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
    metadata = {"name": name, "namespace": SYSTEM}
    return {"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": metadata, "data": encoded}


def test_bookinfos_gateway_binds_its_port_as_written() -> None:
    made = cluster()
    made.apply(bookinfo("networking/bookinfo-gateway.yaml"))
    snapshot = made.gateway()
    assert list(snapshot.listeners) == ["0.0.0.0_8080"]
    (vhost,) = snapshot.routes["http.8080"].virtual_hosts
    assert (vhost.domains, [route.match.path.value for route in vhost.routes]) == (
        ("*",),
        ["/productpage", "/static", "/login", "/logout", "/api/v1/products"],
    )


def test_a_service_port_means_its_target() -> None:
    made = cluster()
    made.apply(bookinfo("gateway-api/bookinfo-gateway.yaml"))
    assert list(made.gateway().listeners) == ["0.0.0.0_8080"]


def test_two_gateways_share_a_port() -> None:
    made = cluster()
    made.apply(bookinfo("networking/bookinfo-gateway.yaml", "networking/certmanager-gateway.yaml"))
    (vhost,) = made.gateway().routes["http.8080"].virtual_hosts
    assert [r.origin.name for r in vhost.routes if r.origin is not None][-1] == "cert-manager"


def test_https_redirect_holds_for_every_host_of_the_server() -> None:
    vhosts = cluster(RICH).gateway().routes["http.8080"].virtual_hosts
    assert {(v.domains[0], v.require_tls) for v in vhosts} == {
        ("*.example.com", True),
        ("a.example.com", True),
        ("sni.example.com", True),
    }


def test_tls_servers_share_a_port_by_server_name() -> None:
    made = cluster(RICH)
    made.apply([secret()])
    snapshot = made.gateway()
    listener = snapshot.listeners["0.0.0.0_8443"]
    assert [(c.match.server_names, type(c.filter)) for c in listener.chains] == [
        (("a.example.com",), HttpManager),
        (("sni.example.com",), TcpProxy),
    ]
    assert listener.filters == {ListenerFilter.TLS_INSPECTOR}
    name = f"kubernetes://{SYSTEM}/cert"
    assert listener.chains[0].tls == DownstreamTls((name,), alpn=("h2", "http/1.1"))
    certificate = snapshot.secrets[name].certificate
    assert certificate is not None and (certificate.chain_pem, certificate.key_pem) == (b"chain", b"key")


def test_a_missing_certificate_closes_its_server_only() -> None:
    made = cluster(RICH)
    assert [c.match.server_names for c in made.gateway().listeners["0.0.0.0_8443"].chains] == [("sni.example.com",)]
    assert "InvalidGatewayCredential" in {problem.reason for problem in made.graph().problems()}
    made.apply([secret(**{"tls.crt": "only"})])
    assert "0.0.0.0_8443" in made.gateway().listeners
    assert "lacks tls.crt or tls.key" in " ".join(problem.message for problem in made.graph().problems())


def test_clients_are_verified_when_the_server_says_so() -> None:
    made = cluster(RICH.replace("mode: SIMPLE, credentialName", "mode: MUTUAL, subjectAltNames: [bob], credentialName"))
    made.apply([secret()])
    assert [c.match.server_names for c in made.gateway().listeners["0.0.0.0_8443"].chains] == [("sni.example.com",)]
    made.apply([secret(**{"tls.crt": "chain", "tls.key": "key", "ca.crt": "roots"})])
    snapshot = made.gateway()
    name = f"kubernetes://{SYSTEM}/cert"
    tls = snapshot.listeners["0.0.0.0_8443"].chains[0].tls
    assert tls == DownstreamTls((name,), f"{name}-cacert", True, ("h2", "http/1.1"))
    trust = snapshot.secrets[f"{name}-cacert"].trust
    assert trust is not None and trust.roots_pem == b"roots" and [n.value for n in trust.subject_alt_names] == ["bob"]


def test_what_is_inside_terminated_tls_goes_by_tcp_rules() -> None:
    made = cluster(RICH.replace("number: 9999, name: tcp, protocol: TCP}, hosts: [\"*\"]", "number: 9999, name: tcp, protocol: TLS}, hosts: [\"*\"], tls: {credentialName: cert}"))
    made.apply([secret()])
    (chain,) = made.gateway().listeners["0.0.0.0_9999"].chains
    assert isinstance(chain.filter, TcpProxy) and chain.match.transport_protocol == "tls"
    assert chain.tls == DownstreamTls((f"kubernetes://{SYSTEM}/cert",))


def test_tcp_servers() -> None:
    (chain,) = cluster(RICH).gateway().listeners["0.0.0.0_9999"].chains
    assert isinstance(chain.filter, TcpProxy)
    assert [c.name for c in chain.filter.clusters] == ["outbound|9080||ratings.default.svc.cluster.local"]


def test_gateways_for_other_pods_are_not_ours() -> None:
    made = cluster(RICH.replace("{istio: ingressgateway}", "{istio: egressgateway}"))
    assert made.gateway().listeners == {}


def test_a_gateway_without_rules_answers_404() -> None:
    made = cluster(RICH.split("---")[0].replace(", tls: {httpsRedirect: true}", ""))
    assert made.gateway().routes["http.8080"].virtual_hosts == ()
