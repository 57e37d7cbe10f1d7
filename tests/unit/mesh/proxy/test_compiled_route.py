"""One route on its own: what it matches, which share it draws, and what it does."""

import random

import pytest

from mesh.model.match import HeaderMatch, PathMatch, RouteMatch
from mesh.model.origin import Origin
from mesh.model.route import (
    DirectResponse,
    Fault,
    FaultDelay,
    ForwardAction,
    FullRewrite,
    HeaderMutation,
    Mirror,
    NonForwarding,
    RedirectAction,
    RetryPolicy,
    Route,
    RouteActionKind,
    WeightedCluster,
)
from mesh.proxy.compiled_route import ActionKind, CompiledRoute
from mesh.proxy.match import CompileError
from tests.support.observe import head, record

PLAIN = ForwardAction((WeightedCluster("v1"),))


def route(match: RouteMatch | None = None, action: RouteActionKind = PLAIN, name: str = "", **fields: object) -> Route:
    return Route(match or RouteMatch(), action, name, **fields)  # type: ignore[arg-type]


def only(item: Route) -> CompiledRoute:
    return CompiledRoute(item, 0, "all", "test")


def test_what_matches_and_what_fails_first() -> None:
    found = only(route(RouteMatch(PathMatch(value="/api"), headers=(HeaderMatch("end-user"),))))
    assert found.matches(head("GET", "/api/x", end_user="jason"))
    assert not found.matches(head("GET", "/api/x")) and not found.matches(head("GET", "/x"))
    assert (found.failed_predicate(head("GET", "/x")), found.matches_every_path) == (found.path_text, False)
    assert "end-user" in (found.failed_predicate(head("GET", "/api")) or "")


def test_a_single_share_needs_no_draw() -> None:
    def no_rng() -> float:
        raise AssertionError("drawn")

    assert only(route()).pick(no_rng).cluster == "v1"


def test_shares_follow_their_weights() -> None:
    item = only(route(action=ForwardAction((WeightedCluster("v1", 90), WeightedCluster("none", 0), WeightedCluster("v2", 10)))))
    assert [item.pick(lambda: point).cluster for point in (0.0, 0.8999, 0.9, 0.9999)] == ["v1", "v1", "v2", "v2"]  # noqa: B023
    rng = random.Random(7)
    drawn = [item.pick(rng.random).cluster for _ in range(20_000)]
    assert abs(drawn.count("v2") / 20_000 - 0.1) < 0.01


def test_a_share_carries_its_own_and_the_routes_edits() -> None:
    target = WeightedCluster("v1", 1, HeaderMutation(add=(("x", "share"),)), HeaderMutation(remove=("y",)))
    share = only(route(action=ForwardAction((target,)), request_headers=HeaderMutation(add=(("x", "route"),)))).shares[0]
    assert share.request_edits.lines(record()) == b"x: share\r\nx: route\r\n"
    assert share.response_edits.remove == (b"y",)


def test_forwarding_settings() -> None:
    action = ForwardAction(
        (WeightedCluster("v1"),),
        timeout_seconds=10.0,
        idle_timeout_seconds=1.0,
        retry=RetryPolicy(frozenset({"5xx"}), 3),
        path_rewrite=FullRewrite("/new"),
        host_rewrite="b.com",
        mirrors=(Mirror("m", 50.0), Mirror("off", 0.0)),
        missing_cluster_status=500,
    )
    origin = Origin("VirtualService", "default", "reviews", "http[0]")
    item = only(route(action=action, fault=Fault(FaultDelay(1.0)), origin=origin))
    assert (item.kind, item.timeout_seconds, item.idle_timeout_seconds) == (ActionKind.FORWARD, 10.0, 1.0)
    assert item.retry is not None and item.retry.attempts == 3
    assert (item.host_rewrite, item.missing_cluster_status, item.has_filters) == (b"b.com", 500, True)
    assert item.rewritten_target(head("GET", "/old?q=1")) == b"/new?q=1"
    assert [(mirror.cluster, mirror.is_drawn(lambda: 0.49), mirror.is_drawn(lambda: 0.5)) for mirror in item.mirrors] == [
        ("m", True, False)
    ]
    assert item.origin_text == "VirtualService/default/reviews http[0]"


def test_a_host_that_would_end_its_line_is_refused() -> None:
    action = ForwardAction((WeightedCluster("v1"),), host_rewrite="b.com\r\nx: y")
    with pytest.raises(CompileError, match=r"host rewrite: .* holds a character"):
        only(route(action=action))


def test_a_route_without_rewrite_leaves_the_target_alone() -> None:
    assert only(route()).rewritten_target(head("GET", "/old")) is None


def test_redirects() -> None:
    item = only(route(action=RedirectAction(302, scheme="https")))
    reply = item.answer(head("GET", "/a?b=1", "a.com"), b"http")
    assert reply is not None
    assert (item.kind, reply.status, reply.headers) == (ActionKind.REDIRECT, 302, b"location: https://a.com/a?b=1\r\n")


def test_direct_responses() -> None:
    item = only(route(action=DirectResponse(418, b"teapot")))
    assert item.kind is ActionKind.DIRECT and item.direct is not None
    assert (item.direct.status, item.direct.body, item.direct.details) == (418, b"teapot", "direct_response")


@pytest.mark.parametrize(("status", "has_location"), [(200, False), (201, True), (204, False), (304, True), (400, False)])
def test_direct_responses_of_created_and_elsewhere_say_where(status: int, has_location: bool) -> None:
    reply = only(route(action=DirectResponse(status, b"x"))).answer(head("GET", "/a?b=1", "a.com:81"), b"https")
    assert reply is not None and (reply.status, reply.body) == (status, b"x")
    assert reply.headers == (b"location: https://a.com:81/a?b=1\r\n" if has_location else b"")


def test_non_forwarding_routes_compile() -> None:
    item = only(route(action=NonForwarding()))
    assert (item.kind, item.answer(head(), b"http")) == (ActionKind.NON_FORWARDING, None)
