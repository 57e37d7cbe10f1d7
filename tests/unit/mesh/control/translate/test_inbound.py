"""What reaches a pod."""

from __future__ import annotations

from mesh.model.cluster import Discovery, Protocol
from mesh.model.listener import HttpManager, Listener, TcpProxy
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


def snapshot() -> Snapshot:
    cluster = Cluster()
    cluster.apply(SERVICES)
    pod = cluster.pod("web-x", {"app": "web"})
    pod["spec"]["containers"][0]["ports"] = [{"name": "named", "containerPort": 7070}]
    cluster.apply([pod])
    return project(cluster.graph(), sidecar_node("web-x", app="web"))


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
    default = snapshot().listeners["virtualInbound"].default_chain
    assert default is not None and default.filter.stat_prefix == "InboundPassthroughCluster"
