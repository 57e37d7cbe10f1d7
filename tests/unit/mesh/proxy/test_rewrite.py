import pytest

from mesh.model.match import PathKind, PathMatch
from mesh.model.route import FullRewrite, PathRewrite, PrefixRewrite, RedirectAction, RegexRewrite
from mesh.proxy.match import CompileError
from mesh.proxy.rewrite import compile_location, compile_path_rewrite, own_url, query_of, without_port
from tests.support.observe import head

ANY = PathMatch()


@pytest.mark.parametrize(
    ("rewrite", "match", "path", "expected"),
    [
        (FullRewrite("/new"), ANY, b"/old/x", b"/new"),
        (PrefixRewrite("/"), PathMatch(PathKind.PREFIX, "/foo/"), b"/foo/bar", b"/bar"),
        # Envoy's plain prefix replacement, double slash and all.
        (PrefixRewrite("/"), PathMatch(PathKind.PREFIX, "/foo"), b"/foo/bar", b"//bar"),
        (PrefixRewrite("/"), PathMatch(PathKind.SEGMENT_PREFIX, "/foo"), b"/foo/bar", b"/bar"),
        (PrefixRewrite("/"), PathMatch(PathKind.SEGMENT_PREFIX, "/foo"), b"/foo", b"/"),
        (PrefixRewrite("/x/"), PathMatch(PathKind.SEGMENT_PREFIX, "/foo"), b"/foo/bar", b"/x/bar"),
        (PrefixRewrite("/x"), PathMatch(PathKind.SEGMENT_PREFIX, "/foo/"), b"/foo/bar", b"/x/bar"),
        (PrefixRewrite("/x"), PathMatch(PathKind.EXACT, "/foo"), b"/foo", b"/x"),
        (PrefixRewrite("/x"), PathMatch(PathKind.REGEX, "/f.*"), b"/foo", b"/x"),
        (PrefixRewrite("/x"), PathMatch(PathKind.PREFIX, "/FOO", True), b"/foo/Bar", b"/x/Bar"),
        (RegexRewrite("^/service/([^/]+)(/.*)$", r"\2/instance/\1"), ANY, b"/service/foo/v1", b"/v1/instance/foo"),
        (RegexRewrite("one", "two"), ANY, b"/xxx/one/yyy/one/zzz", b"/xxx/two/yyy/two/zzz"),
        (RegexRewrite("nothing", "x"), ANY, b"/a", b"/a"),
        (RegexRewrite("^.*$", ""), ANY, b"/a", b"/"),
    ],
)
def test_rewrites(rewrite: PathRewrite, match: PathMatch, path: bytes, expected: bytes) -> None:
    assert compile_path_rewrite(rewrite, match, "f")(path) == expected


@pytest.mark.parametrize(
    ("rewrite", "words"),
    [
        (FullRewrite("/a b"), "holds a character"),
        (PrefixRewrite("/a\r\n"), "holds a character"),
        (RegexRewrite("(a)", r"\2"), r"names group \\2, the pattern has 1"),
        (RegexRewrite("a", "x\\"), "backslash"),
        (RegexRewrite("a(", "x"), "regular expression"),
    ],
)
def test_bad_rewrites_are_refused(rewrite: PathRewrite, words: str) -> None:
    with pytest.raises(CompileError, match=words):
        compile_path_rewrite(rewrite, ANY, "f")


@pytest.mark.parametrize(("target", "query"), [(b"/a?b=1", b"?b=1"), (b"/a", b""), (b"/a?", b"?"), (b"/a??b", b"??b")])
def test_the_query_of_a_target(target: bytes, query: bytes) -> None:
    assert query_of(target) == query


@pytest.mark.parametrize(
    ("action", "host", "scheme", "expected"),
    [
        (RedirectAction(scheme="https"), "a.com", b"http", b"https://a.com/old?q=1"),
        (RedirectAction(scheme="https"), "a.com:80", b"http", b"https://a.com/old?q=1"),
        (RedirectAction(scheme="https"), "a.com:8080", b"http", b"https://a.com:8080/old?q=1"),
        (RedirectAction(host="b.com"), "a.com:8080", b"http", b"http://b.com/old?q=1"),
        (RedirectAction(host="b.com:81"), "a.com", b"http", b"http://b.com:81/old?q=1"),
        (RedirectAction(port=8443, scheme="https"), "a.com:80", b"http", b"https://a.com:8443/old?q=1"),
        (RedirectAction(port=443, scheme="https"), "a.com:80", b"http", b"https://a.com/old?q=1"),
        (RedirectAction(port=0), "a.com:8080", b"http", b"http://a.com/old?q=1"),
        (RedirectAction(path=FullRewrite("/new")), "a.com", b"http", b"http://a.com/new?q=1"),
        (RedirectAction(path=FullRewrite("new")), "a.com", b"http", b"http://a.com/new?q=1"),
        (RedirectAction(path=FullRewrite("/new?x=2")), "a.com", b"http", b"http://a.com/new?x=2"),
        (RedirectAction(path=FullRewrite("/new"), strip_query=True), "a.com", b"http", b"http://a.com/new"),
        (RedirectAction(host="o.test:81", port=80), "a", b"http", b"http://o.test:81/old?q=1"),
        (RedirectAction(host="o.test:81", port=0), "a", b"http", b"http://o.test:81/old?q=1"),
        (RedirectAction(host="o.test:81", port=8443), "a", b"http", b"http://o.test:8443/old?q=1"),
        (RedirectAction(path=PrefixRewrite("/n")), "[::1]:9080", b"http", b"http://[::1]:9080/n/old?q=1"),
    ],
)
def test_locations(action: RedirectAction, host: str, scheme: bytes, expected: bytes) -> None:
    match = PathMatch(PathKind.PREFIX, "") if isinstance(action.path, PrefixRewrite) else ANY
    assert compile_location(action, match, "f")(head("GET", "/old?q=1", host), scheme) == expected


def test_the_url_that_was_asked_for() -> None:
    assert own_url(head("GET", "/a/b?c=d?", "h:81"), b"https") == b"https://h:81/a/b?c=d?"


def test_a_redirect_needs_a_redirecting_status() -> None:
    with pytest.raises(CompileError, match="not 200"):
        compile_location(RedirectAction(200), ANY, "f")


@pytest.mark.parametrize(
    ("authority", "expected"),
    [(b"a:80", b"a"), (b"a", b"a"), (b"[::1]:80", b"[::1]"), (b"[::1]", b"[::1]"), (b"::1", b"::1"), (b"a:b", b"a:b")],
)
def test_hosts_without_port(authority: bytes, expected: bytes) -> None:
    assert without_port(authority) == expected
