"""HTTPRoute and GRPCRoute."""

from __future__ import annotations

from typing import Any

import pytest

from mesh.control.kube import gateway_api
from mesh.control.kube.parse_http_route import grpc_route, http_route
from mesh.control.kube.rules import Backend
from mesh.model.match import HeaderMatch, PathKind, PathMatch, QueryMatch, RouteMatch, StringKind, StringMatch

META = {"name": "r", "namespace": "default"}
BACKENDS = [{"name": "reviews-v1", "port": 9080}]
EXACT = StringKind.EXACT


def parse(*rules: Any, **spec: Any) -> gateway_api.HttpRoute:
    parents = [{"group": "", "kind": "Service", "name": "reviews", "port": 9080}]
    return http_route({"metadata": META, "spec": {"parentRefs": parents, "rules": list(rules), **spec}})


def matches(*given: Any) -> list[RouteMatch]:
    parsed = parse({"matches": list(given), "backendRefs": BACKENDS})
    assert parsed.problems == ()
    return [match.match for match in parsed.rules[0].matches]


def test_bookinfos_route_matches_everything() -> None:
    parsed = parse({"backendRefs": BACKENDS})
    (parent,) = parsed.parents
    assert (parent.group, parent.kind, parent.namespace, parent.name, parent.port) == (
        "",
        "Service",
        "default",
        "reviews",
        9080,
    )
    rule = parsed.rules[0]
    assert [match.match for match in rule.matches] == [RouteMatch()]
    host = "reviews-v1.default.svc.cluster.local"
    field = "spec.rules[0].backendRefs[0]"
    assert rule.backends == (Backend(host, 9080, field=field, namespace="default", name="reviews-v1"),)
    assert parsed.problems == ()


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ({"type": "Exact", "value": "/a/"}, PathMatch(PathKind.EXACT, "/a/")),
        ({"type": "PathPrefix", "value": "/v2/"}, PathMatch(PathKind.SEGMENT_PREFIX, "/v2")),
        ({"value": "/v2"}, PathMatch(PathKind.SEGMENT_PREFIX, "/v2")),
        ({"type": "PathPrefix", "value": "/"}, PathMatch(PathKind.PREFIX, "/")),
        ({"type": "RegularExpression", "value": "/a.*"}, PathMatch(PathKind.REGEX, "/a.*")),
    ],
)
def test_paths(path: dict[str, str], expected: PathMatch) -> None:
    assert matches({"path": path}) == [RouteMatch(expected)]


def test_headers_query_and_method() -> None:
    given = {
        "headers": [{"name": "Version", "value": "one"}, {"name": "version", "value": "ignored"}],
        "queryParams": [{"name": "animal", "type": "RegularExpression", "value": "w.*"}],
        "method": "GET",
    }
    assert matches(given) == [
        RouteMatch(
            PathMatch(),
            (HeaderMatch("version", StringMatch(EXACT, "one")), HeaderMatch(":method", StringMatch(EXACT, "GET"))),
            (QueryMatch("animal", StringMatch(StringKind.REGEX, "w.*")),),
        )
    ]


def test_a_bad_match_is_left_out() -> None:
    parsed = parse({"matches": [{"path": {"type": "RegularExpression", "value": "("}}], "backendRefs": BACKENDS})
    assert parsed.rules[0].matches == ()
    assert [problem.reason for problem in parsed.problems] == ["InvalidRegex"]


@pytest.mark.parametrize(
    ("backend", "invalid"),
    [
        ({"name": "x", "kind": "Bucket", "group": "storage", "port": 1}, "InvalidKind"),
        ({"name": "x"}, "UnsupportedValue"),
    ],
)
def test_backends_that_never_resolve_keep_their_share(backend: dict[str, Any], invalid: str) -> None:
    parsed = parse({"backendRefs": [{**backend, "weight": 3}, *BACKENDS]})
    assert [(b.invalid, b.weight) for b in parsed.rules[0].backends] == [(invalid, 3), ("", 1)]
    assert [problem.reason for problem in parsed.problems] == [invalid]


def test_a_filter_that_cannot_be_done_breaks_the_rule_instead_of_being_skipped() -> None:
    parsed = parse({"filters": [{"type": "ExtensionRef", "extensionRef": {}}], "backendRefs": BACKENDS})
    assert parsed.rules[0].broken == "InvalidFilter"
    assert parsed.problems[0].field == "spec.rules[0].filters[0].type"


def test_a_rule_without_backends_answers_500() -> None:
    assert parse({"matches": [{}]}).rules[0].broken == "NoBackends"
    assert parse(rules=None).rules[0].broken == "NoBackends"


def test_timeouts_and_retry() -> None:
    timeouts = {"request": "10s", "backendRequest": "2s"}
    rule = parse({"timeouts": timeouts, "retry": {"attempts": 3, "codes": [503]}, "backendRefs": BACKENDS}).rules[0]
    assert rule.retry is not None
    assert (rule.timeout_seconds, rule.per_try_timeout_seconds, rule.retry.attempts, rule.retry.status_codes) == (
        10,
        2,
        3,
        (503,),
    )


def test_unreadable_hostnames_do_not_widen_the_route() -> None:
    parsed = parse({"backendRefs": BACKENDS}, hostnames="a.example")
    assert (parsed.hostnames, parsed.rules) == ((), ())


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ({"service": "a.B", "method": "C"}, PathMatch(PathKind.EXACT, "/a.B/C")),
        ({"service": "a.B"}, PathMatch(PathKind.PREFIX, "/a.B/")),
        ({"method": "C"}, PathMatch(PathKind.REGEX, "/[^/]+/C")),
        ({"type": "RegularExpression", "service": "a.*"}, PathMatch(PathKind.REGEX, "/a.*/[^/]+")),
    ],
)
def test_grpc_methods(method: dict[str, str], expected: PathMatch) -> None:
    rules = [{"matches": [{"method": method}], "backendRefs": BACKENDS}]
    parsed = grpc_route({"metadata": META, "spec": {"rules": rules}})
    assert (parsed.is_grpc, [m.match for m in parsed.rules[0].matches]) == (True, [RouteMatch(expected)])
