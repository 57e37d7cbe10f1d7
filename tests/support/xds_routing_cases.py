"""Virtual hosts and the requests to try on them: every kind of match, rewrite, redirect, answer and header edit."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from mesh.model.match import HeaderMatch, PathKind, PathMatch, QueryMatch, RouteMatch, StringKind, StringMatch
from mesh.model.route import (
    CorsPolicy,
    DirectResponse,
    Fault,
    FaultAbort,
    ForwardAction,
    FullRewrite,
    HeaderMutation,
    PathRewrite,
    PrefixRewrite,
    RedirectAction,
    RegexRewrite,
    Route,
    RouteActionKind,
    VirtualHost,
    WeightedCluster,
)
from tests.support.xds_differential import CLUSTERS

ONE, TWO, THREE = (ForwardAction((WeightedCluster(name),)) for name in CLUSTERS)
REST = Route(RouteMatch(), ONE)
_FORWARDED_TLS = "X-Forwarded-Proto: https"


@dataclass(frozen=True, slots=True)
class Case:
    """host: its domains and routes. requests: (method and target, header lines); without Host, the host's name is sent."""

    host: VirtualHost
    requests: tuple[tuple[str, ...], ...]

    def raw(self) -> list[bytes]:
        return [self._raw(line, *headers) for line, *headers in self.requests]

    def _raw(self, line: str, *headers: str) -> bytes:
        method, target = line.split(" ", 1) if " " in line else ("GET", line)
        named = any(header.lower().startswith("host:") for header in headers)
        lines = [*([] if named else [f"Host: {self.host.domains[0]}"]), *headers]
        return "\r\n".join([f"{method} {target} HTTP/1.1", *lines, "", ""]).encode("latin-1")


def case(name: str, routes: list[Route], requests: list[str | tuple[str, ...]], *domains: str, **fields: bool) -> Case:
    host = VirtualHost(name, domains or (f"{name}.test",), tuple(routes), **fields)
    return Case(host, tuple((request,) if isinstance(request, str) else request for request in requests))


