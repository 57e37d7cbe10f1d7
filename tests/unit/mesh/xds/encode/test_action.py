from dataclasses import replace

import pytest

from mesh.model.match import PathKind, PathMatch, RouteMatch
from mesh.model.route import (
    ForwardAction,
    FullRewrite,
    HashKind,
    HashPolicy,
    HeaderMutation,
    Mirror,
    PrefixRewrite,
    RedirectAction,
    RetryPolicy,
    Route,
    RouteConfig,
    VirtualHost,
    WeightedCluster,
)
from tests.support.xds_json import to_json, unencodable

ONE = ForwardAction((WeightedCluster("c"),))
RETRY = RetryPolicy(frozenset({"reset", "5xx"}))
AT = "virtual_hosts[0].routes[0].action"


def config(action) -> RouteConfig:
    return RouteConfig("r", (VirtualHost("h", ("*",), (Route(RouteMatch(), action),)),))


def made(action) -> dict:
    return to_json(config(action))["virtual_hosts"][0]["routes"][0]["route"]


@pytest.mark.parametrize(
    ("action", "field"),
    [
        (ForwardAction(()), "clusters"),
        (ForwardAction((WeightedCluster("a", 0), WeightedCluster("b", 0))), "clusters"),
        (ForwardAction((WeightedCluster("a"), WeightedCluster(""))), "clusters[1].name"),
        (replace(ONE, missing_cluster_status=502), "missing_cluster_status"),
        (replace(ONE, host_rewrite=""), "host_rewrite"),
        (replace(ONE, host_rewrite="a", auto_host_rewrite=True), "host_rewrite"),
        (replace(ONE, path_rewrite=PrefixRewrite("")), "path_rewrite.prefix"),
        (replace(ONE, mirrors=(Mirror("c", 101),)), "mirrors[0].percent"),
        (replace(ONE, hash_policies=(HashPolicy(HashKind.HEADER),)), "hash_policies[0].name"),
        (replace(ONE, retry=replace(RETRY, backoff_base_seconds=0)), "retry.backoff_base_seconds"),
        (replace(ONE, retry=replace(RETRY, backoff_max_seconds=0.01)), "retry.backoff_max_seconds"),
        (replace(ONE, retry=replace(RETRY, status_codes=(99,))), "retry.status_codes"),
        (RedirectAction(300), "status"),
        (RedirectAction(path=PrefixRewrite("")), "path"),
    ],
)
def test_what_envoy_would_refuse_is_refused_first(action, field):
    assert unencodable(config(action)) == f"{AT}.{field}"


@pytest.mark.parametrize(
    ("prefix", "ignore_case", "expected"),
    [
        ("/new", False, {"prefix_rewrite": "/new"}),
        ("/new/", False, {"prefix_rewrite": "/new"}),
        ("/", False, {"regex_rewrite": {"pattern": {"regex": "^/a\\.b/?"}, "substitution": "/"}}),
        ("/", True, {"regex_rewrite": {"pattern": {"regex": "(?i)^/a\\.b/?"}, "substitution": "/"}}),
    ],
)
def test_a_segment_prefix_is_replaced_with_one_slash(prefix, ignore_case, expected):
    match = RouteMatch(PathMatch(PathKind.SEGMENT_PREFIX, "/a.b", ignore_case))
    for action, said in (
        (replace(ONE, path_rewrite=PrefixRewrite(prefix)), "route"),
        (RedirectAction(path=PrefixRewrite(prefix)), "redirect"),
    ):
        document = to_json(RouteConfig("r", (VirtualHost("h", ("*",), (Route(match, action),)),)))
        message = document["virtual_hosts"][0]["routes"][0][said]
        assert {key: value for key, value in message.items() if key.endswith("_rewrite")} == expected


def test_no_timeout_is_said_aloud():
    """Envoy's own default is 15 seconds."""
    assert made(ONE)["timeout"] == "0s"


def test_one_plain_cluster_needs_no_weights():
    assert made(ONE)["cluster"] == "c"


def test_one_cluster_with_its_own_headers_is_weighted():
    own = WeightedCluster("c", 1, HeaderMutation(set=(("a", "b"),)))
    assert made(ForwardAction((own,)))["weighted_clusters"]["clusters"][0]["weight"] == 1


def test_retry_conditions_are_in_a_fixed_order():
    retry = made(replace(ONE, retry=RETRY))["retry_policy"]
    assert retry["retry_on"] == "5xx,reset"
    assert retry["host_selection_retry_max_attempts"] == "5"


def test_whole_path_rewrite_keeps_backslashes():
    rewrite = made(replace(ONE, path_rewrite=FullRewrite("/a\\b")))["regex_rewrite"]
    assert rewrite == {"pattern": {"regex": "^/.*$"}, "substitution": "/a\\\\b"}
