"""Pieces that several kinds share: string matches, header mutations, percentages, host names."""

from __future__ import annotations

import re

import re2

from mesh.control.kube.fields import FieldError, Fields, url_part
from mesh.model.match import StringKind, StringMatch
from mesh.model.route import HeaderMutation

CLUSTER_DOMAIN = "cluster.local"

# RFC 9110 5.6.2 token.
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# What a peer could never mean: changing the framing or the routing of the message itself.
_FRAMING_HEADERS = frozenset({"content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer"})
_PERCENT = re.compile(r"%")


def fqdn(host: str, namespace: str) -> str:
    """A short name (no dot) is a Service of the object's own namespace (Istio's rule)."""
    if "." in host or host == "*":
        return host.lower().removesuffix(".") if host != "*" else host
    return f"{host.lower()}.{namespace}.svc.{CLUSTER_DOMAIN}"


def service_host(name: str, namespace: str) -> str:
    return f"{name}.{namespace}.svc.{CLUSTER_DOMAIN}"


def string_match(item: Fields, ignore_case: bool = False) -> StringMatch | None:
    """Istio's StringMatch. None = `{}`: the thing must be present.

    Raises FieldError when several kinds are given or the RE2 pattern does not compile.
    """
    given = [name for name in ("exact", "prefix", "regex") if item.has(name)]
    if not given:
        item.close()
        return None
    if len(given) > 1:
        raise FieldError(item.path, f"has {' and '.join(given)}; exactly one is allowed")
    value = item.text(given[0])
    item.close()
    kind = StringKind(given[0])
    if kind is StringKind.REGEX:
        check_regex(value, item.at("regex"))
        return StringMatch(kind, value)
    return StringMatch(kind, value, ignore_case)


def check_regex(pattern: str, field: str) -> None:
    """Raises FieldError unless RE2 accepts the pattern; Envoy takes no empty one."""
    if not pattern:
        raise FieldError(field, "must not be empty", "InvalidRegex")
    options = re2.Options()
    options.log_errors = False
    try:
        re2.compile(pattern, options)
    except re2.error as error:
        text = error.args[0] if error.args else ""
        message = text.decode(errors="replace") if isinstance(text, bytes) else str(text)
        raise FieldError(field, f"{pattern!r} is no RE2 pattern: {message}", "InvalidRegex") from error


def header_name(name: str, field: str) -> str:
    """Lower case. Raises FieldError when it is no header name."""
    if not _HEADER_NAME.fullmatch(name):
        raise FieldError(field, f"{name!r} is no header name", "InvalidHeader")
    return name.lower()


def mutable_header(name: str, field: str) -> str:
    """A header that a rule may change; Host has its own field (`rewrite.authority`)."""
    lowered = header_name(name, field)
    if lowered in _FRAMING_HEADERS or lowered == "host":
        raise FieldError(field, f"{lowered} is not a rule's to change", "InvalidHeader")
    return lowered


def header_value(value: str, field: str) -> str:
    """A value as its author wrote it, for Envoy: no control characters. Raises FieldError."""
    if any((ord(char) < 0x20 and char != "\t") or ord(char) == 0x7F for char in value):
        raise FieldError(field, "holds a control character", "InvalidHeader")
    return value


def literal(value: str) -> str:
    """A value without command operators: every percent sign is doubled (Gateway API values are literal)."""
    return _PERCENT.sub("%%", value)


def istio_headers(item: Fields | None) -> tuple[HeaderMutation, HeaderMutation]:
    """(request, response) of Istio's `headers`; values may hold Envoy's command operators.

    `set: {Host: x}` is Istio's old way to rewrite the authority: the caller reads it by `host_of`.
    """
    if item is None:
        return HeaderMutation(), HeaderMutation()
    request, response = item.object("request"), item.object("response")
    item.close()
    return _operations(request), _operations(response)


def _operations(item: Fields | None) -> HeaderMutation:
    if item is None:
        return HeaderMutation()
    set_pairs = _pairs(item, "set")
    add_pairs = _pairs(item, "add")
    remove = tuple(mutable_header(name, item.at("remove")) for name in item.texts("remove"))
    item.close()
    return HeaderMutation(set_pairs, add_pairs, remove)


def _pairs(item: Fields, name: str) -> tuple[tuple[str, str], ...]:
    return tuple(
        (mutable_header(key, f"{item.at(name)}[{key}]"), header_value(value, f"{item.at(name)}[{key}]"))
        for key, value in item.text_map(name).items()
        if not (name == "set" and key.lower() in ("host", ":authority"))
    )


def host_of(item: Fields | None) -> str | None:
    """The authority that `headers.request.set` asks for, if any. Raises FieldError."""
    if item is None or (request := item.object("request")) is None:
        return None
    for key, value in request.text_map("set").items():
        if key.lower() in ("host", ":authority"):
            return url_part(value, f"{request.at('set')}[{key}]")
    return None


def percentage(item: Fields, name: str, default: float) -> float:
    """Istio's `percentage: {value: 12.5}`, 0..100."""
    holder = item.object(name)
    if holder is None:
        return default
    value = holder.number("value", 0, 100)
    holder.close()
    return default if value is None else value
