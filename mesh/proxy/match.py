# cython: language_level=3
"""Matchers: the model's predicates compiled to functions of a request head.

Everything is decided when a snapshot is compiled; a compiled matcher does one or two bytes operations.
Regular expressions are RE2 (linear time, whole string), as in Envoy.
"""

from __future__ import annotations

from collections.abc import Callable

import re2

from mesh.model.match import HeaderMatch, PathKind, PathMatch, QueryMatch, RouteMatch, StringKind, StringMatch
from mesh.proxy.head import Head

BytesTest = Callable[[bytes], bool]
HeadTest = Callable[[Head], bool]

# A pattern's compiled program may take this much (Envoy's own default is 8 MiB for the whole cache of a pattern).
_MAX_REGEX_BYTES = 8 << 20


class CompileError(ValueError):
    """Configuration that cannot be turned into decisions. The message names the field and what is wrong."""


def compile_regex(pattern: str, field: str) -> re2._Regexp:
    """An RE2 program over bytes. Raises CompileError naming `field` and RE2's complaint."""
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MAX_REGEX_BYTES
    try:
        # Bytes, as in Envoy: a dot is one byte of any value; a letter beyond ASCII in the pattern is its UTF-8 bytes.
        options.encoding = re2.Options.Encoding.LATIN1
        return re2.compile(pattern.encode(), options)
    except re2.error as exc:
        reason = exc.args[0] if exc.args else "not valid"
        text = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
        raise CompileError(f"{field}: regular expression {pattern!r}: {text}") from exc


def string_test(match: StringMatch, field: str) -> BytesTest:
    """Envoy `StringMatcher` as a function of bytes. Raises CompileError."""
    wanted = match.value.encode()
    if match.kind is StringKind.REGEX:
        if match.ignore_case:
            raise CompileError(f"{field}: ignore_case cannot be combined with a regular expression (use (?i))")
        full = compile_regex(match.value, field).fullmatch
        return lambda value: full(value) is not None
    if match.ignore_case:
        wanted = wanted.lower()
        exact = _case_test(match.kind, wanted)
        return lambda value: exact(value.lower())
    return _case_test(match.kind, wanted)


def _case_test(kind: StringKind, wanted: bytes) -> BytesTest:
    if kind is StringKind.EXACT:
        return wanted.__eq__
    if kind is StringKind.PREFIX:
        return lambda value: value.startswith(wanted)
    if kind is StringKind.SUFFIX:
        return lambda value: value.endswith(wanted)
    return lambda value: wanted in value


def path_test(match: PathMatch, field: str = "path") -> BytesTest | None:
    """The path's predicate; None when every path matches. Raises CompileError."""
    value = match.value.encode()
    if match.kind is PathKind.REGEX:
        if match.ignore_case:
            raise CompileError(f"{field}: ignore_case cannot be combined with a regular expression (use (?i))")
        full = compile_regex(match.value, field).fullmatch
        return lambda path: full(path) is not None
    if match.kind is PathKind.PREFIX and value in (b"", b"/"):
        # A path starts with "/" but for `OPTIONS *` and CONNECT, which only a catch-all can mean.
        return None
    if match.ignore_case:
        folded = _plain_path_test(match.kind, value.lower())
        return lambda path: folded(path.lower())
    return _plain_path_test(match.kind, value)


def _plain_path_test(kind: PathKind, value: bytes) -> BytesTest:
    if kind is PathKind.EXACT:
        return value.__eq__
    if kind is PathKind.PREFIX:
        return lambda path: path.startswith(value)
    if kind is PathKind.SEGMENT_PREFIX:
        prefix = value.rstrip(b"/")
        size = len(prefix)
        return lambda path: path.startswith(prefix) and (len(path) == size or path[size] == 0x2F)
    raise CompileError(f"path: {kind} cannot be compared literally")


def header_test(match: HeaderMatch, field: str) -> HeadTest:
    """Envoy `HeaderMatcher`: an absent header fails every value match, inverted or not, unless it counts as empty.

    Each line of a repeated header is compared on its own, as in Envoy since 1.38: a value cannot be hidden behind another.
    """
    name = match.name.lower()
    read = _reader(name)
    invert = match.invert
    if match.value is None:
        return (lambda head: read(head) is None) if invert else (lambda head: read(head) is not None)
    test = string_test(match.value, f"{field} {match.name}")
    of_absent = match.missing_as_empty and test(b"") != invert
    key = name.encode()

    def matches(head: Head) -> bool:
        value = read(head)
        if value is None:
            return of_absent
        if b"," in value and (lines := head.get_all(key)):
            return any(map(test, lines)) != invert
        return test(value) != invert

    return matches


def _reader(name: str) -> Callable[[Head], bytes | None]:
    match name:
        case ":method":
            return lambda head: head.method
        case ":authority" | "host":
            return lambda head: head.authority
        case ":path":
            return lambda head: head.target
        case ":scheme":
            # Envoy keeps :scheme apart; on a plaintext HTTP/1 connection it is x-forwarded-proto or "http".
            return lambda head: head.get(b"x-forwarded-proto") or b"http"
        case _ if name.startswith(":"):
            raise CompileError(f"headers {name}: not a pseudo-header that can be matched")
        case _:
            key = name.encode()
            return lambda head: head.get(key)


def query_value(query: bytes, name: bytes) -> bytes | None:
    """The first value of a query parameter, not percent-decoded; "" for `?name` and `?name=`; None when absent."""
    for part in query.split(b"&"):
        key, _, value = part.partition(b"=")
        if key == name:
            return value
    return None


def query_test(match: QueryMatch, field: str) -> HeadTest:
    name = match.name.encode()
    if match.value is None:
        return lambda head: query_value(head.query, name) is not None
    test = string_test(match.value, f"{field} {match.name}")

    def matches(head: Head) -> bool:
        value = query_value(head.query, name)
        return value is not None and test(value)

    return matches


def request_tests(match: RouteMatch, field: str) -> tuple[tuple[str, HeadTest], ...]:
    """All predicates but the path's, each with the words `explain` uses for it, cheapest first."""
    tests: list[tuple[str, HeadTest]] = []
    for header in match.headers:
        tests.append((describe_header(header), header_test(header, f"{field} headers")))
    for query in match.query:
        tests.append((describe_query(query), query_test(query, f"{field} query")))
    return tuple(tests)


def describe_path(match: PathMatch) -> str:
    """`path prefix /static`, as shown by `explain` and `meshctl routes`."""
    suffix = " (ignoring case)" if match.ignore_case else ""
    return f"path {match.kind.value.replace('_', ' ')} {match.value}{suffix}"


def describe_header(match: HeaderMatch) -> str:
    negation = "not " if match.invert else ""
    what = "present" if match.value is None else describe_string(match.value)
    subject = "method" if match.name == ":method" else f"header {match.name}"
    return f"{subject} {negation}{what}"


def describe_query(match: QueryMatch) -> str:
    what = "present" if match.value is None else describe_string(match.value)
    return f"query {match.name} {what}"


def describe_string(match: StringMatch) -> str:
    suffix = " (ignoring case)" if match.ignore_case else ""
    return f"{match.kind.value} {match.value}{suffix}"


