from dataclasses import replace

import pytest

from mesh.model.addr import Address
from mesh.model.cluster import Cluster, Discovery
from mesh.model.endpoint import Endpoint, LoadAssignment, LocalityEndpoints
from mesh.model.listener import Direction, FilterChain, HttpManager, Listener, TcpProxy
from mesh.model.match import PathKind, PathMatch, RouteMatch
from mesh.model.route import DirectResponse, Route, RouteConfig, VirtualHost, WeightedCluster
from mesh.model.secret import DownstreamTls
from mesh.model.snapshot import Snapshot
from mesh.proxy.clusters import ClusterRuntime
from mesh.proxy.deadlines import Deadlines
from mesh.proxy.observe.telemetry import Telemetry, TelemetrySettings
from mesh.proxy.poller import Poller
from mesh.proxy.snapshots import EMPTY, Compiled, HttpTerminal, TcpTerminal, compile_snapshot


def config(name: str, pattern: str = "/x") -> RouteConfig:
    route = Route(RouteMatch(PathMatch(PathKind.REGEX, pattern)), DirectResponse(200))
    return RouteConfig(name, (VirtualHost("v", ("*",), (route,)),))


def listener(name: str, chain: FilterChain | None = None, **changes: object) -> Listener:
    plain = FilterChain(HttpManager("h", route_config_name="r"))
    made = Listener(name, Address("0.0.0.0", 80), (chain or plain,), direction=Direction.OUTBOUND)
    return replace(made, **changes)  # type: ignore[arg-type]


def endpoints(port: int) -> LoadAssignment:
    return LoadAssignment("c", (LocalityEndpoints((Endpoint(Address("10.0.0.1", port)),)),))


SNAPSHOT = Snapshot(
    {"c": Cluster("c", Discovery.EDS)},
    {"c": endpoints(1)},
    {"l": listener("l", bind_to_port=False), "b": listener("b")},
    {"r": config("r"), "s": config("s")},
)


@pytest.fixture
def compiled():
    deadlines = Deadlines()
    deadlines.now = lambda: 0.0
    poller = Poller()
    telemetry = Telemetry("sidecar~1.1.1.1~a.b~c", {}, TelemetrySettings(), "test")

    def go(snapshot: Snapshot, previous: Compiled = EMPTY) -> Compiled:
        return compile_snapshot(
            snapshot, previous, telemetry, lambda model, hosts: ClusterRuntime(model, hosts, poller, deadlines)
        )

    yield go
    poller.close()


def test_what_did_not_change_is_shared(compiled) -> None:
    first = compiled(SNAPSHOT)
    second = compiled(replace(SNAPSHOT, routes={"r": config("r", "/y"), "s": config("s")}), first)
    assert second.routes["s"] is first.routes["s"] and second.routes["r"] is not first.routes["r"]
    assert second.clusters["c"] is first.clusters["c"]
    assert second.listeners["l"] is first.listeners["l"] and second.virtual is first.virtual


def test_only_listeners_that_are_not_bound_are_found_by_destination(compiled) -> None:
    made = compiled(SNAPSHOT)
    assert made.virtual.find(Address("10.9.9.9", 80)) is made.listeners["l"]


def test_endpoints_reach_the_living_cluster(compiled) -> None:
    first = compiled(SNAPSHOT)
    compiled(replace(SNAPSHOT, endpoints={"c": endpoints(2)}), first)
    assert [host.name for host in first.clusters["c"].balancer.hosts] == ["10.0.0.1:2"]


def test_a_resource_that_cannot_be_compiled_keeps_its_last_version(compiled, caplog) -> None:
    first = compiled(SNAPSHOT)
    twice = RouteConfig("r", (VirtualHost("v", ("a.com",)), VirtualHost("w", ("a.com",))))
    broken = replace(SNAPSHOT, routes={"r": twice, "s": config("s")})
    second = compiled(broken, first)
    assert second.routes["r"] is first.routes["r"] and list(second.problems) == ["r"]
    assert "a.com is in two virtual hosts" in second.problems["r"]
    assert list(compiled(broken).routes) == ["s"]


def test_a_bad_route_is_a_problem_as_long_as_it_is_there(compiled) -> None:
    broken = replace(SNAPSHOT, routes={"r": config("r", "("), "s": config("s")})
    first = compiled(broken)
    assert "virtual host v route[0]" in first.problems["r"] and "r" in first.routes
    assert compiled(broken, first).problems == first.problems
    assert compiled(SNAPSHOT, first).problems == {}


def test_bad_routes_inside_a_listener_are_its_problem(compiled) -> None:
    chain = FilterChain(HttpManager("h", route_config=config("inline", "(")))
    made = compiled(replace(SNAPSHOT, listeners={"l": listener("l", chain)}))
    assert "virtual host v route[0]" in made.problems["l"] and "l" in made.listeners
    assert compiled(made.source, made).problems == made.problems


def test_terminals_follow_their_chain(compiled) -> None:
    tcp = FilterChain(TcpProxy("t", (WeightedCluster("c"),)))
    made = compiled(replace(SNAPSHOT, listeners={"l": SNAPSHOT.listeners["l"], "t": listener("t", tcp)}))
    http = made.listeners["l"].terminal(made.listeners["l"].model.chains[0])
    assert isinstance(http, HttpTerminal) and http.table(made) is made.routes["r"] and http.is_outbound
    assert isinstance(made.listeners["t"].terminal(tcp), TcpTerminal)


def test_a_chain_whose_secret_is_missing_is_a_problem_and_never_plaintext(compiled) -> None:
    chain = FilterChain(HttpManager("h", route_config_name="r"), tls=DownstreamTls(("cert",), alpn=("h2", "http/1.1")))
    made = compiled(replace(SNAPSHOT, listeners={"l": listener("l", chain)}))
    terminal = made.listeners["l"].terminal(chain)
    assert terminal.tls == DownstreamTls(("cert",), alpn=("http/1.1",)) and made.tls == {}
    assert made.problems == {"cert": "secret cert: is not there"}


def test_old_versions_of_tls_are_not_offered(compiled, caplog) -> None:
    chain = FilterChain(HttpManager("h", route_config_name="r"), tls=DownstreamTls(("cert",), min_version="1.1"))
    made = compiled(replace(SNAPSHOT, listeners={"l": listener("l", chain)}))
    assert "l" not in made.listeners and "TLS 1.1 is not offered" in made.problems["l"]