# fmt: off
PATHS: list[str | tuple[str, ...]] = [
    "/", "/a", "/a/", "/a/b", "/ab", "/A", "/A/b", "/a?x=1", "/a/?x=1", "//a", "/a//b", "/a/./b", "/a/../b", "/%61", "/a%2Fb",
    "/a%2fb", "/a%20b", "/a;v=1/b", "/aa", "/b", "/a/b/../../c", "/a?x=/../b", "/a/%2e%2e/b", "/a\\b", "/a/%2E/b", "/a?", "/a/b?",
    "/a??x", "http://h.test/a", "/..", "/a/../..", "/../a", "/%2e%2e", "/a/.", "/a/..", "/...", "/a//../b", "//..//a",
    "/%zz", "/%", "/a%2", "/%41%zz/../b", "/%c3%a9", "/%2F..", "/a%5Cb", "/a%5c..", "/%0a", "/a%7Fb", "/~a%7e", "/a%00b", "/a#frag", "/a\xe9",
]
PATH_MATCHES = [
    PathMatch(PathKind.EXACT, "/a"), PathMatch(PathKind.EXACT, "/a", True), PathMatch(PathKind.PREFIX, "/a"),
    PathMatch(PathKind.PREFIX, "/A", True), PathMatch(PathKind.SEGMENT_PREFIX, "/a"), PathMatch(PathKind.SEGMENT_PREFIX, "/A", True),
    PathMatch(PathKind.REGEX, "/a/?.*"), PathMatch(PathKind.REGEX, "/[ab]"),
]
REWRITES: list[PathRewrite] = [
    PrefixRewrite("/"), PrefixRewrite("/z"), PrefixRewrite("/z/"), PrefixRewrite("z"), FullRewrite("/full"), FullRewrite("/f?q=1"),
    RegexRewrite("^/a(/)?", r"/r\1"), RegexRewrite("a", "x"), RegexRewrite("/(.)", r"\1"),
]
STRINGS = [
    StringMatch(StringKind.EXACT, "v"), StringMatch(StringKind.EXACT, "V", True), StringMatch(StringKind.PREFIX, "v"),
    StringMatch(StringKind.PREFIX, "V", True), StringMatch(StringKind.SUFFIX, "v"), StringMatch(StringKind.SUFFIX, "V", True),
    StringMatch(StringKind.CONTAINS, "v"), StringMatch(StringKind.CONTAINS, "V", True), StringMatch(StringKind.REGEX, "v.*"),
    StringMatch(StringKind.REGEX, ".*"), StringMatch(StringKind.REGEX, "."), StringMatch(StringKind.REGEX, "[^v]"),
    StringMatch(StringKind.REGEX, "\u00e9"), StringMatch(StringKind.REGEX, "(?i)\u00c9"), StringMatch(StringKind.EXACT, "\u00e9"),
    StringMatch(StringKind.EXACT, ""), StringMatch(StringKind.EXACT, "v,w"), StringMatch(StringKind.EXACT, "a b"),
]
HEADERS = [
    (), ("X-A: ",), ("X-A: v",), ("X-A: V",), ("X-A: vv",), ("X-A: xv",), ("X-A: v,w",), ("X-A:  v ",), ("X-A: \xe9",), ("X-A: \xc3\xa9",),
    ("X-A: v", "X-A: w"), ("X-A: w", "X-A: v", "X-A: z"), ("X-A:", "X-A: v"), ("x-a: w",),
]
QUERIES: list[str | tuple[str, ...]] = [
    "/", "/?x", "/?x=", "/?x=v", "/?x=V", "/?x=w&x=v", "/?x=v&x=w", "/?y=v", "/?x=%76", "/?x=a+b", "/?x=a%20b", "/?X=v", "/?y&x=v", "/?&x=v",
    "/?x=v=w", "/?x==v", "/?%78=v", "/?x=v;y", "/?x&x=v", "/?xx=v&", "/?x=vv", "/?x=v?x=w", "/a?b?x=v",
]
PSEUDO = [
    HeaderMatch(":method", StringMatch(StringKind.EXACT, "GET")), HeaderMatch(":method", StringMatch(StringKind.EXACT, "GET"), True),
    HeaderMatch(":method", StringMatch(StringKind.REGEX, "GET|HEAD")), HeaderMatch(":path", StringMatch(StringKind.PREFIX, "/a?")),
    HeaderMatch(":authority", StringMatch(StringKind.SUFFIX, "test")), HeaderMatch(":scheme", StringMatch(StringKind.EXACT, "http")),
    HeaderMatch(":scheme", StringMatch(StringKind.EXACT, "https")), HeaderMatch("host", StringMatch(StringKind.PREFIX, "ps")),
]
REDIRECTS = [
    RedirectAction(), RedirectAction(302, scheme="https"), RedirectAction(303, host="o.test"), RedirectAction(307, port=8443),
    RedirectAction(308, scheme="https", port=0), RedirectAction(scheme="https", port=443), RedirectAction(scheme="http", port=80),
    RedirectAction(scheme="https", port=80), RedirectAction(port=80), RedirectAction(strip_query=True), RedirectAction(host="o.test:81"),
    RedirectAction(scheme="https", host="o.test:443"), RedirectAction(host="[::1]:80"), RedirectAction(path=FullRewrite("/n")),
    RedirectAction(path=FullRewrite("n")), RedirectAction(path=FullRewrite("/n?k=1")), RedirectAction(path=FullRewrite("/n"), strip_query=True),
    RedirectAction(path=FullRewrite("/n?k=1"), strip_query=True), RedirectAction(path=FullRewrite("/n#f")),
    RedirectAction(host="o.test:81", scheme="http", port=80), RedirectAction(host="o.test:81", scheme="https", port=443), RedirectAction(host="[::1]:81", port=0),
]
EDITS = [  # of the route, of its cluster
    (HeaderMutation(set=(("x-a", "1"),)), HeaderMutation()),
    (HeaderMutation(add=(("x-a", "1"),)), HeaderMutation()),
    (HeaderMutation(remove=("x-a",)), HeaderMutation()),
    (HeaderMutation(set=(("x-a", "1"),), remove=("x-a",)), HeaderMutation()),
    (HeaderMutation(add=(("x-a", "1"), ("x-a", "2"))), HeaderMutation()),
    (HeaderMutation(set=(("x-a", "1"),), add=(("x-a", "2"),)), HeaderMutation()),
    (HeaderMutation(set=(("x-a", "1"),)), HeaderMutation(set=(("x-a", "w"),))),
    (HeaderMutation(add=(("x-a", "1"),)), HeaderMutation(remove=("x-a",))),
    (HeaderMutation(remove=("x-a",)), HeaderMutation(add=(("x-a", "w"),))),
    (HeaderMutation(set=(("x-old", "n"),)), HeaderMutation(add=(("x-old", "m"),))),
    (HeaderMutation(set=(("x-a", ""),)), HeaderMutation()),
    (HeaderMutation(remove=("x-old", "user-agent")), HeaderMutation()),
    (HeaderMutation(set=(("user-agent", "ua"),)), HeaderMutation()),
    (HeaderMutation(add=(("x-b", "%REQ(x-c)%"),)), HeaderMutation()),
    (HeaderMutation(set=(("x-b", "%PROTOCOL%-%%"),)), HeaderMutation()),
    (HeaderMutation(add=(("x-b", "%REQ(:path)% %REQ(:authority)% %REQ(:method)%"),)), HeaderMutation()),
    (HeaderMutation(set=(("x-c", "%REQ(x-c)%!"),)), HeaderMutation()),
    (HeaderMutation(set=(("x-b", "%REQ(x-none)%"),)), HeaderMutation()),
    (HeaderMutation(set=(("x-b", "%REQ(X-C?user-agent):3%"),)), HeaderMutation()),
    (HeaderMutation(set=(("x-b", "%ROUTE_NAME% %UPSTREAM_CLUSTER%"),)), HeaderMutation()),
]
CORS = [
    CorsPolicy((StringMatch(StringKind.EXACT, "http://o"),), "GET,POST", "x-h", "x-e", "10", True),
    CorsPolicy((StringMatch(StringKind.REGEX, "http://o.*"),), forward_unmatched=False),
    CorsPolicy((StringMatch(StringKind.EXACT, "*"),), "GET"),
]
# fmt: on


