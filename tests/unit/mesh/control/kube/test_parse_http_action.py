"""Redirects, rewrites, answers, faults and CORS of VirtualServices."""

from __future__ import annotations

from typing import Any

import pytest

from mesh.control.kube import istio
from mesh.control.kube.parse_virtual_service import virtual_service
from mesh.model.route import (
    DirectResponse,
    Fault,
    FaultAbort,
    FaultDelay,
    FullRewrite,
    PrefixRewrite,
    RedirectAction,
    RegexRewrite,
)

TO_REVIEWS = [{"destination": {"host": "reviews"}}]


def parse(**spec: Any) -> istio.VirtualService:
    metadata = {"name": "reviews", "namespace": "default"}
    return virtual_service({"metadata": metadata, "spec": {"hosts": ["reviews"], **spec}})


def rule(**fields: Any) -> Any:
    parsed = parse(http=[{"route": TO_REVIEWS, **fields}])
    assert parsed.problems == ()
    return parsed.http[0]


def test_faults_with_double_percentages_and_odd_codes() -> None:
    fault = {
        "delay": {"fixedDelay": "7s", "percentage": {"value": 100.0}},
        "abort": {"httpStatus": 555, "percentage": {"value": 0.1}},
    }
    assert rule(fault=fault).fault == Fault(FaultDelay(7.0, 100.0), FaultAbort(0.1, http_status=555))


def test_grpc_aborts() -> None:
    assert rule(fault={"abort": {"grpcStatus": "UNAVAILABLE"}}).fault == Fault(abort=FaultAbort(100.0, grpc_status=14))


@pytest.mark.parametrize(
    ("redirect", "expected"),
    [
        ({"uri": "/x"}, RedirectAction(path=FullRewrite("/x"))),
        ({"authority": "a", "redirectCode": 308}, RedirectAction(308, host="a")),
        ({"scheme": "https", "derivePort": "FROM_PROTOCOL_DEFAULT"}, RedirectAction(scheme="https", port=0)),
        ({"port": 81, "prefixRewrite": "/y"}, RedirectAction(port=81, path=PrefixRewrite("/y"))),
    ],
)
def test_redirects(redirect: dict[str, Any], expected: RedirectAction) -> None:
    parsed = parse(http=[{"redirect": redirect}])
    assert (parsed.http[0].redirects, parsed.problems) == ((expected,), ())


def test_rewrites_follow_the_match() -> None:
    match = [{"uri": {"prefix": "/a"}}, {"uri": {"regex": "/b.*"}}]
    assert rule(match=match, rewrite={"uri": "/c"}).rewrites == (PrefixRewrite("/c"), FullRewrite("/c"))
    regex = {"uriRegexRewrite": {"match": "^/(.*)$", "rewrite": "/x/\\1"}, "authority": "h"}
    parsed = rule(rewrite=regex)
    assert (parsed.rewrites, parsed.host_rewrite) == ((RegexRewrite("^/(.*)$", "/x/\\1"),), "h")


def test_direct_response() -> None:
    parsed = parse(http=[{"directResponse": {"status": 418, "body": {"string": "teapot"}}}])
    assert parsed.http[0].direct == DirectResponse(418, b"teapot")


def test_cors() -> None:
    cors = rule(
        corsPolicy={"allowOrigins": [{"exact": "https://a"}], "allowMethods": ["GET", "POST"], "maxAge": "24h"}
    ).cors
    assert cors is not None
    assert (cors.allow_methods, cors.max_age, cors.forward_unmatched) == ("GET,POST", "86400", True)


@pytest.mark.parametrize(
    ("field", "part"),
    [
        ("rewrite.authority", {"rewrite": {"authority": "a\r\nx: y"}}),
        ("rewrite.uri", {"rewrite": {"uri": "/a b"}}),
        ("rewrite.uriRegexRewrite.rewrite", {"rewrite": {"uriRegexRewrite": {"match": "^/", "rewrite": "/\n"}}}),
        ("headers.request.set[Host]", {"headers": {"request": {"set": {"Host": "a\nb"}}}}),
        ("redirect.authority", {"route": None, "redirect": {"authority": "\x00"}}),
        ("redirect.uri", {"route": None, "redirect": {"uri": "/ü"}}),
        ("redirect.scheme", {"route": None, "redirect": {"scheme": "ht tp"}}),
    ],
)
def test_what_no_url_can_have_is_refused_by_its_field(field: str, part: dict[str, Any]) -> None:
    given = {name: value for name, value in {"route": TO_REVIEWS, **part}.items() if value is not None}
    (problem,) = parse(http=[given]).problems
    assert (problem.field, problem.reason) == (f"spec.http[0].{field}", "InvalidUrl")
