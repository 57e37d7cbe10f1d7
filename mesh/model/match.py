"""Predicates on a request, as data. `proxy/route.py` compiles them; nothing here evaluates one."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class StringKind(Enum):
    """How `StringMatch.value` is compared (Envoy `StringMatcher`). REGEX is RE2 and matches the whole string."""

    EXACT = "exact"
    PREFIX = "prefix"
    SUFFIX = "suffix"
    CONTAINS = "contains"
    REGEX = "regex"


@dataclass(frozen=True, slots=True, order=True)
class StringMatch:
    """Envoy `type.matcher.v3.StringMatcher`. `ignore_case` is not allowed with REGEX (as in Envoy)."""

    kind: StringKind
    value: str
    ignore_case: bool = False


class PathKind(Enum):
    """EXACT, plain string PREFIX (Istio), SEGMENT_PREFIX (Gateway API; Envoy `path_separated_prefix`), REGEX (RE2, full)."""

    EXACT = "exact"
    PREFIX = "prefix"
    SEGMENT_PREFIX = "segment_prefix"
    REGEX = "regex"


@dataclass(frozen=True, slots=True, order=True)
class PathMatch:
    """Compared with the path without query. SEGMENT_PREFIX values have no trailing slash; "/" is PREFIX "/"."""

    kind: PathKind = PathKind.PREFIX
    value: str = "/"
    ignore_case: bool = False


@dataclass(frozen=True, slots=True, order=True)
class HeaderMatch:
    """Envoy `HeaderMatcher`. `name` is lower case; `:method`, `:authority`, `:scheme` and `:path` are allowed.

    value None = the header must be present. A header that is sent several times matches when one of its values does.
    `invert` turns the answer round (present -> absent); but an absent header matches no value, inverted or not, unless
    `missing_as_empty` (Envoy `treat_missing_header_as_empty`, Istio's `withoutHeaders`) has it compared as "".
    """

    name: str
    value: StringMatch | None = None
    invert: bool = False
    missing_as_empty: bool = False


@dataclass(frozen=True, slots=True, order=True)
class QueryMatch:
    """Envoy `QueryParameterMatcher`: the first value of a parameter, percent-decoding not applied. None = present."""

    name: str
    value: StringMatch | None = None


@dataclass(frozen=True, slots=True, order=True)
class RouteMatch:
    """All parts must match (Envoy `route.v3.RouteMatch`). The method is a HeaderMatch on `:method`."""

    path: PathMatch = PathMatch()
    headers: tuple[HeaderMatch, ...] = ()
    query: tuple[QueryMatch, ...] = ()