def path_cases() -> Iterator[Case]:
    for i, path in enumerate(PATH_MATCHES):
        yield case(f"path{i}", [Route(RouteMatch(path), TWO), REST], PATHS)


def rewrite_cases() -> Iterator[Case]:
    for i, path in enumerate(PATH_MATCHES):
        for j, rewrite in enumerate(REWRITES):
            forward = ForwardAction((WeightedCluster("two"),), path_rewrite=rewrite)
            yield case(f"rewrite{i}-{j}", [Route(RouteMatch(path), forward), REST], PATHS)
            yield case(f"moved{i}-{j}", [Route(RouteMatch(path), RedirectAction(path=rewrite)), REST], PATHS)
    host_rewrite = ForwardAction((WeightedCluster("two"),), host_rewrite="new.host")
    yield case(
        "new-host",
        [Route(RouteMatch(), host_rewrite)],
        ["/", ("/", "X-A: c"), "http://other.test/z"],
        "*.new-host",
        "other.test",
    )


def header_cases() -> Iterator[Case]:
    matches = [HeaderMatch("x-a"), HeaderMatch("x-a", None, True), *PSEUDO]
    for value in STRINGS:
        for invert in (False, True):
            matches += [HeaderMatch("x-a", value, invert, as_empty) for as_empty in (False, True)]
    on_path: list[str | tuple[str, ...]] = ["/", "POST /", "HEAD /", "OPTIONS /", "/a?b", ("/", _FORWARDED_TLS)]
    for i, match in enumerate(matches):
        requests = on_path if match in PSEUDO else [("/", *lines) for lines in HEADERS]
        yield case(
            f"{'ps' if match in PSEUDO else 'header'}{i}", [Route(RouteMatch(headers=(match,)), TWO), REST], requests
        )


def query_cases() -> Iterator[Case]:
    for i, value in enumerate([None, *STRINGS, StringMatch(StringKind.EXACT, "v=w")]):
        yield case(f"query{i}", [Route(RouteMatch(query=(QueryMatch("x", value),)), TWO), REST], QUERIES)


def redirect_cases() -> Iterator[Case]:
    for i, action in enumerate(REDIRECTS):
        name = f"redirect{i}"
        requests: list[str | tuple[str, ...]] = [
            "/",
            "/a?x=1",
            "/a?",
            "/a/../b",
            "HEAD /a",
            f"http://{name}.test/a",
            ("/a", _FORWARDED_TLS),
            *(("/a?x=1", f"Host: {name}.test:{port}") for port in (80, 443, 8080)),
        ]
        yield case(name, [Route(RouteMatch(), action)], requests, f"{name}.test", f"{name}.test:*")
    yield case("tls", [REST], ["/", ("/", _FORWARDED_TLS), "/a?b=c"], require_tls=True)


def edit_cases() -> Iterator[Case]:
    requests: list[str | tuple[str, ...]] = [
        "/p?q",
        ("/", "X-A: c", "X-C: cde", "User-Agent: zzzz"),
        ("/", "X-A: c", "X-A: d"),
    ]
    for i, (edit, of_cluster) in enumerate(EDITS):
        asked = ForwardAction((WeightedCluster("two", 1, request_headers=of_cluster),))
        answered = ForwardAction((WeightedCluster("two", 1, response_headers=of_cluster),))
        yield case(f"asked{i}", [Route(RouteMatch(), asked, "r", request_headers=edit)], requests)
        yield case(f"answered{i}", [Route(RouteMatch(), answered, "r", response_headers=edit)], requests)
        yield case(
            f"direct{i}", [Route(RouteMatch(), DirectResponse(418, b"tea"), "r", response_headers=edit)], requests
        )
        yield case(f"elsewhere{i}", [Route(RouteMatch(), RedirectAction(), "r", response_headers=edit)], requests)


