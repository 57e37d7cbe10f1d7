from dataclasses import replace

import pytest

from mesh.model.addr import Address
from mesh.model.cluster import Cluster, Discovery
from mesh.model.endpoint import Endpoint, LoadAssignment, LocalityEndpoints
from mesh.model.listener import Direction, FilterChain, HttpManager, Listener, TcpProxy
from mesh.model.match import PathKind, PathMatch, RouteMatch
from mesh.model.route import DirectResponse, Route, RouteConfig, VirtualHost, WeightedCluster
from mesh.model.secret import WORKLOAD_CERTIFICATE, WORKLOAD_ROOTS, DownstreamTls, Secret, TrustBundle
from mesh.model.snapshot import Snapshot
from mesh.proxy.clusters import ClusterRuntime
from mesh.proxy.deadlines import Deadlines
from mesh.proxy.observe.telemetry import Telemetry, TelemetrySettings
from mesh.proxy.poller import Poller
from mesh.proxy.snapshots import (
    EMPTY,
    NO_SECRETS,
    Compiled,
    HttpTerminal,
    OwnSecrets,
    TcpTerminal,
    compile_snapshot,
    with_secrets,
)
from tests.support.proxy_tls import Authority


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

    def go(snapshot: Snapshot, previous: Compiled = EMPTY, own: OwnSecrets = NO_SECRETS) -> Compiled:
        return compile_snapshot(
            snapshot, previous, telemetry, lambda model, hosts: ClusterRuntime(model, hosts, poller, deadlines), own
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


def test_secrets_of_the_proxys_own_come_and_change_without_a_push(compiled) -> None:
    root = Authority()
    tls = DownstreamTls((WORKLOAD_CERTIFICATE,), WORKLOAD_ROOTS, True, ("istio-http/1.1", "istio-h2", "istio"))
    chain = FilterChain(HttpManager("h", route_config_name="r"), tls=tls)
    snapshot = replace(SNAPSHOT, listeners={"l": listener("l", chain)})
    assert "default" in compiled(snapshot).problems
    waiting = compiled(snapshot, own=OwnSecrets(is_awaited=True))
    assert waiting.problems == {} and waiting.tls == {}
    served = waiting.listeners["l"].terminal(chain).tls
    assert served is not None and served.alpn == ("istio-http/1.1", "istio")
    secrets = {s.name: s for s in (root.secret(WORKLOAD_CERTIFICATE, "spiffe://a"), root.trust(WORKLOAD_ROOTS))}
    there = with_secrets(waiting, OwnSecrets(secrets, "spiffe://a"))
    assert there.problems == {} and there.secrets == secrets and there.source is snapshot
    assert there.tls[served].principal == "spiffe://a" and there.clusters["c"].dialler.contexts is there.tls
    renewed = {**secrets, WORKLOAD_CERTIFICATE: root.secret(WORKLOAD_CERTIFICATE, "spiffe://a")}
    later = with_secrets(there, OwnSecrets(renewed, "spiffe://a"))
    assert later.tls[served].ssl is not there.tls[served].ssl and later.listeners is there.listeners
    bad = {**renewed, WORKLOAD_ROOTS: Secret(WORKLOAD_ROOTS, trust=TrustBundle(b"rubbish"))}
    broken = with_secrets(later, OwnSecrets(bad, "spiffe://a"))
    assert list(broken.problems) == [WORKLOAD_ROOTS] and broken.tls[served] is later.tls[served]
    assert with_secrets(broken, OwnSecrets(renewed, "spiffe://a")).problems == {}
