"""VirtualService → `istio.VirtualService`. Every rule stands alone: a bad one is left out, the others work."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from mesh.control.kube import istio
from mesh.control.kube.fields import FieldError, Fields, Reader
from mesh.control.kube.parse_core import meta
from mesh.control.kube.parse_http_action import cors_policy, direct_response, fault, redirects, rewrites
from mesh.control.kube.parse_match import (
    fqdn,
    header_name,
    host_of,
    istio_headers,
    percentage,
    string_match,
)
from mesh.control.kube.parse_retry import istio_retry
from mesh.control.kube.rules import Backend, HttpRule, MirrorTo, RuleMatch, Where
from mesh.model.addr import Cidr
from mesh.model.match import HeaderMatch, PathKind, PathMatch, QueryMatch, RouteMatch, StringMatch

_HOST = re.compile(r"(\*|(\*\.)?[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*)")


def virtual_service(item: Mapping[str, Any]) -> istio.VirtualService:
    head = meta(item, "VirtualService", istio.GROUP)
    reader = Reader(head.ref)
    spec = reader.attempt(lambda: Fields(item.get("spec") or {}, "spec", reader))
    if spec is None:
        return istio.VirtualService(head, (), frozenset(), problems=tuple(reader.problems))
    namespace = head.namespace
    hosts = reader.attempt(lambda: _hosts(spec, namespace)) or ()
    gateways = reader.attempt(lambda: gateway_names(spec.texts("gateways"), namespace))
    export_to = reader.attempt(lambda: exported(spec.texts("exportTo"), namespace))
    http = reader.attempt(lambda: reader.collect(spec.objects("http"), lambda rule: _http(rule, namespace)))
    tcp = reader.attempt(lambda: reader.collect(spec.objects("tcp"), lambda rule: _l4(rule, namespace, is_tls=False)))
    tls = reader.attempt(lambda: reader.collect(spec.objects("tls"), lambda rule: _l4(rule, namespace, is_tls=True)))
    spec.close()
    # A gateways list that cannot be read binds to nothing: widening it to the mesh would be worse than silence.
    bound = frozenset() if gateways is None else (gateways or frozenset({istio.MESH}))
    # Without the field it is a delegate, which has its hosts from whoever delegates to it.
    if not hosts and (spec.has("hosts") or not http):
        reader.error("spec.hosts", "names no usable host", "Required")
    return istio.VirtualService(
        meta=head,
        hosts=hosts,
        gateways=bound,
        http=http or (),
        tcp=tcp or (),
        tls=tls or (),
        export_to=frozenset({namespace}) if export_to is None else export_to,
        problems=tuple(reader.problems),
    )


def exported(names: tuple[str, ...], namespace: str) -> frozenset[str]:
    """Istio's exportTo: `.` is the own namespace, `*` (also when left out) everybody, `~` nobody."""
    if "*" in names or not names:
        return frozenset()
    return frozenset(namespace if name == "." else name for name in names)


def gateway_names(names: tuple[str, ...], namespace: str) -> frozenset[str]:
    """`mesh` stays; others become `ns/name`."""
    return frozenset(
        name if name == istio.MESH or "/" in name else f"{namespace}/{name.split('.')[0]}" for name in names
    )


def _hosts(spec: Fields, namespace: str) -> tuple[str, ...]:
    found = []
    for index, host in enumerate(spec.texts("hosts")):
        name = fqdn(host, namespace)
        if _HOST.fullmatch(name) or ":" in name:
            found.append(name)
        else:
            spec.reader.error(f"spec.hosts[{index}]", f"{host!r} is no host name", "InvalidHost")
    return tuple(dict.fromkeys(found))


def _http(rule: Fields, namespace: str) -> HttpRule:
    reader = rule.reader
    headers = rule.object("headers")
    request_headers, response_headers = istio_headers(headers)
    given = list(rule.objects("match"))
    matches = tuple(m for item in given if (m := reader.attempt(lambda item=item: _match(item, namespace))))  # type: ignore[misc]
    if not given:
        matches = (RuleMatch(),)
    redirect, direct = rule.object("redirect"), rule.object("directResponse")
    destinations = tuple(rule.objects("route"))
    delegate = _delegate(rule.object("delegate"), namespace)
    if sum((redirect is not None, direct is not None, bool(destinations), delegate is not None)) != 1:
        raise FieldError(rule.path, "needs exactly one of route, redirect, directResponse and delegate")
    rewrite = rule.object("rewrite")
    parsed = HttpRule(
        path=_spec_path(rule.path),
        name=rule.text("name"),
        matches=matches,
        backends=_backends(rule, destinations, namespace),
        redirects=redirects(redirect, matches) if redirect is not None else (),
        direct=direct_response(direct) if direct is not None else None,
        delegate=delegate,
        host_rewrite=host_of(headers),
        timeout_seconds=rule.seconds("timeout") or 0.0,
        fault=fault(rule.object("fault")),
        cors=cors_policy(rule.object("corsPolicy")),
        mirrors=_mirrors(rule, namespace),
        request_headers=request_headers,
        response_headers=response_headers,
    )
    retries = rule.object("retries")
    if retries is not None:
        retry, per_try = istio_retry(retries)
        parsed = replace(parsed, retry=retry, per_try_timeout_seconds=per_try)
    if rewrite is not None:
        authority = rewrite.url_text("authority")
        parsed = replace(parsed, rewrites=rewrites(rewrite, matches), host_rewrite=authority or parsed.host_rewrite)
    rule.close()
    return parsed


