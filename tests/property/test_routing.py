"""The compiled route table against a naive reader of the model: same route for every table and request."""

from __future__ import annotations

import re
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.codec.h1 import RequestHead
from mesh.model.match import HeaderMatch, PathKind, PathMatch, QueryMatch, RouteMatch, StringKind, StringMatch
from mesh.model.route import ForwardAction, Route, RouteConfig, VirtualHost, WeightedCluster
from mesh.proxy.route import RouteTable
from tests.support.observe import head_of

SEGMENTS = st.sampled_from(["a", "b", "A", "ab", ""])
PATHS = st.lists(SEGMENTS, min_size=1, max_size=3).map(lambda parts: "/" + "/".join(parts))
WORDS = st.sampled_from(["", "a", "b", "ab", "A"])
HOSTS = st.sampled_from(["a.com", "b.com", "x.a.com", "A.com", "a.net", "x.a.com:80", "c"])
DOMAINS = st.sampled_from(["a.com", "*.a.com", "*.com", "a.*", "x.a.*", "b.com", "x.a.com:80", "*", "*a.com"])


@st.composite
def strings(draw: st.DrawFn) -> StringMatch:
    kind = draw(st.sampled_from(StringKind))
    if kind is StringKind.REGEX:
        return StringMatch(kind, draw(st.sampled_from(["a.*", "", "a|b", "[ab]+"])))
    return StringMatch(kind, draw(WORDS), draw(st.booleans()))


@st.composite
def path_matches(draw: st.DrawFn) -> PathMatch:
    kind = draw(st.sampled_from(PathKind))
    if kind is PathKind.REGEX:
        return PathMatch(kind, draw(st.sampled_from(["/a.*", "/[ab]/?", "/.*", "/a|/b"])))
    return PathMatch(kind, draw(PATHS), draw(st.booleans()))


@st.composite
def matches(draw: st.DrawFn) -> RouteMatch:
    names = st.sampled_from(["x", "y", ":method"])
    header = st.builds(HeaderMatch, names, st.none(), st.booleans())
    header |= st.builds(HeaderMatch, names, strings(), st.booleans(), st.booleans())
    query = st.builds(QueryMatch, st.sampled_from(["p", "q"]), st.none() | strings())
    headers = draw(st.lists(header, max_size=2).map(tuple))
    queries = draw(st.lists(query, max_size=1).map(tuple))
    return RouteMatch(draw(path_matches()), headers, queries)


ACTION = ForwardAction((WeightedCluster("c"),))


@st.composite
def configs(draw: st.DrawFn) -> RouteConfig:
    domains = draw(st.lists(DOMAINS, min_size=1, max_size=4, unique=True))
    hosts = []
    for domain in domains:
        # Long lists too, so that the index is used.
        found = draw(st.lists(matches(), max_size=3) | st.lists(matches(), min_size=12, max_size=16))
        routes = tuple(Route(match, ACTION, f"{domain}#{index}") for index, match in enumerate(found))
        hosts.append(VirtualHost(domain, (domain,), routes))
    return RouteConfig("r", tuple(hosts))


@st.composite
def requests(draw: st.DrawFn) -> RequestHead:
    headers = draw(st.lists(st.tuples(st.sampled_from(["x", "Y"]), WORDS), max_size=3))
    query = draw(st.sampled_from(["", "?p=a", "?q=b&p", "?p=ab&p=b", "?"]))
    return head_of(draw(st.sampled_from(["GET", "A"])), draw(PATHS) + query, draw(HOSTS), headers)


def naive_host(config: RouteConfig, authority: str) -> VirtualHost | None:
    """Envoy's order: exact, longest suffix wildcard, longest prefix wildcard, `*`."""
    name, by_rank = authority.lower(), []
    for host in config.virtual_hosts:
        for domain in host.domains:
            if domain == "*":
                by_rank.append((3, 0, host))
            elif domain.startswith("*") and name.endswith(domain[1:]) and len(name) > len(domain) - 1:
                by_rank.append((1, -len(domain), host))
            elif domain.endswith("*") and name.startswith(domain[:-1]) and len(name) > len(domain) - 1:
                by_rank.append((2, -len(domain), host))
            elif domain.lower() == name:
                by_rank.append((0, 0, host))
    return min(by_rank, key=lambda item: item[:2])[2] if by_rank else None


