import pytest

from mesh.model.match import HeaderMatch, PathKind, PathMatch, QueryMatch, RouteMatch, StringKind, StringMatch
from mesh.proxy.match import (
    CompileError,
    describe_header,
    describe_path,
    header_test,
    path_test,
    query_test,
    query_value,
    request_tests,
    string_test,
)
from tests.support.observe import head, head_of


@pytest.mark.parametrize(
    ("match", "yes", "no"),
    [
        (StringMatch(StringKind.EXACT, "jason"), b"jason", b"Jason"),
        (StringMatch(StringKind.EXACT, "Jason", True), b"jASON", b"jasons"),
        (StringMatch(StringKind.PREFIX, "ja"), b"jason", b"aja"),
        (StringMatch(StringKind.SUFFIX, "ON", True), b"jason", b"jas"),
        (StringMatch(StringKind.CONTAINS, "as"), b"jason", b"json"),
        (StringMatch(StringKind.REGEX, "^(.*?;)?(user=jason)(;.*)?$"), b"a=1;user=jason;b=2", b"user=jasonx"),
        (StringMatch(StringKind.REGEX, "a|ab"), b"ab", b"abc"),
    ],
)
def test_strings(match: StringMatch, yes: bytes, no: bytes) -> None:
    test = string_test(match, "f")
    assert (test(yes), test(no)) == (True, False)


@pytest.mark.parametrize(
    ("match", "yes", "no"),
    [
        (PathMatch(PathKind.EXACT, "/a"), [b"/a"], [b"/a/", b"/A", b"/ab"]),
        (PathMatch(PathKind.PREFIX, "/v2"), [b"/v2", b"/v2example", b"/v2/x"], [b"/v1", b"/V2"]),
        (PathMatch(PathKind.SEGMENT_PREFIX, "/v2"), [b"/v2", b"/v2/", b"/v2/x"], [b"/v2example", b"/v"]),
        (PathMatch(PathKind.SEGMENT_PREFIX, "/v2/"), [b"/v2", b"/v2/x"], [b"/v2example"]),
        (PathMatch(PathKind.PREFIX, "/Static", True), [b"/static/x", b"/STATIC"], [b"/stat"]),
        (PathMatch(PathKind.SEGMENT_PREFIX, "/V2", True), [b"/v2/x"], [b"/v2x"]),
        (PathMatch(PathKind.REGEX, "/reviews/[0-9]+"), [b"/reviews/12"], [b"/reviews/", b"/reviews/1/x"]),
    ],
)
def test_paths(match: PathMatch, yes: list[bytes], no: list[bytes]) -> None:
    test = path_test(match)
    assert test is not None
    assert [test(path) for path in yes + no] == [True] * len(yes) + [False] * len(no)


def test_the_root_prefix_needs_no_test() -> None:
    assert path_test(PathMatch()) is None


def test_a_regex_is_about_bytes() -> None:
    dots, letter = path_test(PathMatch(PathKind.REGEX, "/..")), path_test(PathMatch(PathKind.REGEX, "/\u00e9"))
    assert dots is not None and letter is not None
    assert dots(b"/\xff\xfe") and dots("/\u00e9".encode()) and letter("/\u00e9".encode())
    assert not letter(b"/\xe9")


def test_a_catastrophic_pattern_takes_no_time() -> None:
    # Backtracking engines need 2^40 steps for this one.
    test = string_test(StringMatch(StringKind.REGEX, "(a*)*b"), "f")
    assert not test(b"a" * 40)


@pytest.mark.parametrize("value", ["a(b", "(?!x)"])
def test_a_bad_pattern_names_its_field(value: str) -> None:
    with pytest.raises(CompileError, match=r"route\[0\] path: regular expression"):
        path_test(PathMatch(PathKind.REGEX, value), "route[0] path")


