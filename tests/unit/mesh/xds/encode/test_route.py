from dataclasses import replace

import pytest

from mesh.model.match import HeaderMatch, PathKind, PathMatch, QueryMatch, RouteMatch
from mesh.model.origin import Origin
from mesh.model.route import (
    DirectResponse,
    ForwardAction,
    NonForwarding,
    RedirectAction,
    Route,
    RouteConfig,
    VirtualHost,
    WeightedCluster,
)
from tests.support.xds_json import to_json, unencodable

FORWARD = Route(RouteMatch(), ForwardAction((WeightedCluster("c"),)))
AT = "virtual_hosts[0].routes[0]"


def config(*routes: Route, domains=("*",), **options) -> RouteConfig:
    return RouteConfig("r", (VirtualHost("h", domains, routes),), **options)


def route(made: Route) -> dict:
    return to_json(config(made))["virtual_hosts"][0]["routes"][0]


def matching(**parts) -> Route:
    return replace(FORWARD, match=RouteMatch(**parts))


@pytest.mark.parametrize(
    ("value", "field"),
    [
        (config(domains=()), "virtual_hosts[0].domains"),
        (config(Route(RouteMatch(), DirectResponse(600))), f"{AT}.action.status"),
        (
            config(Route(RouteMatch(), DirectResponse(200, b"12345")), max_direct_response_bytes=4),
            f"{AT}.action.body",
        ),
        (config(matching(path=PathMatch(PathKind.SEGMENT_PREFIX, "/a/"))), f"{AT}.match.path.value"),
        (config(matching(path=PathMatch(PathKind.REGEX, "/a", True))), f"{AT}.match.path.ignore_case"),
        (config(matching(path=PathMatch(PathKind.REGEX, ""))), f"{AT}.match.path.value"),
        (config(matching(headers=(HeaderMatch(""),))), f"{AT}.match.headers[0].name"),
        (config(matching(query=(QueryMatch(""),))), f"{AT}.match.query[0].name"),
    ],
)
def test_what_envoy_would_refuse_is_refused_first(value, field):
    assert unencodable(value) == field


def test_a_missing_cluster_is_no_reason_to_refuse_the_configuration():
    assert to_json(config(FORWARD))["validate_clusters"] is False


def test_origin_is_in_the_metadata():
    made = route(replace(FORWARD, origin=Origin("HTTPRoute", "ns", "n", "rules[1]")))
    assert made["metadata"]["filter_metadata"]["triomesh.io"]["rule"] == "rules[1]"


def test_port_of_the_scheme_is_spelled_out_for_envoy_and_marked_for_us():
    made = route(Route(RouteMatch(), RedirectAction(scheme="https", port=0)))
    assert made["redirect"]["port_redirect"] == 443
    assert made["metadata"]["filter_metadata"]["triomesh.io"] == {"redirect_port": "scheme"}


def test_segment_prefix_is_envoys_path_separated_prefix():
    made = route(matching(path=PathMatch(PathKind.SEGMENT_PREFIX, "/a")))
    assert made["match"] == {"path_separated_prefix": "/a"}


def test_non_forwarding_is_an_empty_message():
    assert route(Route(RouteMatch(), NonForwarding()))["non_forwarding_action"] == {}