def naive_string(match: StringMatch, value: str) -> bool:
    wanted = match.value
    if match.kind is StringKind.REGEX:
        return re.fullmatch(wanted, value) is not None
    if match.ignore_case:
        wanted, value = wanted.lower(), value.lower()
    return {
        StringKind.EXACT: value == wanted,
        StringKind.PREFIX: value.startswith(wanted),
        StringKind.SUFFIX: value.endswith(wanted),
        StringKind.CONTAINS: wanted in value,
    }[match.kind]


def naive_path(match: PathMatch, path: str) -> bool:
    wanted = match.value
    if match.kind is PathKind.REGEX:
        return re.fullmatch(wanted, path) is not None
    if match.ignore_case:
        wanted, path = wanted.lower(), path.lower()
    if match.kind is PathKind.EXACT:
        return path == wanted
    if match.kind is PathKind.PREFIX:
        return path.startswith(wanted)
    wanted = wanted.rstrip("/")
    return path == wanted or path.startswith(wanted + "/")


def naive_matches(match: RouteMatch, head: RequestHead) -> bool:
    if not naive_path(match.path, head.path.decode()):
        return False
    for header in match.headers:
        lines = [head.method] if header.name == ":method" else head.get_all(header.name.encode())
        if not lines and header.value is not None:
            if not header.missing_as_empty:
                return False
            lines = [b""]
        held = any(header.value is None or naive_string(header.value, line.decode()) for line in lines)
        if held is header.invert:
            return False
    for query in match.query:
        pairs = [part.partition("=") for part in head.query.decode().split("&")]
        values = [value for name, _, value in pairs if name == query.name]
        if not values or (query.value is not None and not naive_string(query.value, values[0])):
            return False
    return True


def naive(config: RouteConfig, head: RequestHead) -> str | None:
    host = naive_host(config, head.authority.decode())
    if host is None:
        return None
    return next((route.name for route in host.routes if naive_matches(route.match, head)), None)


@settings(max_examples=60, deadline=None)
@given(configs(), st.lists(requests(), min_size=1, max_size=8))
def test_the_table_finds_what_a_naive_reader_finds(config: RouteConfig, heads: list[RequestHead]) -> None:
    table = RouteTable(config)
    for head in heads:
        found = table.find(head)
        assert (found.name if found is not None else None) == naive(config, head)


@settings(max_examples=60, deadline=None)
@given(configs(), requests())
def test_explain_ends_where_find_decides(config: RouteConfig, head: RequestHead) -> None:
    table = RouteTable(config)
    found, verdicts = table.find(head), table.explain(head)
    assert [verdict.failed is None for verdict in verdicts[:-1]] == [False] * (len(verdicts) - 1 if verdicts else 0)
    decided = verdicts[-1].route if verdicts and verdicts[-1].failed is None else None
    assert decided is found


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 50), min_size=1, max_size=5).filter(any))
def test_weights_converge(weights: list[int]) -> None:
    clusters = tuple(WeightedCluster(f"c{index}", weight) for index, weight in enumerate(weights))
    route = Route(RouteMatch(), ForwardAction(clusters))
    table = RouteTable(RouteConfig("r", (VirtualHost("v", ("*",), (route,)),)))
    found = table.find(head_of("GET", "/", "h", []))
    assert found is not None
    draw = Random(sum(weights)).random
    drawn = [found.pick(draw).cluster for _ in range(4_000)]
    for index, weight in enumerate(weights):
        expected = weight / sum(weights)
        share = drawn.count(f"c{index}") / 4_000
        assert abs(share - expected) < 0.04
        assert share == 0 or weight > 0
