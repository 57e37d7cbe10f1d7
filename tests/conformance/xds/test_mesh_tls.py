"""Mesh TLS as the real Envoy sees it: it accepts what a node with an identity is sent, and keeps the doors as we mean them."""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from mesh.control.kube.parse_peer_authentication import PeerMode
from mesh.control.translate.doors import App, Doors
from mesh.control.translate.filters import Observation, http_manager, single_tcp
from mesh.model.addr import Address
from mesh.model.cluster import Cluster as MeshCluster
from mesh.model.cluster import Discovery, TlsMatch
from mesh.model.endpoint import Endpoint, LoadAssignment, LocalityEndpoints
from mesh.model.listener import FilterChain, Listener, ListenerFilter, Tracing
from mesh.model.match import RouteMatch, StringKind, StringMatch
from mesh.model.node import Node
from mesh.model.route import ForwardAction, Route, RouteConfig, VirtualHost, WeightedCluster
from mesh.model.secret import WORKLOAD_CERTIFICATE, WORKLOAD_ROOTS, Secret, TlsCertificate, UpstreamTls
from mesh.model.snapshot import Snapshot
from tests.support.proxy_tls import Authority
from tests.support.world import INGRESS_GATEWAY, Cluster, bookinfo, gateway_node, project, sidecar_node
from tests.support.world_rich import RICH
from tests.support.xds_sds import Agent
from tests.support.xds_server import ENVOY, NO_ENVOY, Envoy, RunningServer, _bootstrap

pytestmark = pytest.mark.skipif(ENVOY is None, reason=NO_ENVOY)
ROOT = Authority()
ME = "spiffe://cluster.local/ns/default/sa/web"
SEEN = Observation((), Tracing())
FILES = ("platform/kube/bookinfo.yaml", "networking/destination-rule-all-mtls.yaml", "networking/bookinfo-gateway.yaml")


@contextlib.contextmanager
def running(directory: Path, snapshot: Snapshot, node: Node) -> Iterator[tuple[Envoy, Agent]]:
    """An Envoy that has taken the snapshot, with an agent that gives it the identity ME."""
    own = Secret(WORKLOAD_CERTIFICATE, certificate=ROOT.issue(ME))
    with RunningServer() as server, Agent(own, ROOT.trust(WORKLOAD_ROOTS)) as agent:
        server.publish(snapshot)
        bootstrap = _bootstrap(server.port, True, node.id)
        bootstrap["static_resources"]["clusters"].append(agent.cluster())
        with Envoy(directory, server.port, True, node.id, bootstrap) as envoy:
            envoy.wait_for("/stats?filter=workers_started", lambda text: "workers_started: 1" in text)
            assert server.nacks == []
            stats = envoy.stats("")
            assert {name for name, value in stats.items() if name.endswith("update_rejected") and value} == set()
            assert stats["runtime.deprecated_feature_use"] == 0
            yield envoy, agent


def on_loopback(found: Snapshot) -> Snapshot:
    free = {
        name: replace(listener, address=Address("127.0.0.1", 0), additional_addresses=())
        if listener.bind_to_port
        else listener
        for name, listener in found.listeners.items()
    }
    return replace(found, listeners=free)


@pytest.mark.parametrize("mode", ["PERMISSIVE", "STRICT", "gateway"])
def test_envoy_accepts_what_a_node_with_an_identity_is_sent(tmp_path: Path, mode: str) -> None:
    cluster = Cluster(has_identities=True)
    cluster.apply(INGRESS_GATEWAY)
    cluster.apply(bookinfo(*FILES))
    cluster.apply(RICH)
    if mode == "STRICT":
        policy = (
            "{mtls: {mode: STRICT}, selector: {matchLabels: {app: reviews}}, portLevelMtls: {7777: {mode: PERMISSIVE}}}"
        )
        cluster.apply(
            f"apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {{name: p}}\nspec: {policy}"
        )
    node = replace(gateway_node() if mode == "gateway" else sidecar_node("reviews"), has_identity=True)
    found = on_loopback(project(cluster.graph(), node))
    with running(tmp_path, found, node) as (envoy, agent):
        stats = envoy.stats("")
        assert stats["cluster_manager.active_clusters"] == len(found.clusters) + 2
        assert stats["listener_manager.total_listeners_active"] == len(found.listeners)
        assert agent.asked == {"default", "ROOTCA"}


def port_of(envoy: Envoy, listener: str) -> int:
    line = next(line for line in envoy.admin("/listeners").splitlines() if line.startswith(f"{listener}::"))
    return int(line.rpartition(":")[2])


