import pytest

from mesh.model.route import FullRewrite, PrefixRewrite, RedirectAction, RegexRewrite, WeightedCluster
from mesh.xds.kind import Kind
from tests.support.xds_json import from_json, refused

AT = "virtual_hosts[0].routes[0]"


def config(**action) -> dict:
    route = {"match": {"prefix": "/"}, **action}
    return {"name": "r", "virtual_hosts": [{"name": "h", "domains": ["*"], "routes": [route]}]}


def decoded(**action):
    return from_json(Kind.ROUTE, config(**action)).virtual_hosts[0].routes[0].action


def forward(**fields):
    return decoded(route={"cluster": "c", **fields})


def test_default_timeout_is_envoys():
    assert forward().timeout_seconds == 15.0
    assert forward(timeout="0s").timeout_seconds == 0.0


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"prefix_rewrite": "/z"}, PrefixRewrite("/z")),
        ({"prefix_rewrite": "/z/"}, RegexRewrite("^/a\\.b", "/z/")),
        ({"regex_rewrite": {"pattern": {"regex": "^/a\\.b/?"}, "substitution": "/"}}, PrefixRewrite("/")),
        ({"regex_rewrite": {"pattern": {"regex": "^/a/?"}, "substitution": "/"}}, RegexRewrite("^/a/?", "/")),
    ],
)
def test_what_replaces_a_segment_prefix(said, expected):
    action = decoded(match={"path_separated_prefix": "/a.b"}, route={"cluster": "c", **said})
    assert action.path_rewrite == expected


def test_istios_route_is_understood():
    action = forward(
        timeout="0s",
        max_grpc_timeout="0s",
        max_stream_duration={"max_stream_duration": "0s", "grpc_timeout_header_max": "0s"},
        retry_policy={
            "retry_on": "connect-failure,refused-stream, unavailable",
            "num_retries": 2,
            "host_selection_retry_max_attempts": "5",
            "retry_host_predicate": [
                {
                    "name": "envoy.retry_host_predicates.previous_hosts",
                    "typed_config": {
                        "@type": "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
                    },
                }
            ],
        },
    )
    assert action.retry.on == {"connect-failure", "refused-stream", "unavailable"}
    assert (action.retry.attempts, action.retry.previous_hosts) == (2, True)
    # Envoy: base 25 ms, at most ten times that.
    assert (action.retry.backoff_base_seconds, action.retry.backoff_max_seconds) == (0.025, 0.25)


def test_weights_default_to_nothing():
    clusters = {"clusters": [{"name": "a", "weight": 1}, {"name": "b"}]}
    assert decoded(route={"weighted_clusters": clusters}).clusters == (WeightedCluster("a"), WeightedCluster("b", 0))


def test_regex_of_everything_is_a_full_rewrite_only_without_groups():
    def rewrite(substitution: str):
        return forward(regex_rewrite={"pattern": {"regex": "^/.*$"}, "substitution": substitution}).path_rewrite

    assert rewrite("/a\\\\b") == FullRewrite("/a\\b")
    assert rewrite("/a\\0") == RegexRewrite("^/.*$", "/a\\0")


def test_https_redirect_is_a_scheme():
    assert decoded(redirect={"https_redirect": True, "response_code": "FOUND"}) == RedirectAction(302, "https")


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"priority": "HIGH"}, ".priority"),
        ({"metadata_match": {}}, ".metadata_match"),
        ({"hedge_policy": {}}, ".hedge_policy"),
        ({"rate_limits": [{}]}, ".rate_limits"),
        ({"host_rewrite_header": "x"}, ".host_rewrite_header"),
        ({"max_stream_duration": {"max_stream_duration": "7s"}}, ".max_stream_duration.max_stream_duration"),
        ({"retry_policy": {"retry_host_predicate": [{"name": "other"}]}}, ".retry_policy.retry_host_predicate[0].name"),
        ({"retry_policy": {"retriable_headers": [{}]}}, ".retry_policy.retriable_headers"),
        ({"request_mirror_policies": [{}]}, ".request_mirror_policies[0].cluster"),
        ({"hash_policy": [{}]}, ".hash_policy[0]"),
        ({"hash_policy": [{"filter_state": {"key": "x"}}]}, ".hash_policy[0].filter_state"),
        (
            {"hash_policy": [{"header": {"header_name": "x", "regex_rewrite": {}}}]},
            ".hash_policy[0].header.regex_rewrite",
        ),
    ],
)
def test_what_would_change_behaviour_is_refused(fields, field):
    assert refused(Kind.ROUTE, config(route={"cluster": "c", **fields})) == f"{AT}.route{field}"


@pytest.mark.parametrize(
    ("route", "field"),
    [
        ({}, "route"),
        ({"cluster_header": "x"}, "route.cluster_header"),
        ({"weighted_clusters": {"clusters": [{"name": "a"}]}}, "route.weighted_clusters.clusters"),
        ({"weighted_clusters": {"clusters": [{"weight": 1}]}}, "route.weighted_clusters.clusters[0].name"),
    ],
)
def test_a_route_must_lead_somewhere(route, field):
    assert refused(Kind.ROUTE, config(route=route)) == f"{AT}.{field}"
