"""One route that no Envoy would take costs itself only."""

from mesh.model.match import PathKind, PathMatch, RouteMatch
from mesh.model.origin import Origin
from mesh.model.route import DirectResponse, ForwardAction, Route, RouteConfig, VirtualHost, WeightedCluster
from mesh.model.snapshot import Snapshot
from mesh.xds.decode import decode
from mesh.xds.encode import Encoder
from mesh.xds.encode.route import encode_route_config
from mesh.xds.encode.salvage import salvage
from mesh.xds.kind import Kind

GOOD = Route(RouteMatch(PathMatch(PathKind.PREFIX, "/")), ForwardAction((WeightedCluster("c"),)), "good")


def origin(name: str) -> Origin:
    return Origin("VirtualService", "default", name, "http[0]")


def config(*routes: Route, domains: tuple[str, ...] = ("a",)) -> RouteConfig:
    other = VirtualHost("other", ("other",), (GOOD,))
    return RouteConfig("9080", (VirtualHost("host", domains, routes), other))


def test_a_bad_action_answers_500_and_names_its_object() -> None:
    match = RouteMatch(PathMatch(PathKind.EXACT, "/slow"))
    bad = Route(match, ForwardAction((WeightedCluster("c"),), timeout_seconds=-1.0), "bad", origin=origin("patience"))
    rest, (error,) = salvage(config(bad, GOOD))
    first, second = rest.virtual_hosts[0].routes
    assert (first.match, first.name, first.origin, second) == (match, "bad", bad.origin, GOOD)
    assert isinstance(first.action, DirectResponse) and first.action.status == 500
    assert rest.virtual_hosts[1] == config().virtual_hosts[1]
    assert (error.resource, error.field) == ("9080", "virtual_hosts[0].routes[0].action.timeout_seconds")
    assert "VirtualService/default/patience" in error.message


def test_a_bad_match_is_left_out() -> None:
    bad = Route(RouteMatch(PathMatch(PathKind.REGEX, "")), GOOD.action, origin=origin("nothing"))
    rest, (error,) = salvage(config(bad, GOOD))
    assert rest.virtual_hosts[0].routes == (GOOD,)
    assert error.field == "virtual_hosts[0].routes[0].match.path.value"


def test_what_protobuf_itself_refuses_is_found_too() -> None:
    rest, (error,) = salvage(config(Route(GOOD.match, GOOD.action, "\ud800"), GOOD))
    assert GOOD in rest.virtual_hosts[0].routes and error.field.startswith("virtual_hosts[0].routes[0]")
    encode_route_config(rest)


def test_a_bad_virtual_host_is_left_out() -> None:
    rest, (error,) = salvage(config(GOOD, domains=()))
    assert [host.name for host in rest.virtual_hosts] == ["other"]
    assert error.field == "virtual_hosts[0]" and "is empty" in error.message


def test_a_body_that_is_too_long_costs_its_route_only() -> None:
    rest, (error,) = salvage(config(Route(GOOD.match, DirectResponse(200, b"x" * (2 << 20))), GOOD))
    assert GOOD in rest.virtual_hosts[0].routes and "more than" in error.message


def test_the_encoder_sends_what_is_left() -> None:
    bad = Route(GOOD.match, ForwardAction((WeightedCluster("c", 1 << 31), WeightedCluster("d", 1 << 31))), origin=origin("heavy"))
    bundle = Encoder().bundle(Snapshot(routes={"9080": config(bad, GOOD)}))
    ((kind, error),) = bundle.errors
    assert kind is Kind.ROUTE and "weights add up to 4294967296 (VirtualService/default/heavy http[0])" in error.message
    sent = decode(Kind.ROUTE, bundle.of(Kind.ROUTE)["9080"].body, "9080")
    assert sent.virtual_hosts[0].routes[1].name == "good"