class Echo:
    """The app: answers HTTP with the x-forwarded-client-cert that it was sent, and echoes anything else."""

    def __init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]

    def answer(self) -> bytes:
        """Serves one connection; returns what it heard."""
        self.socket.settimeout(10)
        peer, _ = self.socket.accept()
        with peer:
            peer.settimeout(10)
            heard = peer.recv(65536)
            body = heard if not heard.startswith(b"GET") else b"ok"
            peer.sendall(body if not heard.startswith(b"GET") else b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        return heard


@pytest.fixture
def app() -> Iterator[Echo]:
    made = Echo()
    yield made
    made.socket.close()


def snapshot(app: Echo, mode: PeerMode) -> Snapshot:
    """A door `in` to the app, and a listener `out` that encrypts towards whatever the test finds behind it."""

    def forward(name: str) -> RouteConfig:
        route = Route(RouteMatch(), ForwardAction((WeightedCluster(name),)))
        return RouteConfig(name, (VirtualHost(name, ("*",), (route,)),))

    manager = http_manager("in", SEEN, route_config=forward("app"), is_for_peers=True)
    manager = replace(manager, tracing=None)
    chains = Doors(mode, (), True).chains(App("in", "in-http", manager, single_tcp("app", SEEN)), None)
    filters = frozenset((ListenerFilter.TLS_INSPECTOR, ListenerFilter.HTTP_INSPECTOR))
    listener = Listener("in", Address("127.0.0.1", 0), tuple(chains), filters=filters)
    here = Endpoint(Address("127.0.0.1", app.port))
    assignment = LoadAssignment("app", (LocalityEndpoints((here,)),))
    return Snapshot({"app": MeshCluster("app", Discovery.STATIC, assignment=assignment)}, {}, {"in": listener})


def dial(port: int, alpn: tuple[str, ...], certificate: TlsCertificate | None = None) -> ssl.SSLSocket:
    raw = socket.create_connection(("127.0.0.1", port), 10)
    context = ROOT.client_context(certificate, alpn)
    context.check_hostname = False
    return context.wrap_socket(raw, server_hostname="outbound_.80_._.web")


GET = b"GET / HTTP/1.1\r\nhost: a\r\nx-forwarded-client-cert: By=forged\r\n\r\n"


def test_permissive_takes_both_and_tells_the_app_who_called(tmp_path: Path, app: Echo) -> None:
    with running(tmp_path, snapshot(app, PeerMode.PERMISSIVE), sidecar_node("web")) as (envoy, _):
        port = port_of(envoy, "in")
        peer = ROOT.issue("spiffe://cluster.local/ns/default/sa/client")
        with dial(port, ("istio-http/1.1", "istio"), peer) as tls:
            assert tls.selected_alpn_protocol() == "istio-http/1.1"
            tls.sendall(GET)
            heard = app.answer()
            assert b"URI=spiffe://cluster.local/ns/default/sa/client" in heard
        with dial(port, ("istio",), peer) as tls:
            tls.sendall(b"opaque\r\n")
            assert app.answer() == b"opaque\r\n"
        with socket.create_connection(("127.0.0.1", port), 10) as plain:
            plain.sendall(GET)
            assert b"forged" not in app.answer()


@pytest.mark.parametrize("mode", [PeerMode.PERMISSIVE, PeerMode.STRICT])
def test_mesh_tls_needs_a_certificate_of_the_mesh(tmp_path: Path, app: Echo, mode: PeerMode) -> None:
    with running(tmp_path, snapshot(app, mode), sidecar_node("web")) as (envoy, _):
        port = port_of(envoy, "in")
        stranger = Authority("elsewhere").issue("spiffe://cluster.local/ns/default/sa/client")
        for certificate in (None, stranger):
            # TLS 1.3: the client learns of its rejection with the first read.
            with pytest.raises(OSError), dial(port, ("istio-http/1.1",), certificate) as tls:
                tls.sendall(GET)
                assert tls.recv(1) == b"", "the server answered"
                raise ConnectionResetError
        envoy.wait_for("/stats?filter=listener.*ssl.fail_verify", lambda text: "fail_verify_error: 1" in text)


def test_strict_takes_nothing_else(tmp_path: Path, app: Echo) -> None:
    with running(tmp_path, snapshot(app, PeerMode.STRICT), sidecar_node("web")) as (envoy, _):
        port = port_of(envoy, "in")
        with socket.create_connection(("127.0.0.1", port), 10) as plain:
            plain.sendall(GET)
            with contextlib.suppress(ConnectionResetError):
                assert plain.recv(1) == b""
        with dial(port, (), ROOT.issue("spiffe://cluster.local/ns/default/sa/prometheus")) as tls:
            tls.sendall(b"opaque\r\n")
            assert app.answer() == b"opaque\r\n"


@pytest.mark.parametrize(("account", "status"), [("web", 200), ("impostor", 503)])
def test_the_server_must_be_who_the_cluster_says(tmp_path: Path, app: Echo, account: str, status: int) -> None:
    """Envoy to itself: `out` encrypts towards `in`, whose certificate says ME."""
    found = snapshot(app, PeerMode.STRICT)
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    inside = replace(found.listeners["in"], address=Address("127.0.0.1", port))
    name = StringMatch(StringKind.EXACT, f"spiffe://cluster.local/ns/default/sa/{account}")
    tls = UpstreamTls(
        WORKLOAD_CERTIFICATE, WORKLOAD_ROOTS, "outbound_.80_._.web", False, ("istio-http/1.1", "istio"), (name,)
    )
    peer = Endpoint(Address("127.0.0.1", port), is_meshed=True, tls_mode="istio")
    matches = (TlsMatch("tlsMode-istio", "istio", tls), TlsMatch("tlsMode-disabled", "", None))
    web = MeshCluster("web", Discovery.EDS, tls_matches=matches)
    routes = RouteConfig(
        "web", (VirtualHost("web", ("*",), (Route(RouteMatch(), ForwardAction((WeightedCluster("web"),))),)),)
    )
    manager = replace(http_manager("out", SEEN, route_config=routes), tracing=None)
    outside = Listener("out", Address("127.0.0.1", 0), (FilterChain(manager),))
    assignment = LoadAssignment("web", (LocalityEndpoints((peer,)),))
    whole = Snapshot({**found.clusters, "web": web}, {"web": assignment}, {"in": inside, "out": outside})
    with running(tmp_path, whole, sidecar_node("web")) as (envoy, _):
        client = http.client.HTTPConnection("127.0.0.1", port_of(envoy, "out"), timeout=10)
        client.request("GET", "/")
        if status == 200:
            assert f"URI={ME}".encode() in app.answer()
        assert client.getresponse().status == status
        client.close()
