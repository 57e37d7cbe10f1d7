"""Access log: Envoy's formats compiled to a function from a finished record to one line.

JSON keeps types (numbers are numbers, absent is null) as Envoy's `json_format` does; text prints "-" for absent.
The defaults are Istio's, followed by keys of our own: the trace id and the origin of the route.
"""

from __future__ import annotations

from collections.abc import Callable
from json.encoder import encode_basestring_ascii
from typing import Protocol

from mesh.model.listener import AccessLog
from mesh.proxy.observe.record import Record
from mesh.proxy.operators import Getter, Value, parse, text_of

ISTIO_TEXT = (
    '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% '
    "%RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% "
    '"%UPSTREAM_TRANSPORT_FAILURE_REASON%" %BYTES_RECEIVED% %BYTES_SENT% %DURATION% '
    '%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" '
    '"%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%" %UPSTREAM_CLUSTER_RAW% %UPSTREAM_LOCAL_ADDRESS% '
    "%DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%\n"
)
ISTIO_JSON = (
    ("start_time", "%START_TIME%"),
    ("route_name", "%ROUTE_NAME%"),
    ("method", "%REQ(:METHOD)%"),
    ("path", "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%"),
    ("protocol", "%PROTOCOL%"),
    ("response_code", "%RESPONSE_CODE%"),
    ("response_flags", "%RESPONSE_FLAGS%"),
    ("response_code_details", "%RESPONSE_CODE_DETAILS%"),
    ("connection_termination_details", "%CONNECTION_TERMINATION_DETAILS%"),
    ("bytes_received", "%BYTES_RECEIVED%"),
    ("bytes_sent", "%BYTES_SENT%"),
    ("duration", "%DURATION%"),
    ("upstream_service_time", "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%"),
    ("x_forwarded_for", "%REQ(X-FORWARDED-FOR)%"),
    ("user_agent", "%REQ(USER-AGENT)%"),
    ("request_id", "%REQ(X-REQUEST-ID)%"),
    ("authority", "%REQ(:AUTHORITY)%"),
    ("upstream_host", "%UPSTREAM_HOST%"),
    ("upstream_cluster", "%UPSTREAM_CLUSTER_RAW%"),
    ("upstream_local_address", "%UPSTREAM_LOCAL_ADDRESS%"),
    ("downstream_local_address", "%DOWNSTREAM_LOCAL_ADDRESS%"),
    ("downstream_remote_address", "%DOWNSTREAM_REMOTE_ADDRESS%"),
    ("requested_server_name", "%REQUESTED_SERVER_NAME%"),
    ("upstream_transport_failure_reason", "%UPSTREAM_TRANSPORT_FAILURE_REASON%"),
)
OWN_JSON = (("trace_id", "%TRACE_ID%"), ("route_origin", "%METADATA(ROUTE:triomesh.io)%"))

Format = Callable[[Record], bytes]


class Sink(Protocol):
    def write(self, line: bytes, /) -> None:
        """Take one line, its line feed included. Never waits."""
        ...


class AccessLogger:
    """One access log of one listener."""

    __slots__ = ("_format", "_sink")

    def __init__(self, log: AccessLog, sink: Sink) -> None:
        """Raises CompileError for a format that cannot be evaluated."""
        self._format = compile_format(log)
        self._sink = sink

    def log(self, record: Record) -> None:
        self._sink.write(self._format(record))


def default_log(path: str, encoding: str) -> AccessLog:
    """What ProxyConfig's `accessLog` asks for. encoding: `JSON` or `TEXT`."""
    if encoding == "JSON":
        return AccessLog(path, json=(*ISTIO_JSON, *OWN_JSON))
    if encoding == "TEXT":
        return AccessLog(path, text=ISTIO_TEXT)
    raise ValueError(f"accessLog.format is {encoding!r}, neither JSON nor TEXT")


def compile_format(log: AccessLog) -> Format:
    """Raises CompileError."""
    if log.json is not None:
        return _json(log.json, f"access log {log.path}")
    return _text(log.text or ISTIO_TEXT, f"access log {log.path}")


def _text(text: str, field: str) -> Format:
    parts = parse(text, field)

    def line(record: Record) -> bytes:
        return "".join([part if isinstance(part, str) else text_of(part(record)) for part in parts]).encode()

    return line


def _json(fields: tuple[tuple[str, str], ...], field: str) -> Format:
    # Each field becomes ("{"key":", getter of a JSON value): one loop, one join per line.
    pairs: list[tuple[str, Getter]] = []
    opening = "{"
    for key, text in fields:
        parts = parse(text, f"{field} {key}")
        pairs.append((f"{opening}{encode_basestring_ascii(key)}:", _value(parts)))
        opening = ","
    prefixes = [prefix for prefix, _ in pairs]
    getters = [getter for _, getter in pairs]

    def line(record: Record) -> bytes:
        pieces: list[str] = []
        for prefix, getter in zip(prefixes, getters):
            value = getter(record)
            pieces.append(prefix)
            if value is None:
                pieces.append("null")
            elif isinstance(value, str):
                pieces.append(encode_basestring_ascii(value))
            else:
                pieces.append(str(value))
        pieces.append("}\n" if prefixes else "{}\n")
        return "".join(pieces).encode()

    return line


def _value(parts: tuple[str | Getter, ...]) -> Getter:
    if len(parts) == 1 and not isinstance(parts[0], str):
        return parts[0]

    def joined(record: Record) -> Value:
        return "".join(part if isinstance(part, str) else text_of(part(record)) for part in parts)

    return joined
