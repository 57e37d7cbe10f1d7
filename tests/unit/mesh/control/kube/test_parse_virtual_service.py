"""VirtualService."""

from __future__ import annotations

from typing import Any

import pytest

from mesh.control.kube import istio
from mesh.control.kube.parse_virtual_service import virtual_service
from mesh.control.kube.rules import Backend, RuleMatch, Where
from mesh.model.addr import Cidr
from mesh.model.match import HeaderMatch, PathKind, PathMatch, QueryMatch, RouteMatch, StringKind, StringMatch

TO_REVIEWS = [{"destination": {"host": "reviews"}}]


def parse(**spec: Any) -> istio.VirtualService:
    metadata = {"name": "reviews", "namespace": "default"}
    return virtual_service({"metadata": metadata, "spec": {"hosts": ["reviews"], **spec}})


def rule(**fields: Any) -> Any:
    parsed = parse(http=[{"route": TO_REVIEWS, **fields}])
    assert parsed.problems == ()
    return parsed.http[0]


def test_short_hosts_and_default_gateway() -> None:
    parsed = parse(http=[{"route": TO_REVIEWS}])
    assert parsed.hosts == ("reviews.default.svc.cluster.local",)
    assert parsed.gateways == {"mesh"}
    assert parsed.http[0].backends == (
        Backend("reviews.default.svc.cluster.local", field="spec.http[0].route[0].destination"),
    )


def test_gateways_are_qualified() -> None:
    parsed = parse(gateways=["bookinfo-gateway", "other/g", "mesh"], http=[{"route": TO_REVIEWS}])
    assert parsed.gateways == {"default/bookinfo-gateway", "other/g", "mesh"}


def test_every_kind_of_match() -> None:
    match = {
        "uri": {"prefix": "/Api"},
        "ignoreUriCase": True,
        "headers": {"End-User": {"exact": "jason"}, "x": {}},
        "withoutHeaders": {"y": {"prefix": "z"}},
        "queryParams": {"q": {"regex": "a+"}},
        "method": {"exact": "GET"},
        "authority": {"prefix": "rev"},
        "scheme": {"exact": "http"},
        "port": 9080,
        "sourceLabels": {"app": "productpage"},
        "sourceNamespace": "default",
        "gateways": ["mesh"],
    }
    parsed = rule(match=[match, {"uri": {"regex": "/a/.*"}}])
    exact = StringKind.EXACT
    assert parsed.matches == (
        RuleMatch(
            RouteMatch(
                PathMatch(PathKind.PREFIX, "/Api", True),
                (
                    HeaderMatch("end-user", StringMatch(exact, "jason")),
                    HeaderMatch("x"),
                    HeaderMatch("y", StringMatch(StringKind.PREFIX, "z"), invert=True, missing_as_empty=True),
                    HeaderMatch(":method", StringMatch(exact, "GET")),
                    HeaderMatch(":authority", StringMatch(StringKind.PREFIX, "rev")),
                    HeaderMatch(":scheme", StringMatch(exact, "http")),
                ),
                (QueryMatch("q", StringMatch(StringKind.REGEX, "a+")),),
            ),
            Where(frozenset({"mesh"}), 9080, {"app": "productpage"}, "default"),
        ),
        RuleMatch(RouteMatch(PathMatch(PathKind.REGEX, "/a/.*"))),
    )


def test_a_bad_match_is_left_out_and_never_widens_the_rule() -> None:
    parsed = parse(http=[{"match": [{"uri": {"regex": "("}}], "route": TO_REVIEWS}, {"route": TO_REVIEWS}])
    assert [len(rule.matches) for rule in parsed.http] == [0, 1]
    assert [problem.field for problem in parsed.problems] == ["spec.http[0].match[0].uri.regex"]


@pytest.mark.parametrize(
    ("route", "weights"),
    [
        ([{}], [1]),
        ([{"weight": 0}], [1]),
        ([{"weight": 90}, {"weight": 10}], [90, 10]),
        ([{"weight": 90.0}, {}], [90, 0]),
    ],
)
def test_weights(route: list[dict[str, Any]], weights: list[int]) -> None:
    route = [{"destination": {"host": "reviews"}, **item} for item in route]
    assert [backend.weight for backend in rule(route=route).backends] == weights


