import re
from dataclasses import replace

import pytest

from mesh.model.match import HeaderMatch, PathKind, PathMatch, QueryMatch, RouteMatch, StringKind, StringMatch
from mesh.model.origin import Origin
from mesh.model.route import (
    DirectResponse,
    ForwardAction,
    HeaderMutation,
    RetryPolicy,
    Route,
    RouteActionKind,
    RouteConfig,
    VirtualHost,
    WeightedCluster,
)
from mesh.proxy.compiled_route import ActionKind, CompiledRoute
from mesh.proxy.match import CompileError
from mesh.proxy.route import RouteTable, Verdict
from tests.support.observe import head

PLAIN = ForwardAction((WeightedCluster("v1"),))


def route(match: RouteMatch | None = None, action: RouteActionKind = PLAIN, name: str = "", **fields: object) -> Route:
    return Route(match or RouteMatch(), action, name, **fields)  # type: ignore[arg-type]


def table(*routes: Route, domains: tuple[str, ...] = ("*",)) -> RouteTable:
    return RouteTable(RouteConfig("9080", (VirtualHost("all", domains, routes),)))


def only(item: Route) -> CompiledRoute:
    found = table(item).find(head())
    assert found is not None
    return found


def hosts_table(*domains: str, ignore_port: bool = False) -> RouteTable:
    hosts = tuple(VirtualHost(domain, (domain,), (route(name=domain),)) for domain in domains)
    return RouteTable(RouteConfig("r", hosts, ignore_port_in_host=ignore_port))


def chosen(routes: RouteTable, host: str) -> str | None:
    found = routes.find(head("GET", "/", host))
    return found.name if found is not None else None


def test_ports_are_part_of_the_name_unless_told_otherwise() -> None:
    assert chosen(hosts_table("reviews:9080"), "reviews:9080") == "reviews:9080"
    assert chosen(hosts_table("reviews"), "reviews:9080") is None
    assert chosen(hosts_table("reviews", ignore_port=True), "reviews:9080") == "reviews"
    assert chosen(hosts_table("[::1]", ignore_port=True), "[::1]:9080") == "[::1]"


def test_a_domain_belongs_to_one_virtual_host() -> None:
    for domains in (("a.com", "A.com"), ("*", "*"), ("*.a", "*.a")):
        hosts = tuple(VirtualHost(f"v{number}", (domain,), ()) for number, domain in enumerate(domains))
        with pytest.raises(CompileError, match="is in two virtual hosts"):
            RouteTable(RouteConfig("r", hosts))


def test_the_first_route_that_matches_wins() -> None:
    jason = RouteMatch(headers=(HeaderMatch("end-user", StringMatch(StringKind.EXACT, "jason")),))
    routes = table(route(jason, name="v2"), route(name="v1"))
    names = [found.name for item in ({"end_user": "jason"}, {}) if (found := routes.find(head("GET", "/", "h", **item)))]
    assert names == ["v2", "v1"]


def test_no_route_matches() -> None:
    assert table(route(RouteMatch(PathMatch(PathKind.EXACT, "/a")))).find(head("GET", "/b")) is None


def test_all_predicates_have_to_hold() -> None:
    match = RouteMatch(
        PathMatch(PathKind.PREFIX, "/a"),
        (HeaderMatch(":method", StringMatch(StringKind.EXACT, "GET")),),
        (QueryMatch("q", StringMatch(StringKind.EXACT, "1")),),
    )
    routes = table(route(match))
    tried = [("GET", "/a?q=1"), ("POST", "/a?q=1"), ("GET", "/a?q=2"), ("GET", "/b?q=1")]
    assert [routes.find(head(*item)) is not None for item in tried] == [True, False, False, False]


def test_the_order_holds_in_an_indexed_table() -> None:
    exact = [route(RouteMatch(PathMatch(PathKind.EXACT, f"/e{number}")), name=f"e{number}") for number in range(20)]
    early = route(RouteMatch(PathMatch(PathKind.PREFIX, "/e1")), name="prefix")
    regex = route(RouteMatch(PathMatch(PathKind.REGEX, "/e[0-9]+")), name="regex")
    routes = table(*exact[:10], early, *exact[10:], regex, route(name="rest"))
    found = [routes.find(head("GET", path)) for path in ("/e1", "/e12", "/e99", "/f")]
    assert [item.name for item in found if item is not None] == ["e1", "prefix", "regex", "rest"]


