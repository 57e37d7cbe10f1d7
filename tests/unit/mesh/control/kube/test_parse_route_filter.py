"""Filters of HTTPRoutes."""

from __future__ import annotations

from typing import Any

import pytest

from mesh.control.kube.fields import FieldError, Fields, Reader
from mesh.control.kube.parse_route_filter import RuleFilters, backend_headers, rule_filters
from mesh.control.kube.rules import RuleMatch
from mesh.model.match import PathKind, PathMatch, RouteMatch, StringKind, StringMatch
from mesh.model.origin import ObjectRef
from mesh.model.route import FullRewrite, HeaderMutation, PathRewrite, PrefixRewrite, RedirectAction, RegexRewrite

ANY = RuleMatch()


def prefix(value: str) -> RuleMatch:
    kind = PathKind.PREFIX if value == "/" else PathKind.SEGMENT_PREFIX
    return RuleMatch(RouteMatch(PathMatch(kind, value)))


def fields(*filters: Any) -> Fields:
    return Fields({"filters": list(filters)}, "spec.rules[0]", Reader(ObjectRef("HTTPRoute", "n", "r")))


def parse(*filters: Any, matches: tuple[RuleMatch, ...] = (ANY,)) -> RuleFilters:
    return rule_filters(fields(*filters), matches, "default")


def test_header_modifiers_are_literal() -> None:
    modifier = {"set": [{"name": "X-A", "value": "100%"}], "add": [{"name": "b", "value": "c"}], "remove": ["D"]}
    found = parse({"type": "RequestHeaderModifier", "requestHeaderModifier": modifier})
    assert found.request_headers == HeaderMutation((("x-a", "100%%"),), (("b", "c"),), ("d",))


@pytest.mark.parametrize(
    ("redirect", "expected"),
    [
        ({"hostname": "example.org"}, RedirectAction(302, host="example.org")),
        ({"statusCode": 301, "port": 8083}, RedirectAction(301, port=8083)),
        ({"scheme": "https"}, RedirectAction(302, "https", port=0)),
        ({"path": {"type": "ReplaceFullPath", "replaceFullPath": "/x"}}, RedirectAction(302, path=FullRewrite("/x"))),
    ],
)
def test_redirects(redirect: dict[str, Any], expected: RedirectAction) -> None:
    assert parse({"type": "RequestRedirect", "requestRedirect": redirect}).redirects == (expected,)


@pytest.mark.parametrize(
    ("matched", "replacement", "expected"),
    [
        ("/foo", "/xyz", PrefixRewrite("/xyz")),
        ("/foo", "/xyz/", PrefixRewrite("/xyz")),
        ("/foo", "/", RegexRewrite("^/foo/*", "/")),
        ("/foo", "", RegexRewrite("^/foo/*", "/")),
        ("/", "/xyz", PrefixRewrite("/xyz/")),
        ("/", "/", PrefixRewrite("/")),
    ],
)
def test_prefixes_neither_double_nor_lose_slashes(matched: str, replacement: str, expected: PathRewrite) -> None:
    rewrite = {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": replacement}}
    assert parse({"type": "URLRewrite", "urlRewrite": rewrite}, matches=(prefix(matched),)).rewrites == (expected,)


def test_a_prefix_rewrite_needs_a_prefix_match() -> None:
    exact = RuleMatch(RouteMatch(PathMatch(PathKind.EXACT, "/a")))
    rewrite = {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/b"}}
    with pytest.raises(FieldError, match="PathPrefix matches only"):
        parse({"type": "URLRewrite", "urlRewrite": rewrite}, matches=(exact,))


@pytest.mark.parametrize(
    ("share", "percent"),
    [({}, 100.0), ({"percent": 42}, 42.0), ({"fraction": {"numerator": 1, "denominator": 8}}, 12.5)],
)
def test_mirrors(share: dict[str, Any], percent: float) -> None:
    mirror = {"backendRef": {"name": "x", "port": 80}, **share}
    (found,) = parse({"type": "RequestMirror", "requestMirror": mirror}).mirrors
    assert (found.backend.host, found.percent) == ("x.default.svc.cluster.local", percent)


def test_cors_origins() -> None:
    cors = parse(
        {"type": "CORS", "cors": {"allowOrigins": ["https://a.b", "https://*.c"], "allowMethods": ["GET"]}}
    ).cors
    assert cors is not None
    assert cors.allow_origins == (
        StringMatch(StringKind.EXACT, "https://a.b"),
        StringMatch(StringKind.REGEX, r"https://.*\.c"),
    )
    assert cors.max_age == "5"


def test_redirect_and_rewrite_exclude_each_other() -> None:
    with pytest.raises(FieldError, match="exclude each other"):
        parse(
            {"type": "RequestRedirect", "requestRedirect": {"hostname": "a"}},
            {"type": "URLRewrite", "urlRewrite": {"hostname": "b"}},
        )


def test_backends_change_headers_only() -> None:
    modifier = {"type": "ResponseHeaderModifier", "responseHeaderModifier": {"remove": ["a"]}}
    assert backend_headers(fields(modifier), "default") == (HeaderMutation(), HeaderMutation(remove=("a",)))
    with pytest.raises(FieldError, match="not supported on a backendRef"):
        backend_headers(fields({"type": "URLRewrite", "urlRewrite": {}}), "default")