def _delegate(item: Fields | None, namespace: str) -> tuple[str, str] | None:
    if item is None:
        return None
    target = (item.text("namespace") or namespace, item.required_text("name"))
    item.close()
    return target


def _spec_path(path: str) -> str:
    """`spec.http[0]` → `http[0]`: the rule of an Origin."""
    return path.removeprefix("spec.")


def _match(item: Fields, namespace: str) -> RuleMatch:
    ignore_case = item.boolean("ignoreUriCase")
    uri = item.object("uri")
    path = PathMatch()
    if uri is not None:
        value = string_match(uri, ignore_case)
        if value is None:
            raise FieldError(uri.path, "needs one of exact, prefix and regex")
        path = PathMatch(PathKind(value.kind.value), value.value, value.ignore_case)
    headers = [
        HeaderMatch(header_name(name, holder.path), string_match(holder)) for name, holder in item.entries("headers")
    ]
    headers += [
        _without(header_name(name, holder.path), string_match(holder)) for name, holder in item.entries("withoutHeaders")
    ]
    for field, pseudo in (("method", ":method"), ("authority", ":authority"), ("scheme", ":scheme")):
        holder = item.object(field)
        if holder is not None and (wanted := string_match(holder)) is not None:
            headers.append(HeaderMatch(pseudo, wanted))
    query = tuple(QueryMatch(name, string_match(holder)) for name, holder in item.entries("queryParams"))
    where = _where(item, namespace)
    item.ignore("name", "statPrefix")
    item.close()
    return RuleMatch(RouteMatch(path, tuple(headers), query), where)


def _without(name: str, value: StringMatch | None) -> HeaderMatch:
    # A request that has no such header is one without that value, too.
    return HeaderMatch(name, value, invert=True, missing_as_empty=value is not None)


def _where(item: Fields, namespace: str) -> Where:
    names = item.texts("gateways")
    return Where(
        gateways=gateway_names(names, namespace) if names else None,
        port=item.port("port"),
        source_labels=item.text_map("sourceLabels"),
        source_namespace=item.text("sourceNamespace"),
    )


def _backends(rule: Fields, destinations: tuple[Fields, ...], namespace: str) -> tuple[Backend, ...]:
    found = []
    for item in destinations:
        backend = _destination(item, namespace)
        weight = item.integer("weight", 0, (1 << 31) - 1)
        request, response = istio_headers(item.object("headers"))
        item.close()
        # One destination needs no weight; with several, a missing one is 0 (protobuf's default), as in Istio.
        found.append(
            replace(
                backend,
                weight=(1 if len(destinations) == 1 else 0) if weight is None else weight,
                request_headers=request,
                response_headers=response,
            )
        )
    if len(found) > 1 and not any(backend.weight for backend in found):
        raise FieldError(rule.at("route"), "the weights of its destinations sum to 0", "InvalidWeight")
    if sum(backend.weight for backend in found) >= 1 << 32:  # Envoy adds them up in a uint32
        raise FieldError(rule.at("route"), "the weights of its destinations sum to more than 4294967295", "InvalidWeight")
    if len(found) == 1 and found[0].weight == 0:
        found[0] = replace(found[0], weight=1)
    return tuple(found)


def _destination(holder: Fields, namespace: str) -> Backend:
    item = holder.object("destination")
    if item is None:
        raise FieldError(holder.at("destination"), "is required", "Required")
    host = item.required_text("host")
    port = item.object("port")
    number = None
    if port is not None:
        number = port.port("number")
        port.close()
    backend = Backend(host=fqdn(host, namespace), port=number, subset=item.text("subset"), field=item.path)
    item.close()
    return backend


def _mirrors(rule: Fields, namespace: str) -> tuple[MirrorTo, ...]:
    found = []
    single = rule.object("mirror")
    percent = percentage(rule, "mirrorPercentage", 100.0)
    legacy = rule.integer("mirrorPercent", 0, 100)
    if single is not None:
        holder = Fields({"destination": dict(single.value)}, rule.path, rule.reader)
        backend = replace(_destination(holder, namespace), field=single.path)
        found.append(MirrorTo(backend, percent if legacy is None else float(legacy)))
    for item in rule.objects("mirrors"):
        found.append(MirrorTo(_destination(item, namespace), percentage(item, "percentage", 100.0)))
        item.close()
    return tuple(mirror for mirror in found if mirror.percent > 0)


def _l4(rule: Fields, namespace: str, is_tls: bool) -> istio.L4Rule:
    backends = _backends(rule, tuple(rule.objects("route")), namespace)
    if not backends:
        raise FieldError(rule.at("route"), "is required", "Required")
    given = list(rule.objects("match"))
    matches = rule.reader.collect(given, lambda item: _l4_match(item, namespace, is_tls))
    rule.close()
    if is_tls and not given:
        raise FieldError(rule.at("match"), "is required: sniHosts say which connections are meant", "Required")
    return istio.L4Rule(_spec_path(rule.path), matches if given else (istio.L4Match(),), backends)


def _l4_match(item: Fields, namespace: str, is_tls: bool) -> istio.L4Match:
    names = tuple(name.lower() for name in item.texts("sniHosts")) if is_tls else ()
    if is_tls and not names:
        raise FieldError(item.at("sniHosts"), "is required", "Required")
    subnets = []
    for index, text in enumerate(item.texts("destinationSubnets")):
        try:
            subnets.append(Cidr.parse(text))
        except ValueError as error:
            raise FieldError(f"{item.at('destinationSubnets')}[{index}]", str(error)) from error
    match = istio.L4Match(_where(item, namespace), names, tuple(subnets))
    item.close()
    return match
