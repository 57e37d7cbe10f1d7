import pytest

from mesh.model.addr import Address
from mesh.model.match import HeaderMatch, PathMatch, RouteMatch
from mesh.model.route import (
    DirectResponse,
    Fault,
    FaultDelay,
    ForwardAction,
    PrefixRewrite,
    Route,
    RouteConfig,
    VirtualHost,
    WeightedCluster,
)
from mesh.proxy.http2 import is_preface, may_be_preface, only_target, refusal
from mesh.proxy.route import RouteTable

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
AT = Address("198.19.0.7", 9080)
PLAIN = Route(RouteMatch(), ForwardAction((WeightedCluster("reviews"),)))


def target(*routes: Route, domains: tuple[str, ...] = ("*",)) -> str | None:
    return only_target(RouteTable(RouteConfig("r", (VirtualHost("v", domains, routes),))), AT)


def test_a_single_unconditional_route_is_a_target() -> None:
    assert target(PLAIN) == "reviews"
    assert target(PLAIN, domains=("198.19.0.7:9080",)) == "reviews"


@pytest.mark.parametrize(
    "routes",
    [
        (Route(RouteMatch(PathMatch(value="/x")), DirectResponse(200)), PLAIN),
        (Route(RouteMatch(headers=(HeaderMatch("end-user"),)), PLAIN.action), PLAIN),
        (Route(RouteMatch(), ForwardAction((WeightedCluster("a"), WeightedCluster("b")))),),
        (Route(RouteMatch(), ForwardAction((WeightedCluster("a"),), path_rewrite=PrefixRewrite("/x"))),),
        (Route(RouteMatch(), ForwardAction((WeightedCluster("a"),), host_rewrite="x")),),
        (Route(RouteMatch(), ForwardAction((WeightedCluster("a"),)), fault=Fault(delay=FaultDelay(1.0))),),
        (Route(RouteMatch(), DirectResponse(200)),),
        (),
    ],
)
def test_whatever_depends_on_the_request_is_none(routes: tuple[Route, ...]) -> None:
    assert target(*routes) is None


def test_a_service_of_another_name_is_none() -> None:
    assert target(PLAIN, domains=("ratings.default.svc.cluster.local",)) is None


def test_the_refusal_is_a_settings_frame_and_a_goaway() -> None:
    data = refusal()
    assert data[:9] == b"\0\0\0\4\0\0\0\0\0"
    assert int.from_bytes(data[9:12], "big") == len(data) - 18 and data[12] == 7
    assert data[18:26] == b"\0\0\0\0\0\0\0\x0d"


@pytest.mark.parametrize(
    ("data", "may_be", "is_one"),
    [(b"P", True, False), (PREFACE[:15] + b"x", False, False), (PREFACE, True, True), (b"GET / HTTP/1.1\r\n", False, False)],
)
def test_sixteen_octets_tell_the_preface(data: bytes, may_be: bool, is_one: bool) -> None:
    assert (may_be_preface(data), is_preface(data)) == (may_be, is_one)