def test_ignore_case_with_a_regex_is_refused() -> None:
    with pytest.raises(CompileError, match="ignore_case"):
        path_test(PathMatch(PathKind.REGEX, "/a", True))
    with pytest.raises(CompileError, match="ignore_case"):
        string_test(StringMatch(StringKind.REGEX, "a", True), "f")


EXACT_A = StringMatch(StringKind.EXACT, "a")


@pytest.mark.parametrize(
    ("match", "with_a", "with_b", "without"),
    [
        (HeaderMatch("x", EXACT_A), True, False, False),
        (HeaderMatch("x", EXACT_A, invert=True), False, True, False),
        (HeaderMatch("x", EXACT_A, invert=True, missing_as_empty=True), False, True, True),
        (HeaderMatch("x", StringMatch(StringKind.REGEX, "b?"), missing_as_empty=True), False, True, True),
        (HeaderMatch("x", StringMatch(StringKind.REGEX, "b?"), invert=True, missing_as_empty=True), True, False, False),
        (HeaderMatch("x"), True, True, False),
        (HeaderMatch("x", invert=True), False, False, True),
    ],
)
def test_headers(match: HeaderMatch, with_a: bool, with_b: bool, without: bool) -> None:
    test = header_test(match, "f")
    assert [test(head(x="a")), test(head(x="b")), test(head())] == [with_a, with_b, without]


@pytest.mark.parametrize(("wanted", "matches"), [("1", True), ("2,3", True), ("1,2,3", False), ("2", False)])
def test_the_lines_of_a_repeated_header_are_compared_one_by_one(wanted: str, matches: bool) -> None:
    request = head_of("GET", "/", "h", [("X", "1"), ("x", "2,3")])
    exact = StringMatch(StringKind.EXACT, wanted)
    assert header_test(HeaderMatch("x", exact), "f")(request) is matches
    assert header_test(HeaderMatch("x", exact, invert=True), "f")(request) is not matches


@pytest.mark.parametrize(
    ("name", "value"),
    [(":method", "PUT"), (":authority", "reviews:9080"), ("host", "reviews:9080"), (":path", "/a?b=1"), (":scheme", "http")],
)
def test_pseudo_headers(name: str, value: str) -> None:
    assert header_test(HeaderMatch(name, StringMatch(StringKind.EXACT, value)), "f")(head("PUT", "/a?b=1"))


def test_an_unknown_pseudo_header_is_refused() -> None:
    with pytest.raises(CompileError, match=":status"):
        header_test(HeaderMatch(":status", EXACT_A), "f")


@pytest.mark.parametrize(
    ("query", "expected"),
    [(b"a=1&b=2", b"1"), (b"b=2&a=3&a=4", b"3"), (b"a", b""), (b"a=", b""), (b"", None), (b"aa=1", None), (b"a=b=c", b"b=c")],
)
def test_query_values(query: bytes, expected: bytes | None) -> None:
    assert query_value(query, b"a") == expected


def test_queries() -> None:
    exact, present = query_test(QueryMatch("a", EXACT_A), "f"), query_test(QueryMatch("a"), "f")
    requests = [head("GET", target) for target in ("/?a=a", "/?a=b", "/")]
    assert [(exact(request), present(request)) for request in requests] == [(True, True), (False, True), (False, False)]


def test_all_tests_come_with_words() -> None:
    match = RouteMatch(PathMatch(), (HeaderMatch(":method", EXACT_A), HeaderMatch("x", invert=True)), (QueryMatch("q"),))
    assert [words for words, _ in request_tests(match, "f")] == ["method exact a", "header x not present", "query q present"]


def test_words_of_paths_and_headers() -> None:
    assert describe_path(PathMatch(PathKind.SEGMENT_PREFIX, "/v2", True)) == "path segment prefix /v2 (ignoring case)"
    assert describe_header(HeaderMatch("end-user", StringMatch(StringKind.EXACT, "jason"))) == "header end-user exact jason"
