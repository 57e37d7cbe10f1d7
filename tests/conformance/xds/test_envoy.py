"""The real Envoy as a node of our ADS server: nothing rejected, nothing deprecated, traffic split as it was said."""

from __future__ import annotations

import http.client
import http.server
import json
import re
import threading
from collections import Counter
from dataclasses import replace

import pytest

from mesh.control.mesh_config import JSON_FORMAT
from mesh.model.addr import Address
from mesh.model.cluster import Cluster, Discovery
from mesh.model.listener import AccessLog, FilterChain, HttpFilter, HttpManager, Listener, Tracing
from mesh.model.match import HeaderMatch, PathKind, PathMatch, RouteMatch, StringKind, StringMatch
from mesh.model.origin import Origin
from mesh.model.route import (
    DirectResponse,
    Fault,
    FaultAbort,
    ForwardAction,
    HeaderMutation,
    Mirror,
    RedirectAction,
    RetryPolicy,
    Route,
    RouteConfig,
    VirtualHost,
    WeightedCluster,
)
from mesh.model.snapshot import Snapshot
from tests.support.xds_samples import KITCHEN_SINK
from tests.support.xds_server import ENVOY, NO_ENVOY, Envoy, RunningServer
from tests.support.xds_wire import assignment, cluster, snapshot

pytestmark = pytest.mark.skipif(ENVOY is None, reason=NO_ENVOY)
NODE_ID = "sidecar~127.0.0.1~web-1.default~default.svc.cluster.local"


class Upstream:
    """A loopback HTTP server that answers with its name and counts requests by Host header."""

    def __init__(self, name: str) -> None:
        self.hosts: Counter[str] = Counter()
        upstream = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # Head and body in one segment: two would meet Nagle and a delayed ACK, 40 ms each time.
            wbufsize = 1 << 16

            def do_GET(self) -> None:
                upstream.hosts[self.headers["host"]] += 1
                body = f"{name} {self.headers.get('x-added', '-')}".encode()
                self.send_response(200)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def upstreams():
    made = [Upstream("v1"), Upstream("v2")]
    yield made
    for upstream in made:
        upstream.close()


def web_listener() -> Listener:
    filters = (HttpFilter.PEER_METADATA, HttpFilter.CORS, HttpFilter.FAULT, HttpFilter.ROUTER)
    manager = HttpManager(
        "web",
        route_config_name="9080",
        filters=filters,
        tracing=Tracing(otlp_cluster="v1", service_name="web"),
        access_logs=(AccessLog("/dev/null", json=(("path", "%REQ(:PATH)%"),)),),
    )
    return Listener("web", Address("127.0.0.1", 0), (FilterChain(manager),))


def split(upstreams, weights=(90, 10)) -> Snapshot:
    forward = ForwardAction(
        (
            WeightedCluster("v1", weights[0], request_headers=HeaderMutation(set=(("x-added", "one"),))),
            WeightedCluster("v2", weights[1]),
        ),
        timeout_seconds=5,
        retry=RetryPolicy(frozenset({"connect-failure"}), 2),
    )

    def on(path: str, kind: PathKind = PathKind.EXACT) -> RouteMatch:
        return RouteMatch(PathMatch(kind, path))

    routes = (
        Route(on("/teapot"), DirectResponse(418, b"short and stout")),
        Route(on("/old", PathKind.SEGMENT_PREFIX), RedirectAction(301, "https", "new.example", 0)),
        Route(on("/fault"), forward, fault=Fault(abort=FaultAbort(100, http_status=555))),
        Route(on("/mirror"), ForwardAction((WeightedCluster("v1"),), mirrors=(Mirror("v2"),))),
        Route(
            RouteMatch(PathMatch(), (HeaderMatch("end-user", StringMatch(StringKind.EXACT, "jason")),)),
            ForwardAction((WeightedCluster("v2"),)),
        ),
        Route(on("/", PathKind.PREFIX), forward, origin=Origin("VirtualService", "default", "reviews", "http[0]")),
    )
    config = RouteConfig("9080", (VirtualHost("all", ("*",), routes),))
    one, two = upstreams
    return snapshot(
        replace(cluster("v1"), origin=Origin("Service", "default", "v1")),
        cluster("v2"),
        assignment("v1", one.port),
        assignment("v2", two.port),
        web_listener(),
        config,
    )


def serve(envoy: Envoy) -> http.client.HTTPConnection:
    envoy.wait_for("/stats?filter=workers_started", lambda text: "workers_started: 1" in text)
    text = envoy.wait_for("/listeners?format=json", lambda text: '"web"' in text)
    listeners = json.loads(text)["listener_statuses"]
    address = next(entry for entry in listeners if entry["name"] == "web")["local_address"]["socket_address"]
    return http.client.HTTPConnection(address["address"], address["port_value"], timeout=10)


def get(connection, path: str, headers=None) -> tuple[int, str]:
    connection.request("GET", path, headers=headers or {})
    response = connection.getresponse()
    return response.status, response.read().decode()


def assert_accepted(envoy: Envoy, server: RunningServer) -> None:
    stats = envoy.stats("")
    assert {name: value for name, value in stats.items() if name.endswith("update_rejected") and value} == {}
    assert stats["runtime.deprecated_feature_use"] == 0
    assert server.nacks == []
    unwanted = [line for line in envoy.log.read_text().splitlines() if "deprecated" in line.lower()]
    assert unwanted == []


