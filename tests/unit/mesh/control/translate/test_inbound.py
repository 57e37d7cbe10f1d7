"""What reaches a pod."""

from __future__ import annotations

from dataclasses import replace

from mesh.model.cluster import Discovery, Protocol
from mesh.model.listener import ClientCertificate, HttpManager, Listener, TcpProxy
from mesh.model.snapshot import Snapshot
from tests.support.world import Cluster, project, sidecar_node

SERVICES = """
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: 8080}, {name: tcp, port: 3306}, {name: x, port: 7000}, {name: grpc, port: 70, targetPort: named}]
---
apiVersion: v1
kind: Service
metadata: {name: web-again}
spec: {selector: {app: web}, ports: [{name: http, port: 81, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: other}
spec: {selector: {app: web}, ports: [{name: http, port: 9999}]}
"""


POLICY = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: p}
spec: {selector: {matchLabels: {app: web}}, %s}
"""


def snapshot(policy: str = "", has_identity: bool = False) -> Snapshot:
    cluster = Cluster(has_identity)
    cluster.apply(SERVICES)
    if policy:
        cluster.apply(POLICY % policy)
    pod = cluster.pod("web-x", {"app": "web"})
    pod["spec"]["containers"][0]["ports"] = [{"name": "named", "containerPort": 7070}]
    cluster.apply([pod])
    return project(cluster.graph(), replace(sidecar_node("web-x", app="web"), has_identity=has_identity))


def chains(listener: Listener) -> list[tuple[int | None, tuple[str, ...], type]]:
    return [(c.match.destination_port, c.match.application_protocols, type(c.filter)) for c in listener.chains]


def test_chains_follow_the_services_of_the_pod() -> None:
    http = ("http/1.0", "http/1.1", "h2c")
    assert chains(snapshot().listeners["virtualInbound"]) == [
        (15006, (), TcpProxy),
        (8080, (), HttpManager),
        (3306, (), TcpProxy),
        (7000, http, HttpManager),
        (7000, (), TcpProxy),
        (7070, (), HttpManager),
        (None, http, HttpManager),
        (None, (), TcpProxy),
    ]


def test_server_first_ports_are_not_inspected() -> None:
    assert snapshot().listeners["virtualInbound"].uninspected_ports == (3306,)


def test_the_app_is_called_at_its_own_address_from_127_0_0_6() -> None:
    found = {name: c for name, c in snapshot().clusters.items() if name.startswith("inbound")}
    assert {name: c.protocol for name, c in found.items()} == {
        "inbound|8080||": Protocol.HTTP1,
        "inbound|3306||": Protocol.DOWNSTREAM,
        "inbound|7000||": Protocol.DOWNSTREAM,
        "inbound|7070||": Protocol.HTTP2,
    }
    assert {(c.discovery, c.bind_host) for c in found.values()} == {(Discovery.ORIGINAL_DST, "127.0.0.6")}


def test_two_services_on_one_port_share_its_chain() -> None:
    cluster = snapshot().clusters["inbound|8080||"]
    assert cluster.service is not None and cluster.service.name == "web"


def test_the_operation_names_the_service_port() -> None:
    chain = next(c for c in snapshot().listeners["virtualInbound"].chains if c.match.destination_port == 8080)
    assert isinstance(chain.filter, HttpManager) and chain.filter.route_config is not None
    (vhost,) = chain.filter.route_config.virtual_hosts
    assert (vhost.name, vhost.routes[0].operation) == ("inbound|http|80", "web.default.svc.cluster.local:80/*")


def test_everything_else_passes_through() -> None:
    listener = snapshot().listeners["virtualInbound"]
    assert listener.default_chain is None
    assert listener.chains[-1].filter.stat_prefix == "InboundPassthroughCluster"


def ways_in(found: Snapshot, port: int | None) -> set[tuple[str, bool]]:
    """(transport, is TLS terminated) of a port's chains."""
    chains = [c for c in found.listeners["virtualInbound"].chains if c.match.destination_port == port]
    return {(c.match.transport_protocol, c.tls is not None) for c in chains}


PERMISSIVE = {("tls", True), ("raw_buffer", False), ("tls", False)}
STRICT = {("tls", True)}
PLAIN = {("", False)}
PORTS = (8080, 3306, 7000, 7070, None)


def test_with_an_identity_mesh_tls_and_plaintext_come_in_everywhere() -> None:
    found = snapshot(has_identity=True)
    assert [ways_in(found, port) for port in PORTS] == [PERMISSIVE] * 5
    listener = found.listeners["virtualInbound"]
    assert {flag.value for flag in listener.filters} == {"original_dst", "tls_inspector", "http_inspector"}
    assert listener.uninspected_ports == ()


def test_strict_ports_have_no_other_way_in() -> None:
    found = snapshot("mtls: {mode: STRICT}, portLevelMtls: {3306: {mode: DISABLE}, 9999: {mode: PERMISSIVE}}", True)
    assert [ways_in(found, port) for port in PORTS] == [STRICT, PLAIN, STRICT, STRICT, STRICT]
    assert ways_in(found, 9999) == PERMISSIVE
    listener = found.listeners["virtualInbound"]
    assert (listener.default_chain, listener.uninspected_ports) == (None, (3306,))


def test_without_an_identity_strict_lets_nobody_in() -> None:
    found = snapshot("portLevelMtls: {8080: {mode: STRICT}}").listeners["virtualInbound"]
    (chain,) = [c for c in found.chains if c.match.destination_port == 8080]
    assert (chain.filter.stat_prefix, chain.tls) == ("BlackHoleCluster", None)


def test_the_proxys_own_ports_have_no_door() -> None:
    found = snapshot("portLevelMtls: {15020: {mode: STRICT}}", True)
    assert ways_in(found, 15020) == set()


def test_the_app_is_told_who_called() -> None:
    for chain in snapshot(has_identity=True).listeners["virtualInbound"].chains:
        if isinstance(chain.filter, HttpManager):
            assert chain.filter.client_certificate is ClientCertificate.APPEND