def test_a_host_that_requires_tls_redirects_plaintext() -> None:
    host = VirtualHost("v", ("*",), (route(),), require_tls=True)
    routes = RouteTable(RouteConfig("r", (host,)))
    plain, secure = routes.find(head("GET", "/a", "a.com:80")), routes.find(head("GET", "/a", "a.com"), b"https")
    assert plain is not None and plain.kind is ActionKind.REDIRECT
    reply = plain.answer(head("GET", "/a", "a.com:80"), b"http")
    assert reply is not None and reply.headers == b"location: https://a.com/a\r\n"
    assert secure is not None and secure.kind is ActionKind.FORWARD


@pytest.mark.parametrize(
    ("item", "words"),
    [
        (route(RouteMatch(PathMatch(PathKind.REGEX, "("))), "path: regular expression"),
        (route(action=ForwardAction(())), "no cluster has a weight above 0"),
        (route(action=ForwardAction((WeightedCluster("a", -1), WeightedCluster("b")))), "negative"),
        (route(action=DirectResponse(99)), "status 99"),
        (route(action=DirectResponse(200, b"x" * ((1 << 20) + 1))), "the limit is 1048576"),
        (route(request_headers=HeaderMutation(set=(("host", "x"),))), "request headers: the header host"),
    ],
)
def test_problems_name_host_and_route(item: Route, words: str) -> None:
    routes = table(route(), replace(item, name="mine"))
    assert len(routes.problems) == 1
    assert re.match(rf"virtual host all route\[1\] \(mine\).*{words}", routes.problems[0])


def test_a_bad_route_does_not_take_the_others_with_it() -> None:
    origin = Origin("VirtualService", "default", "bad", "http[0]")
    exact = RouteMatch(PathMatch(PathKind.EXACT, "/bad"))
    bad = route(exact, ForwardAction((WeightedCluster("c"),), retry=RetryPolicy(frozenset({"nonsense"}))), origin=origin)
    routes = table(bad, route(name="good"))
    assert routes.problems == (
        "virtual host all route[0] (VirtualService/default/bad http[0]) retry: unknown retry condition 'nonsense'",
    )
    broken, good = routes.find(head("GET", "/bad")), routes.find(head("GET", "/"))
    assert broken is not None and broken.direct is not None
    assert (broken.direct.status, broken.origin_text) == (500, "VirtualService/default/bad http[0]")
    assert good is not None and good.name == "good"


def test_a_route_whose_match_is_bad_is_left_out() -> None:
    routes = table(route(RouteMatch(PathMatch(PathKind.REGEX, "(")), name="bad"), route(name="good"))
    found = routes.find(head())
    assert found is not None and (found.name, len(routes.problems)) == ("good", 1)


def test_a_good_table_has_no_problems() -> None:
    assert table(route()).problems == ()


def test_explain_tells_why_each_route_was_passed_over() -> None:
    jason = RouteMatch(headers=(HeaderMatch("end-user", StringMatch(StringKind.EXACT, "jason")),))
    static = RouteMatch(PathMatch(PathKind.PREFIX, "/static"))
    routes = table(route(static, name="a"), route(jason, name="b"), route(name="c"), route(name="d"))
    verdicts = routes.explain(head("GET", "/x"))
    assert [(verdict.route.name, verdict.failed) for verdict in verdicts] == [
        ("a", "path prefix /static"),
        ("b", "header end-user exact jason"),
        ("c", None),
    ]
    assert isinstance(verdicts[0], Verdict)


def test_explain_of_an_unknown_host_is_empty() -> None:
    assert table(route(), domains=("a.com",)).explain(head("GET", "/", "b.com")) == []


def test_all_routes_are_listed_once() -> None:
    routes = table(route(name="a"), route(name="b"), domains=("x", "x:80", "*.x", "y.*", "*"))
    assert [item.name for item in routes.routes()] == ["a", "b"]
