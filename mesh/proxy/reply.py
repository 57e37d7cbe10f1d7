"""Local replies: answers that the proxy makes itself, and what they look like to a gRPC client.

Bodies and details are Envoy's, because that is what people search for.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from types import MappingProxyType
from urllib.parse import quote

from mesh.model.failure import Failure, Flag

# gRPC over HTTP/2, "HTTP to gRPC status code mapping"; everything else is UNKNOWN (2).
GRPC_OF_HTTP: Mapping[int, int] = MappingProxyType(
    {400: 13, 401: 16, 403: 7, 404: 12, 429: 14, 502: 14, 503: 14, 504: 14}
)

_GRPC = b"application/grpc"

_BODIES: Mapping[Flag, bytes] = MappingProxyType(
    {
        Flag.NO_HEALTHY_UPSTREAM: b"no healthy upstream",
        Flag.UPSTREAM_CONNECT_FAILURE: b"upstream connect error or disconnect/reset before headers. "
        b"reset reason: connection failure",
        Flag.UPSTREAM_CONNECTION_TERMINATION: b"upstream connect error or disconnect/reset before headers. "
        b"reset reason: connection termination",
        Flag.UPSTREAM_RESET: b"upstream connect error or disconnect/reset before headers. reset reason: remote reset",
        Flag.UPSTREAM_OVERFLOW: b"upstream connect error or disconnect/reset before headers. reset reason: overflow",
        Flag.UPSTREAM_PROTOCOL_ERROR: b"upstream connect error or disconnect/reset before headers. "
        b"reset reason: protocol error",
        Flag.UPSTREAM_REQUEST_TIMEOUT: b"upstream request timeout",
        Flag.STREAM_IDLE_TIMEOUT: b"stream timeout",
        Flag.UNAUTHORIZED: b"RBAC: access denied",
        Flag.RATE_LIMITED: b"local_rate_limited",
    }
)


@dataclass(frozen=True, slots=True)
class LocalReply:
    """status and reason; `headers`: whole lines with CRLF, without framing (the encoder adds Content-Length).

    flags: response flags to note in the record; details: its RESPONSE_CODE_DETAILS.
    grpc_status: what a gRPC client is told; None = derived from the HTTP status.
    """

    status: int
    body: bytes = b""
    headers: bytes = b""
    flags: tuple[Flag, ...] = ()
    details: str = ""
    grpc_status: int | None = None
    content_type: bytes = b"text/plain"

    @property
    def reason(self) -> bytes:
        try:
            return HTTPStatus(self.status).phrase.encode()
        except ValueError:
            return b"Unknown"  # 555 and other non-standard codes are legal in a fault

    def header_lines(self) -> bytes:
        """`headers` and the content type of a body."""
        if not self.body:
            return self.headers
        return b"%bcontent-type: %b\r\n" % (self.headers, self.content_type)

    def for_grpc(self) -> LocalReply:
        """The same for a gRPC client: HTTP 200, a trailers-only response with grpc-status and grpc-message. Idempotent.

        Source: gRPC over HTTP/2, "Responses"; Envoy does so for every local reply.
        """
        if self.content_type == _GRPC:
            return self
        status = self.grpc_status if self.grpc_status is not None else GRPC_OF_HTTP.get(self.status, 2)
        lines = b"%bcontent-type: %b\r\ngrpc-status: %d\r\n" % (self.headers, _GRPC, status)
        if self.body:
            lines += b"grpc-message: %b\r\n" % quote(self.body[:1024], safe=" !#$&'()*+,/:;<=>?@[]\"").encode()
        return LocalReply(200, b"", lines, self.flags, self.details, status, _GRPC)


def reply_to(failure: Failure) -> LocalReply:
    """What a client is told about an exchange that failed for good."""
    headers = b"x-envoy-overloaded: true\r\n" if failure.flag is Flag.UPSTREAM_OVERFLOW else b""
    return LocalReply(
        failure.status, _BODIES.get(failure.flag, b""), headers, (failure.flag,), failure.details
    )


NO_ROUTE = LocalReply(404, flags=(Flag.NO_ROUTE,), details="route_not_found")
NO_HEALTHY_UPSTREAM = LocalReply(
    503, b"no healthy upstream", flags=(Flag.NO_HEALTHY_UPSTREAM,), details="no_healthy_upstream"
)


def no_cluster(status: int) -> LocalReply:
    """The route names a cluster that does not exist. status: the route's `missing_cluster_status`."""
    return LocalReply(status, flags=(Flag.NO_CLUSTER,), details="cluster_not_found")


def encode_reply(reply: LocalReply, server: bytes, method: bytes, minor: int, keep: bool) -> bytes:
    """A whole answer of our own on the wire."""
    connection = b"" if keep and minor else (b"connection: keep-alive\r\n" if keep else b"connection: close\r\n")
    length = b"" if reply.status in (204, 304) else b"content-length: %d\r\n" % len(reply.body)
    return b"HTTP/1.1 %d %b\r\n%b%bdate: %b\r\nserver: %b\r\n%b\r\n%b" % (
        reply.status,
        reply.reason,
        length,
        reply.header_lines(),
        http_date(),
        server,
        connection,
        b"" if method == b"HEAD" or reply.status in (204, 304) else reply.body,
    )


def http_date() -> bytes:
    """IMF-fixdate of now (RFC 9110 5.6.7), formatted once per second. The process never sets a locale."""
    second = int(time.time())
    if _date[0] != second:
        _date[0] = second
        _date[1] = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(second)).encode()
    return _date[1]  # type: ignore[return-value]


_date: list[int | bytes] = [0, b""]
