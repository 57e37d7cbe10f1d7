"""Command operators: Envoy's `%NAME(argument)%` in header values and access-log formats, compiled once.

A format is cut into literals and getters when the configuration is compiled; an unknown operator is a CompileError
there, never a question mark at run time. A getter gives str, int, float or None ("-" in text, null in JSON).
Source: Envoy documentation, "Access logging: command operators".
"""

from __future__ import annotations

import re
from collections.abc import Callable

from mesh.proxy.head import Answer
from mesh.proxy.match import CompileError
from mesh.proxy.observe import clock
from mesh.proxy.observe.record import Record

Value = str | int | float | None
Getter = Callable[[Record], Value]

GRPC_NAMES: tuple[str, ...] = (
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
)

_OPERATOR = re.compile(r"%([A-Z0-9_]+)(?:\(([^)]*)\))?(?::(\d+))?%|%%")


def parse(text: str, field: str) -> tuple[str | Getter, ...]:
    """The literals and getters of a format, in order. Raises CompileError naming `field` and the operator."""
    parts: list[str | Getter] = []
    position = 0
    for found in _OPERATOR.finditer(text):
        _literal(parts, text[position : found.start()], field)
        position = found.end()
        if found.group() == "%%":
            _literal_text(parts, "%")
            continue
        name, argument, limit = found.groups()
        parts.append(getter(name, argument, int(limit) if limit else None, field))
    _literal(parts, text[position:], field)
    return tuple(parts)


def _literal(parts: list[str | Getter], text: str, field: str) -> None:
    if "%" in text:
        raise CompileError(f"{field}: a percent sign that starts no operator in {text!r} (write %%)")
    if text:
        _literal_text(parts, text)


def _literal_text(parts: list[str | Getter], text: str) -> None:
    if parts and isinstance(parts[-1], str):
        parts[-1] += text
    else:
        parts.append(text)


def getter(name: str, argument: str | None, limit: int | None, field: str) -> Getter:
    """The function of one operator. Raises CompileError for a name or argument that is not known."""
    get = _getter(name, argument, field)
    if limit is None:
        return get
    size = limit

    def truncated(record: Record) -> Value:
        value = get(record)
        return value[:size] if isinstance(value, str) else value

    return truncated


def _getter(name: str, argument: str | None, field: str) -> Getter:
    if name in _HEADER_SOURCES:
        if not argument:
            raise CompileError(f"{field}: %{name}% needs a header name in brackets")
        return _HEADER_SOURCES[name](argument)
    if name == "START_TIME":
        return clock.start_time_getter(argument, field)
    if name == "METADATA":
        return _metadata(argument or "", field)
    if name == "ENVIRONMENT":
        raise CompileError(f"{field}: %ENVIRONMENT()% is not supported: a proxy's environment is not configuration")
    plain = _PLAIN.get(name)
    if plain is None:
        raise CompileError(f"{field}: unknown command operator %{name}%")
    if argument is not None:
        raise CompileError(f"{field}: %{name}% takes no argument")
    return plain


def text_of(value: Value) -> str:
    """As Envoy prints it in a text format."""
    return "-" if value is None else str(value)


def _metadata(argument: str, field: str) -> Getter:
    # The only metadata a route or cluster of ours carries is who asked for it.
    source, _, rest = argument.partition(":")
    namespace, _, key = rest.partition(":")
    if source not in ("ROUTE", "CLUSTER") or namespace != "triomesh.io" or key not in _ORIGIN_KEYS:
        raise CompileError(f"{field}: %METADATA({argument})% names no metadata that is kept")
    is_route = source == "ROUTE"

    def get(record: Record) -> Value:
        origin = None
        if is_route:
            origin = record.route.origin if record.route is not None else None
        elif record.cluster is not None:
            origin = record.cluster.origin
        if origin is None:
            return None
        return str(getattr(origin, key)) if key else str(origin)

    return get


def _request_header(argument: str) -> Getter:
    first, _, second = argument.partition("?")
    return _either(_request_field(first), _request_field(second) if second else None)


def _request_field(name: str) -> Getter:
    match name.lower():
        case ":method":
            return lambda record: record.head.method.decode("latin-1") or None
        case ":path":
            return lambda record: (record.upstream_path or record.head.target).decode("latin-1") or None
        case "x-envoy-original-path":
            # Set by Envoy on the request when a rewrite changed the path; then :path is the new one.
            return _original_path
        case ":authority" | "host":
            return lambda record: record.head.authority.decode("latin-1") or None
        case ":scheme":
            return lambda record: record.scheme.decode("latin-1")
        case "x-request-id":
            # The generated one too, which the client never sent.
            return lambda record: record.request_id.decode("latin-1") or _text(record.head.get(b"x-request-id"))
        case lower:
            key = lower.encode()
            return lambda record: _text(record.head.get(key))


def _original_path(record: Record) -> Value:
    if record.upstream_path and record.upstream_path != record.head.target:
        return record.head.target.decode("latin-1")
    return _text(record.head.get(b"x-envoy-original-path"))


def _response_header(argument: str) -> Getter:
    first, _, second = argument.partition("?")
    return _either(_response_field(first), _response_field(second) if second else None)