@pytest.mark.parametrize("delta", [True, False], ids=["delta", "sotw"])
def test_envoy_routes_and_splits_as_told(upstreams, tmp_path, delta):
    with RunningServer() as server:
        server.publish(split(upstreams))
        with Envoy(tmp_path, server.port, delta, NODE_ID) as envoy:
            web = serve(envoy)
            counts = Counter(get(web, "/")[1] for _ in range(1000))
            assert set(counts) == {"v1 one", "v2 -"}
            # 10 % of 1000 is 100 with a standard deviation of 9.5.
            assert 55 <= counts["v2 -"] <= 145
            assert {get(web, "/", {"end-user": "jason"})[1] for _ in range(20)} == {"v2 -"}
            assert get(web, "/teapot") == (418, "short and stout")
            assert get(web, "/fault")[0] == 555
            web.request("GET", "/old/page")
            redirect = web.getresponse()
            redirect.read()
            assert (redirect.status, redirect.headers["location"]) == (301, "https://new.example:443/old/page")
            # A change of routes alone reaches the running Envoy.
            server.publish(split(upstreams, (0, 100)))
            updated = "http.web.rds.9080.config_reload: 2"
            envoy.wait_for("/stats?filter=rds.9080.config_reload", lambda text: updated in text)
            assert {get(web, "/")[1] for _ in range(20)} == {"v2 -"}
            assert_accepted(envoy, server)
            web.close()


@pytest.mark.parametrize("delta", [True, False], ids=["delta", "sotw"])
def test_envoy_accepts_every_feature(tmp_path, delta):
    with RunningServer() as server:
        server.publish(KITCHEN_SINK)
        with Envoy(tmp_path, server.port, delta, NODE_ID) as envoy:
            envoy.wait_for("/stats?filter=workers_started", lambda text: "workers_started: 1" in text)
            dump = envoy.admin("/config_dump")
            for name in (*KITCHEN_SINK.clusters, *KITCHEN_SINK.listeners, *KITCHEN_SINK.routes):
                assert json.dumps(name) in dump
            assert_accepted(envoy, server)


@pytest.mark.parametrize("delta", [True, False], ids=["delta", "sotw"])
def test_bad_route_is_named_and_stops_no_other(upstreams, tmp_path, delta):
    """Envoy refuses a header format that we cannot judge; the other route configuration arrives all the same."""
    good = split(upstreams)
    bad_route = Route(RouteMatch(), ForwardAction((WeightedCluster("v1"),)), "", HeaderMutation(set=(("x", "%NO("),)))
    bad = RouteConfig("a-bad-one", (VirtualHost("all", ("*",), (bad_route,)),))
    second = Listener("other", Address("127.0.0.1", 0), (FilterChain(HttpManager("o", route_config_name=bad.name)),))
    mixed = Snapshot(
        good.clusters, good.endpoints, {**good.listeners, second.name: second}, {**good.routes, bad.name: bad}
    )
    with RunningServer() as server:
        server.publish(mixed)
        with Envoy(tmp_path, server.port, delta, NODE_ID) as envoy:
            server.metrics.wait_for(lambda: server.metrics.counts["pilot_xds_rds_reject",] == 1)
            assert [(nack.kind.label, nack.resource) for nack in server.nacks] == [("rds", "a-bad-one")]
            none_yet = "http.web.rds.9080.update_success: 0"
            envoy.wait_for(
                "/stats?filter=rds.9080.update_success", lambda text: "9080" in text and none_yet not in text
            )


def test_envoys_access_log_names_trace_and_origin_in_our_format(upstreams, tmp_path):
    found, path = split(upstreams), tmp_path / "access.log"
    web = found.listeners["web"]
    tracing = Tracing(100.0, otlp_cluster="v1", service_name="web")
    manager = replace(web.chains[0].filter, tracing=tracing, access_logs=(AccessLog(str(path), json=JSON_FORMAT),))
    listeners = {"web": replace(web, chains=(FilterChain(manager),))}
    with RunningServer() as server:
        server.publish(replace(found, listeners=listeners))
        with Envoy(tmp_path, server.port, True, NODE_ID) as envoy:
            connection = serve(envoy)
            assert get(connection, "/")[0] == 200
            assert get(connection, "/teapot")[0] == 418
            assert_accepted(envoy, server)
            connection.close()
    # Envoy writes its log when its buffer is full, every ten seconds and when it ends.
    routed, answered = (json.loads(line) for line in path.read_text().splitlines())
    assert set(routed) == {key for key, _ in JSON_FORMAT}
    origin = {"kind": "VirtualService", "namespace": "default", "name": "reviews", "rule": "http[0]"}
    assert routed["route_origin"].items() >= origin.items()
    assert answered["route_origin"] is None
    assert re.fullmatch(r"[0-9a-f]{32}", routed["trace_id"]) and routed["trace_id"] != answered["trace_id"]


def test_cluster_added_with_its_route_never_loses_a_request(upstreams, tmp_path):
    """Make before break on the wire: switching back and forth between clusters that come and go gives no 503."""
    one, two = upstreams

    def only(name: str, port: int) -> Snapshot:
        forward = ForwardAction((WeightedCluster(name),))
        config = RouteConfig("9080", (VirtualHost("all", ("*",), (Route(RouteMatch(), forward),)),))
        static = replace(web_listener())
        manager = replace(static.chains[0].filter, tracing=None)
        listener = replace(static, chains=(FilterChain(manager),))
        return snapshot(Cluster(name, Discovery.EDS), assignment(name, port), listener, config)

    with RunningServer() as server:
        server.publish(only("blue", one.port))
        with Envoy(tmp_path, server.port, True, NODE_ID) as envoy:
            web = serve(envoy)
            statuses: Counter[int] = Counter()
            for turn in range(12):
                server.publish(only("green", two.port) if turn % 2 == 0 else only("blue", one.port))
                for _ in range(40):
                    statuses[get(web, "/")[0]] += 1
            assert set(statuses) == {200}
            assert_accepted(envoy, server)
            web.close()