def test_weights_that_sum_to_nothing_break_the_rule_only() -> None:
    bad = {"route": [{**TO_REVIEWS[0]}, {**TO_REVIEWS[0]}]}
    parsed = parse(http=[bad, {"route": TO_REVIEWS}])
    assert [rule.path for rule in parsed.http] == ["http[1]"]
    assert [problem.reason for problem in parsed.problems] == ["InvalidWeight"]


def test_weights_that_no_envoy_could_add_up_break_the_rule_only() -> None:
    heavy = [{"destination": {"host": name}, "weight": (1 << 31) - 1} for name in "abc"]
    parsed = parse(http=[{"route": heavy}, {"route": [{"destination": {"host": "a"}}]}])
    assert [rule.path for rule in parsed.http] == ["http[1]"]
    assert [problem.reason for problem in parsed.problems] == ["InvalidWeight"]


def test_mirrors() -> None:
    parsed = rule(
        mirror={"host": "details", "subset": "v2"},
        mirrorPercentage={"value": 12.5},
        mirrors=[{"destination": {"host": "a"}}],
    )
    assert [(m.backend.host, m.backend.subset, m.percent) for m in parsed.mirrors] == [
        ("details.default.svc.cluster.local", "v2", 12.5),
        ("a.default.svc.cluster.local", "", 100.0),
    ]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"route": TO_REVIEWS, "redirect": {}}, "spec.http[0]"),
        ({}, "spec.http[0]"),
        ({"delegate": {"name": "x"}, "route": TO_REVIEWS}, "spec.http[0]"),
        ({"delegate": {}}, "spec.http[0].delegate.name"),
        ({"route": [{"destination": {}}]}, "spec.http[0].route[0].destination.host"),
        ({"route": TO_REVIEWS, "timeout": "soon"}, "spec.http[0].timeout"),
        ({"route": TO_REVIEWS, "fault": {"abort": {"httpStatus": 99}}}, "spec.http[0].fault.abort.httpStatus"),
        ({"route": TO_REVIEWS, "headers": {"request": {"set": {"a": "b\n"}}}}, "spec.http[0].headers.request.set[a]"),
    ],
)
def test_a_bad_rule_is_named_and_the_next_one_works(fields: dict[str, Any], field: str) -> None:
    parsed = parse(http=[fields, {"route": TO_REVIEWS}])
    assert [rule.path for rule in parsed.http] == ["http[1]"]
    assert [problem.field for problem in parsed.problems] == [field]


def test_unknown_fields_are_reported() -> None:
    parsed = parse(http=[{"route": TO_REVIEWS, "tiemout": "1s"}])
    assert [(p.field, p.reason) for p in parsed.problems] == [("spec.http[0].tiemout", "UnsupportedField")]
    assert len(parsed.http) == 1


def test_delegation() -> None:
    parsed = parse(http=[{"delegate": {"name": "d"}}, {"delegate": {"name": "e", "namespace": "n"}}])
    assert [rule.delegate for rule in parsed.http] == [("default", "d"), ("n", "e")]
    delegate = virtual_service({"metadata": {"name": "d", "namespace": "n"}, "spec": {"http": [{"route": TO_REVIEWS}]}})
    assert (delegate.hosts, delegate.problems, len(delegate.http)) == ((), (), 1)


def test_tcp_and_tls_rules() -> None:
    parsed = parse(
        tcp=[{"match": [{"port": 3306, "destinationSubnets": ["198.19.0.0/16"]}], "route": TO_REVIEWS}],
        tls=[{"match": [{"sniHosts": ["A.example"]}], "route": TO_REVIEWS}, {"route": TO_REVIEWS}],
    )
    assert parsed.tcp[0].wheres == (istio.L4Match(Where(port=3306), (), (Cidr("198.19.0.0", 16),)),)
    assert parsed.tls[0].wheres == (istio.L4Match(server_names=("a.example",)),)
    assert [problem.field for problem in parsed.problems] == ["spec.tls[1].match"]


def test_unreadable_gateways_bind_to_nothing() -> None:
    assert parse(gateways="mesh", http=[{"route": TO_REVIEWS}]).gateways == frozenset()


@pytest.mark.parametrize("spec", [None, [], "x", {"http": "x"}, {"hosts": 3}, {"http": [None, 3]}])
def test_hostile_specs_become_problems(spec: Any) -> None:
    parsed = virtual_service({"metadata": {"name": "a", "namespace": "b"}, "spec": spec})
    assert parsed.http == ()
    assert parsed.problems