def answer_cases() -> Iterator[Case]:
    asked: list[str | tuple[str, ...]] = ["/", "/a?b=c", "HEAD /", "POST /", ("/", _FORWARDED_TLS)]
    for status, body in ((200, b"body"), (201, b"made"), (204, b""), (302, b""), (304, b""), (404, b"no"), (503, b"")):
        yield case(f"says{status}", [Route(RouteMatch(), DirectResponse(status, body))], asked)
    for status in (404, 500, 503):
        missing = ForwardAction((WeightedCluster("none"),), missing_cluster_status=status)
        yield case(f"missing{status}", [Route(RouteMatch(), missing)], ["/"])
    yield case("abort", [Route(RouteMatch(), ONE, fault=Fault(abort=FaultAbort(http_status=555)))], ["/"])
    grpc = ("POST /", "content-type: application/grpc", "content-length: 0")
    aborted = Route(RouteMatch(), ONE, fault=Fault(abort=FaultAbort(grpc_status=14)))
    yield case("grpc-abort", [aborted], [grpc, "/", "HEAD /", ("POST /", "content-type: application/json", "content-length: 0")])
    yield case(
        "no-route", [Route(RouteMatch(PathMatch(PathKind.EXACT, "/x")), ONE)], ["/", "/x", ("/", "Host: unknown.zz")]
    )


def domain_cases() -> Iterator[Case]:
    # fmt: off
    names = [
        "a.dom.test", "A.DOM.TEST", "b.a.dom.test", ".dom.test", "x.wild", "wild", "pre.x", "pre.", "a.long.wild", "pre.wild", "exact.wild",
        "exact.wild:80", "pre.long.wild",
    ]
    # fmt: on
    yield case("suffix", [REST], [("/", f"Host: {name}") for name in names], "*.dom.test")
    yield case("both", [Route(RouteMatch(), TWO)], [], "*.wild", "pre.*")
    yield case("exact", [Route(RouteMatch(), THREE)], [], "exact.wild", "*.long.wild")


def cors_cases() -> Iterator[Case]:
    asks, origins = "Access-Control-Request-Method: ", ("Origin: http://o", "Origin: http://z")
    requests: list[str | tuple[str, ...]] = ["/", "OPTIONS /"]
    for origin in origins:
        requests += [
            ("/", origin),
            ("OPTIONS /", origin),
            ("OPTIONS /", origin, asks + "GET"),
            ("OPTIONS /", origin, asks + "DELETE"),
        ]
    for i, policy in enumerate(CORS):
        yield case(f"cors{i}", [Route(RouteMatch(), ONE, cors=policy)], requests)


def mixed_cases(seed: int = 20261121, count: int = 80) -> Iterator[Case]:
    """Lists of routes whose parts meet by chance."""
    rng = random.Random(seed)

    def match() -> RouteMatch:
        value = rng.choice([None, *STRINGS])
        header = HeaderMatch("x-a", value, rng.random() < 0.3, value is not None and rng.random() < 0.5)
        query = QueryMatch("x", rng.choice([None, *STRINGS]))
        return RouteMatch(rng.choice(PATH_MATCHES), rng.choice([(), (header,)]), rng.choice([(), (), (query,)]))

    def action() -> RouteActionKind:
        target = (WeightedCluster(rng.choice(CLUSTERS)),)
        forwards = [
            ForwardAction(target, path_rewrite=rewrite) for rewrite in (None, None, *rng.choices(REWRITES, k=6))
        ]
        return rng.choice([*forwards, RedirectAction(path=rng.choice(REWRITES)), DirectResponse(418, b"t")])

    # Of a redirected request, Envoy's %REQ(:path)% is the path in the Location; ours is the one that was asked for.
    after_edits = [pair for pair in EDITS if ":path" not in repr(pair)]
    for i in range(count):
        routes = []
        for _ in range(rng.choice((1, 3, 5, 16))):
            before, after = rng.choice(EDITS)[0], rng.choice(after_edits)[0]
            routes.append(Route(match(), action(), f"r{i}", request_headers=before, response_headers=after))
        requests = [(str(rng.choice(PATHS)), *rng.choice(HEADERS)[:1]) for _ in range(12)]
        requests += [(str(rng.choice(QUERIES)), *rng.choice(HEADERS)[:1]) for _ in range(4)]
        yield case(f"mixed{i}", routes, list(requests))


GROUPS = {
    "paths": path_cases,
    "rewrites": rewrite_cases,
    "headers": header_cases,
    "queries": query_cases,
    "redirects": redirect_cases,
    "edits": edit_cases,
    "answers": answer_cases,
    "domains": domain_cases,
    "cors": cors_cases,
    "mixed": mixed_cases,
}
