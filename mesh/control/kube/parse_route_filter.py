"""Filters of HTTPRoute rules and backendRefs."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from mesh.control.kube.fields import FieldError, Fields
from mesh.control.kube.parse_match import header_value, literal, mutable_header
from mesh.control.kube.rules import MirrorTo, RuleMatch
from mesh.model.match import PathKind, StringKind, StringMatch
from mesh.model.route import (
    NO_MUTATION,
    CorsPolicy,
    FullRewrite,
    HeaderMutation,
    PathRewrite,
    PrefixRewrite,
    RedirectAction,
    RegexRewrite,
)

_REDIRECT_CODES = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True, slots=True)
class RuleFilters:
    """What a rule's filters come to. redirects and rewrites go with the rule's matches."""

    request_headers: HeaderMutation = NO_MUTATION
    response_headers: HeaderMutation = NO_MUTATION
    redirects: tuple[RedirectAction, ...] = ()
    rewrites: tuple[PathRewrite | None, ...] = ()
    host_rewrite: str | None = None
    mirrors: tuple[MirrorTo, ...] = ()
    cors: CorsPolicy | None = None


def rule_filters(rule: Fields, matches: tuple[RuleMatch, ...], namespace: str) -> RuleFilters:
    """Raises FieldError when a filter cannot be carried out: the caller makes the rule answer 500."""
    filters = RuleFilters()
    for item in rule.objects("filters"):
        kind = item.required_text("type")
        if kind == "RequestHeaderModifier":
            filters = replace(filters, request_headers=_modifier(item, "requestHeaderModifier"))
        elif kind == "ResponseHeaderModifier":
            filters = replace(filters, response_headers=_modifier(item, "responseHeaderModifier"))
        elif kind == "RequestRedirect":
            filters = replace(filters, redirects=_redirects(_part(item, "requestRedirect"), matches))
        elif kind == "URLRewrite":
            rewrite = _part(item, "urlRewrite")
            host = rewrite.url_text("hostname") or None
            filters = replace(filters, rewrites=_paths(rewrite, matches), host_rewrite=host)
            rewrite.close()
        elif kind == "RequestMirror":
            mirror = _mirror(_part(item, "requestMirror"), namespace)
            filters = replace(filters, mirrors=(*filters.mirrors, mirror))
        elif kind == "CORS":
            filters = replace(filters, cors=_cors(_part(item, "cors")))
        else:
            raise FieldError(item.at("type"), f"{kind} is not supported", "UnsupportedValue")
        item.close()
    if filters.redirects and (filters.rewrites or filters.host_rewrite):
        raise FieldError(rule.at("filters"), "RequestRedirect and URLRewrite exclude each other", "IncompatibleFilters")
    return filters


def backend_headers(item: Fields, namespace: str) -> tuple[HeaderMutation, HeaderMutation]:
    """(request, response) changes of one backendRef; other filters are refused there."""
    request = response = NO_MUTATION
    for entry in item.objects("filters"):
        kind = entry.required_text("type")
        if kind == "RequestHeaderModifier":
            request = _modifier(entry, "requestHeaderModifier")
        elif kind == "ResponseHeaderModifier":
            response = _modifier(entry, "responseHeaderModifier")
        else:
            raise FieldError(entry.at("type"), f"{kind} is not supported on a backendRef", "UnsupportedValue")
        entry.close()
    return request, response


def _part(item: Fields, name: str) -> Fields:
    part = item.object(name)
    if part is None:
        raise FieldError(item.at(name), "is required by the filter's type", "Required")
    return part


def _modifier(item: Fields, name: str) -> HeaderMutation:
    part = _part(item, name)
    mutation = HeaderMutation(
        set=_pairs(part, "set"),
        add=_pairs(part, "add"),
        remove=tuple(mutable_header(header, part.at("remove")) for header in part.texts("remove")),
    )
    part.close()
    return mutation


def _pairs(part: Fields, name: str) -> tuple[tuple[str, str], ...]:
    found: dict[str, str] = {}
    for entry in part.objects(name):
        header = mutable_header(entry.required_text("name"), entry.at("name"))
        value = literal(header_value(entry.text("value"), entry.at("value")))
        entry.close()
        found.setdefault(header, value)
    return tuple(found.items())


def _redirects(item: Fields, matches: tuple[RuleMatch, ...]) -> tuple[RedirectAction, ...]:
    status = item.integer("statusCode", 300, 399) or 302
    if status not in _REDIRECT_CODES:
        raise FieldError(item.at("statusCode"), f"must be 301, 302, 303, 307 or 308, is {status}", "UnsupportedValue")
    scheme = item.one_of("scheme", {"http": "http", "https": "https"}, "") or None
    port = item.port("port")
    action = RedirectAction(
        status=status,
        scheme=scheme,
        host=item.url_text("hostname") or None,
        # A new scheme means its well-known port; otherwise the one the request came to stays.
        port=port if port is not None else (0 if scheme else None),
    )
    paths = _paths(item, matches)
    item.close()
    return tuple(replace(action, path=paths[index] if paths else None) for index in range(len(matches)))


def _paths(item: Fields, matches: tuple[RuleMatch, ...]) -> tuple[PathRewrite | None, ...]:
    """The path modifier for each match; () when there is none."""
    path = item.object("path")
    if path is None:
        return ()
    kind = path.required_text("type")
    if kind == "ReplaceFullPath":
        full = path.url_text("replaceFullPath")
        path.close()
        return tuple(FullRewrite(full or "/") for _ in matches)
    if kind != "ReplacePrefixMatch":
        raise FieldError(path.at("type"), f"{kind} is not supported", "UnsupportedValue")
    replacement = path.url_text("replacePrefixMatch")
    path.close()
    for match in matches:
        if match.match.path.kind not in (PathKind.SEGMENT_PREFIX, PathKind.PREFIX):
            raise FieldError(path.at("replacePrefixMatch"), "goes with PathPrefix matches only", "IncompatibleFilters")
    return tuple(_prefix(match.match.path.value, replacement) for match in matches)


def _prefix(matched: str, replacement: str) -> PathRewrite:
    """Whole segments are replaced, and no slash is doubled or lost (the table of HTTPPathModifier)."""
    replacement = replacement.rstrip("/")
    if matched == "/":
        return PrefixRewrite(f"{replacement}/")
    if replacement:
        return PrefixRewrite(replacement)
    return RegexRewrite(f"^{re.escape(matched)}/*", "/")


def _mirror(item: Fields, namespace: str) -> MirrorTo:
    # Imported here: backendRefs have filters and this filter has a backendRef.
    from mesh.control.kube.parse_http_route import backend_ref

    backend = backend_ref(_part(item, "backendRef"), namespace)
    percent = item.number("percent", 0, 100)
    fraction = item.object("fraction")
    if fraction is not None:
        numerator = fraction.integer("numerator", 0, 1 << 31) or 0
        denominator = fraction.integer("denominator", 1, 1 << 31) or 100
        percent = 100.0 * numerator / denominator
        fraction.close()
    item.close()
    return MirrorTo(backend, 100.0 if percent is None else percent)


def _cors(item: Fields) -> CorsPolicy:
    max_age = item.integer("maxAge", 0, 1 << 31)
    policy = CorsPolicy(
        allow_origins=tuple(_origin(origin) for origin in item.texts("allowOrigins")),
        allow_methods=",".join(item.texts("allowMethods")),
        allow_headers=",".join(item.texts("allowHeaders")),
        expose_headers=",".join(item.texts("exposeHeaders")),
        # The field's default is 5 seconds.
        max_age=str(5 if max_age is None else max_age),
        allow_credentials=item.boolean("allowCredentials"),
    )
    item.close()
    return policy


def _origin(origin: str) -> StringMatch:
    if "*" not in origin:
        return StringMatch(StringKind.EXACT, origin)
    return StringMatch(StringKind.REGEX, re.escape(origin).replace(r"\*", ".*"))