def _response_field(name: str) -> Getter:
    lower = name.lower()
    if lower == ":status":
        return lambda record: record.status or None
    if lower == "x-envoy-upstream-service-time":
        return _upstream_service_time
    key = lower.encode()
    return lambda record: _text_of_header(record.response, key)


def _trailer(argument: str) -> Getter:
    key = argument.lower().encode()
    return lambda record: _text_of_header(record.trailers, key)


def _either(first: Getter, second: Getter | None) -> Getter:
    if second is None:
        return first
    other = second

    def get(record: Record) -> Value:
        value = first(record)
        return other(record) if value is None else value

    return get


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")


def _text_of_header(head: Answer | None, key: bytes) -> str | None:
    return None if head is None else _text(head.get(key))


def _upstream_service_time(record: Record) -> Value:
    milliseconds = record.service_milliseconds()
    return None if milliseconds < 0 else str(milliseconds)


def _without_port(address: str) -> str | None:
    return address.rpartition(":")[0].strip("[]") or None


def _port(address: str) -> str | None:
    return address.rpartition(":")[2] or None


def _milliseconds(start: float, end: float) -> int | None:
    return int((end - start) * 1000.0) if end >= start > 0 else None


_ORIGIN_KEYS = frozenset(("", "kind", "namespace", "name", "rule"))


def _flags(record: Record) -> str | None:
    return ",".join(flag.value for flag in record.flags) or None


def _cluster_name(record: Record) -> str | None:
    return record.cluster.name if record.cluster is not None else None


_HEADER_SOURCES: dict[str, Callable[[str], Getter]] = {
    "REQ": _request_header,
    "RESP": _response_header,
    "TRAILER": _trailer,
}

_PLAIN: dict[str, Getter] = {
    "PROTOCOL": lambda r: r.protocol or None,
    "RESPONSE_CODE": lambda r: r.status,
    "RESPONSE_FLAGS": _flags,
    "RESPONSE_CODE_DETAILS": lambda r: r.details or None,
    "CONNECTION_TERMINATION_DETAILS": lambda r: r.termination_details or None,
    "UPSTREAM_TRANSPORT_FAILURE_REASON": lambda r: r.transport_failure or None,
    "BYTES_RECEIVED": lambda r: r.bytes_received,
    "BYTES_SENT": lambda r: r.bytes_sent,
    "DURATION": lambda r: _milliseconds(r.started_at, r.finished_at),
    "REQUEST_DURATION": lambda r: _milliseconds(r.started_at, r.request_done_at),
    "RESPONSE_DURATION": lambda r: _milliseconds(r.started_at, r.response_started_at),
    "UPSTREAM_HOST": lambda r: r.host.name if r.host is not None else None,
    "UPSTREAM_REMOTE_ADDRESS": lambda r: r.host.name if r.host is not None else None,
    "UPSTREAM_CLUSTER": _cluster_name,
    "UPSTREAM_CLUSTER_RAW": _cluster_name,
    "UPSTREAM_LOCAL_ADDRESS": lambda r: r.upstream_local or None,
    "UPSTREAM_REQUEST_ATTEMPT_COUNT": lambda r: r.attempts,
    "DOWNSTREAM_LOCAL_ADDRESS": lambda r: r.connection.local or None,
    "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT": lambda r: _without_port(r.connection.local),
    "DOWNSTREAM_LOCAL_PORT": lambda r: _port(r.connection.local),
    "DOWNSTREAM_REMOTE_ADDRESS": lambda r: r.connection.remote or None,
    "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT": lambda r: _without_port(r.connection.remote),
    "DOWNSTREAM_REMOTE_PORT": lambda r: _port(r.connection.remote),
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS": lambda r: r.connection.direct_remote or r.connection.remote or None,
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT": lambda r: _without_port(
        r.connection.direct_remote or r.connection.remote
    ),
    "DOWNSTREAM_PEER_URI_SAN": lambda r: r.connection.peer_principal or None,
    "DOWNSTREAM_LOCAL_URI_SAN": lambda r: r.connection.local_principal or None,
    "UPSTREAM_PEER_URI_SAN": lambda r: (r.upstream_security.peer_principal or None) if r.upstream_security else None,
    "UPSTREAM_LOCAL_URI_SAN": lambda r: (r.upstream_security.local_principal or None) if r.upstream_security else None,
    "UPSTREAM_TLS_VERSION": lambda r: (r.upstream_security.version or None) if r.upstream_security else None,
    "DOWNSTREAM_TLS_VERSION": lambda r: r.connection.tls_version or None,
    "REQUESTED_SERVER_NAME": lambda r: r.connection.server_name or None,
    "ROUTE_NAME": lambda r: (r.route.name or None) if r.route is not None else None,
    "TRACE_ID": lambda r: r.trace.trace_id.decode() if r.trace is not None else None,
    "GRPC_STATUS": lambda r: None if r.grpc_status < 0 else GRPC_NAMES[r.grpc_status],
    "GRPC_STATUS_NUMBER": lambda r: None if r.grpc_status < 0 else r.grpc_status,
    "ORIGIN": lambda r: (r.route.origin_text or None) if r.route is not None else None,
}
