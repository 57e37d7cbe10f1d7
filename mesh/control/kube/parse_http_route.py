"""HTTPRoute and GRPCRoute → `gateway_api.HttpRoute`.

A match or filter that cannot be honoured must not widen the rule: a bad match is left out, a bad filter makes the
rule answer 500 (Gateway API: "MUST NOT be skipped").
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from mesh.control.kube import gateway_api
from mesh.control.kube.fields import FieldError, Fields, Reader
from mesh.control.kube.parse_core import meta
from mesh.control.kube.parse_match import check_regex, header_name, service_host
from mesh.control.kube.parse_retry import gateway_retry
from mesh.control.kube.parse_route_filter import RuleFilters, backend_headers, rule_filters
from mesh.control.kube.rules import Backend, HttpRule, RuleMatch
from mesh.model.match import HeaderMatch, PathKind, PathMatch, QueryMatch, RouteMatch, StringKind, StringMatch

_KINDS = {"Exact": StringKind.EXACT, "RegularExpression": StringKind.REGEX}
_PATHS = {"Exact": PathKind.EXACT, "PathPrefix": PathKind.SEGMENT_PREFIX, "RegularExpression": PathKind.REGEX}
_METHODS = {m: m for m in ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH")}

MatchParser = Callable[[Fields], RouteMatch]


def http_route(item: Mapping[str, Any]) -> gateway_api.HttpRoute:
    return _route(item, "HTTPRoute", _match, is_grpc=False)


def grpc_route(item: Mapping[str, Any]) -> gateway_api.HttpRoute:
    return _route(item, "GRPCRoute", _grpc_match, is_grpc=True)


def _route(item: Mapping[str, Any], kind: str, match: MatchParser, is_grpc: bool) -> gateway_api.HttpRoute:
    head = meta(item, kind, gateway_api.GROUP)
    reader = Reader(head.ref)
    spec = reader.attempt(lambda: Fields(item.get("spec") or {}, "spec", reader))
    if spec is None:
        return gateway_api.HttpRoute(head, (), is_grpc=is_grpc, problems=tuple(reader.problems))
    namespace = head.namespace
    parents = reader.attempt(lambda: reader.collect(spec.objects("parentRefs"), lambda p: _parent(p, namespace)))
    hostnames = reader.attempt(lambda: tuple(host.lower() for host in spec.texts("hostnames")))
    rules = reader.attempt(lambda: reader.collect(spec.objects("rules"), lambda r: _rule(r, namespace, match)))
    if not spec.has("rules") and not is_grpc:
        # The CRD's default: one rule that matches everything, with nothing to answer.
        rules = (HttpRule("rules[0]", (RuleMatch(),), broken="NoBackends"),)
    spec.close()
    # Unreadable hostnames must not widen the route to every host.
    if hostnames is None:
        rules = ()
    return gateway_api.HttpRoute(head, parents or (), hostnames or (), rules or (), is_grpc, tuple(reader.problems))


def _parent(item: Fields, namespace: str) -> gateway_api.ParentRef:
    parent = gateway_api.ParentRef(
        path=item.path,
        group=item.text("group") if item.has("group") else gateway_api.GROUP,
        kind=item.text("kind", "Gateway"),
        namespace=item.text("namespace") or namespace,
        name=item.required_text("name"),
        section=item.text("sectionName"),
        port=item.port("port"),
        raw=dict(item.value),
    )
    item.ignore("group")
    item.close()
    return parent


def _rule(item: Fields, namespace: str, parse_match: MatchParser) -> HttpRule:
    reader = item.reader
    given = list(item.objects("matches"))
    matches = reader.collect(given, lambda m: RuleMatch(parse_match(m))) if given else (RuleMatch(_ANY),)
    filters = reader.attempt(lambda: rule_filters(item, matches, namespace))
    rule = HttpRule(
        path=item.path.removeprefix("spec."),
        name=item.text("name"),
        matches=matches,
        backends=_backends(item, namespace),
        broken="" if filters is not None else "InvalidFilter",
    )
    filters = filters or RuleFilters()
    rule = replace(
        rule,
        redirects=filters.redirects,
        rewrites=filters.rewrites,
        host_rewrite=filters.host_rewrite,
        mirrors=filters.mirrors,
        cors=filters.cors,
        request_headers=filters.request_headers,
        response_headers=filters.response_headers,
    )
    timeouts, retry = item.object("timeouts"), item.object("retry")
    if timeouts is not None:
        rule = replace(
            rule,
            timeout_seconds=timeouts.seconds("request") or 0.0,
            per_try_timeout_seconds=timeouts.seconds("backendRequest") or None,
        )
        timeouts.close()
    if retry is not None:
        rule = replace(rule, retry=gateway_retry(retry))
    if not rule.backends and not rule.redirects and not rule.broken:
        reader.warn(item.at("backendRefs"), "is empty: the rule answers 500", "NoBackends")
        rule = replace(rule, broken="NoBackends")
    item.close()
    return rule


_ANY = RouteMatch(PathMatch(PathKind.PREFIX, "/"))


def _match(item: Fields) -> RouteMatch:
    path = item.object("path")
    headers = _header_matches(item)
    method = item.one_of("method", _METHODS, "")
    if method:
        headers += (HeaderMatch(":method", StringMatch(StringKind.EXACT, method)),)
    query = _named_matches(item, "queryParams", lambda name, _field: name)
    item.ignore("path")
    match = RouteMatch(
        path=_path(path) if path is not None else _ANY.path,
        headers=headers,
        query=tuple(QueryMatch(name, value) for name, value in query),
    )
    item.close()
    return match


def _path(item: Fields) -> PathMatch:
    kind = item.one_of("type", _PATHS, PathKind.SEGMENT_PREFIX)
    value = item.text("value", "/")
    item.close()
    if kind is PathKind.REGEX:
        check_regex(value, item.at("value"))
        return PathMatch(kind, value)
    if not value.startswith("/"):
        raise FieldError(item.at("value"), f"must start with /, is {value!r}")
    if kind is PathKind.SEGMENT_PREFIX:
        value = value.rstrip("/")
        return PathMatch(kind, value) if value else PathMatch(PathKind.PREFIX, "/")
    return PathMatch(kind, value)


def _header_matches(item: Fields) -> tuple[HeaderMatch, ...]:
    return tuple(HeaderMatch(name, value) for name, value in _named_matches(item, "headers", header_name))


def _named_matches(
    item: Fields, field: str, normalise: Callable[[str, str], str]
) -> tuple[tuple[str, StringMatch], ...]:
    """The first entry of a name counts, later ones are ignored (Gateway API)."""
    found: dict[str, StringMatch] = {}
    for entry in item.objects(field):
        kind = entry.one_of("type", _KINDS, StringKind.EXACT)
        name = normalise(entry.required_text("name"), entry.at("name"))
        value = entry.text("value")
        if kind is StringKind.REGEX:
            check_regex(value, entry.at("value"))
        entry.close()
        found.setdefault(name, StringMatch(kind, value))
    return tuple(found.items())


def _grpc_match(item: Fields) -> RouteMatch:
    method = item.object("method")
    headers = _header_matches(item)
    item.close()
    return RouteMatch(_ANY.path if method is None else _grpc_path(method), headers)


def _grpc_path(item: Fields) -> PathMatch:
    kind = item.one_of("type", _KINDS, StringKind.EXACT)
    service, method = item.text("service"), item.text("method")
    item.close()
    if not service and not method:
        raise FieldError(item.path, "needs service or method")
    if kind is StringKind.EXACT and service:
        return (
            PathMatch(PathKind.EXACT, f"/{service}/{method}") if method else PathMatch(PathKind.PREFIX, f"/{service}/")
        )
    if kind is StringKind.EXACT:
        return PathMatch(PathKind.REGEX, f"/[^/]+/{re.escape(method)}")
    pattern = f"/{service or '[^/]+'}/{method or '[^/]+'}"
    check_regex(pattern, item.path)
    return PathMatch(PathKind.REGEX, pattern)


def _backends(rule: Fields, namespace: str) -> tuple[Backend, ...]:
    found = []
    for item in rule.objects("backendRefs"):
        weight = item.integer("weight", 0, 1_000_000)
        request, response = backend_headers(item, namespace)
        backend = backend_ref(item, namespace)
        found.append(
            replace(
                backend,
                weight=1 if weight is None else weight,
                request_headers=request,
                response_headers=response,
            )
        )
    return tuple(found)


def backend_ref(item: Fields, namespace: str) -> Backend:
    """The Service that a backendRef names. A reference that can never resolve is noted and carries the reason."""
    group, kind = item.text("group"), item.text("kind", "Service")
    name, port = item.required_text("name"), item.port("port")
    target = item.text("namespace") or namespace
    item.close()
    invalid = ""
    if (group, kind) != ("", "Service"):
        invalid = "InvalidKind"
        item.reader.error(item.at("kind"), f"{group or 'core'}/{kind} is no kind that traffic can go to", invalid)
    elif port is None:
        invalid = "UnsupportedValue"
        item.reader.error(item.at("port"), "is required for a Service", "UnsupportedValue")
    return Backend(
        host=service_host(name, target), port=port, field=item.path, namespace=target, name=name, invalid=invalid
    )
