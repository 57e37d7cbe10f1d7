"""What a VirtualService's rule does besides choosing destinations: redirect, rewrite, answer, inject faults, CORS."""

from __future__ import annotations

from dataclasses import replace

from mesh.control.kube.fields import FieldError, Fields
from mesh.control.kube.parse_match import check_regex, percentage, string_match
from mesh.control.kube.rules import RuleMatch
from mesh.model.match import PathKind, StringKind, StringMatch
from mesh.model.route import (
    CorsPolicy,
    DirectResponse,
    Fault,
    FaultAbort,
    FaultDelay,
    FullRewrite,
    PathRewrite,
    PrefixRewrite,
    RedirectAction,
    RegexRewrite,
)

_GRPC_CODES = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
]
_REDIRECT_CODES = frozenset({301, 302, 303, 307, 308})


def redirects(item: Fields, matches: tuple[RuleMatch, ...]) -> tuple[RedirectAction, ...]:
    status = item.integer("redirectCode", 300, 399) or 301
    if status not in _REDIRECT_CODES:
        raise FieldError(item.at("redirectCode"), f"must be one of 301, 302, 303, 307 and 308, is {status}")
    port = item.port("port")
    derive = item.one_of("derivePort", {"FROM_PROTOCOL_DEFAULT": 0, "FROM_REQUEST_PORT": None}, None)
    uri, prefix = item.url_text("uri"), item.url_text("prefixRewrite")
    action = RedirectAction(
        status=status,
        scheme=item.url_text("scheme") or None,
        host=item.url_text("authority") or None,
        port=port if port is not None else derive,
    )
    item.close()
    return tuple(
        replace(action, path=FullRewrite(uri) if uri else _prefix_rewrite(prefix, match) if prefix else None)
        for match in matches
    )


def rewrites(item: Fields, matches: tuple[RuleMatch, ...]) -> tuple[PathRewrite | None, ...]:
    uri, regex = item.url_text("uri"), item.object("uriRegexRewrite")
    found: tuple[PathRewrite | None, ...]
    if regex is not None:
        if uri:
            raise FieldError(item.path, "has uri and uriRegexRewrite; at most one is allowed")
        pattern, substitution = regex.required_text("match"), regex.url_text("rewrite")
        check_regex(pattern, regex.at("match"))
        regex.close()
        found = tuple(RegexRewrite(pattern, substitution) for _ in matches)
    elif uri:
        found = tuple(_prefix_rewrite(uri, match) for match in matches)
    else:
        found = ()
    item.close()
    return found


def _prefix_rewrite(replacement: str, match: RuleMatch) -> PathRewrite:
    """Istio replaces what matched: the prefix, or the whole path of an exact or regex match."""
    if match.match.path.kind is PathKind.REGEX:
        return FullRewrite(replacement)
    return PrefixRewrite(replacement)


def direct_response(item: Fields) -> DirectResponse:
    status = item.integer("status", 100, 599)
    if status is None:
        raise FieldError(item.at("status"), "is required", "Required")
    body = item.object("body")
    content = b""
    if body is not None:
        if body.has("bytes"):
            raise FieldError(body.at("bytes"), "is not supported; use string", "UnsupportedField")
        content = body.text("string").encode()
        body.close()
    item.close()
    return DirectResponse(status, content)


def fault(item: Fields | None) -> Fault | None:
    if item is None:
        return None
    delay, abort = item.object("delay"), item.object("abort")
    parsed = Fault(_delay(delay) if delay else None, _abort(abort) if abort else None)
    item.close()
    return parsed


def _delay(item: Fields) -> FaultDelay:
    seconds = item.seconds("fixedDelay")
    if seconds is None:
        raise FieldError(item.at("fixedDelay"), "is required", "Required")
    # `percent` is Istio's old integer field; neither given means always.
    legacy = item.integer("percent", 0, 100)
    delay = FaultDelay(seconds, percentage(item, "percentage", 100.0 if legacy is None else float(legacy)))
    item.close()
    return delay


def _abort(item: Fields) -> FaultAbort:
    percent = percentage(item, "percentage", 100.0)
    http_status = item.integer("httpStatus", 200, 599)
    grpc_text = item.text("grpcStatus")
    item.close()
    if (http_status is None) == (not grpc_text):
        raise FieldError(item.path, "needs exactly one of httpStatus and grpcStatus")
    if http_status is not None:
        return FaultAbort(percent, http_status=http_status)
    if grpc_text.isdigit() and int(grpc_text) < len(_GRPC_CODES):
        return FaultAbort(percent, grpc_status=int(grpc_text))
    if grpc_text.upper() not in _GRPC_CODES:
        raise FieldError(item.at("grpcStatus"), f"{grpc_text!r} is no gRPC status", "UnsupportedValue")
    return FaultAbort(percent, grpc_status=_GRPC_CODES.index(grpc_text.upper()))


def cors_policy(item: Fields | None) -> CorsPolicy | None:
    if item is None:
        return None
    origins = [match for entry in item.objects("allowOrigins") if (match := string_match(entry)) is not None]
    origins += [
        StringMatch(StringKind.REGEX, ".*") if origin == "*" else StringMatch(StringKind.EXACT, origin)
        for origin in item.texts("allowOrigin")
    ]
    max_age = item.seconds("maxAge")
    policy = CorsPolicy(
        allow_origins=tuple(origins),
        allow_methods=",".join(item.texts("allowMethods")),
        allow_headers=",".join(item.texts("allowHeaders")),
        expose_headers=",".join(item.texts("exposeHeaders")),
        max_age="" if max_age is None else str(int(max_age)),
        allow_credentials=item.boolean("allowCredentials"),
        forward_unmatched=item.one_of(
            "unmatchedPreflights", {"UNSPECIFIED": True, "FORWARD": True, "IGNORE": False}, True
        ),
    )
    item.close()
    return policy
