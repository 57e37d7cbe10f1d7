"""Failures: every way an exchange can go wrong, with the status, details and body text Envoy's users know.

Source: Envoy `source/common/stream_info` (flags, RESPONSE_CODE_DETAILS) and the bodies its router sends.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from mesh.model.failure import Failure, Flag, Side
from mesh.proxy.reply import LocalReply, reply_to

NO_CLUSTER: Final = Failure(Flag.NO_CLUSTER, Side.LOCAL, 503, "cluster_not_found", True)
NO_HEALTHY_UPSTREAM: Final = Failure(Flag.NO_HEALTHY_UPSTREAM, Side.REMOTE, 503, "no_healthy_upstream", True)
CONNECT_FAILED: Final = Failure(
    Flag.UPSTREAM_CONNECT_FAILURE,
    Side.REMOTE,
    503,
    "upstream_reset_before_response_started{remote_connection_failure}",
    True,
)
CONNECT_TIMEOUT: Final = Failure(
    Flag.UPSTREAM_CONNECT_FAILURE, Side.REMOTE, 503, "upstream_reset_before_response_started{connection_timeout}", True
)
TERMINATED: Final = Failure(
    Flag.UPSTREAM_CONNECTION_TERMINATION,
    Side.REMOTE,
    503,
    "upstream_reset_before_response_started{connection_termination}",
)
TERMINATED_UNSENT: Final = Failure(
    Flag.UPSTREAM_CONNECTION_TERMINATION,
    Side.REMOTE,
    503,
    "upstream_reset_before_response_started{connection_termination}",
    True,
)
"""The connection was dead before the kernel took a byte of the request."""
TERMINATED_MIDWAY: Final = Failure(
    Flag.UPSTREAM_CONNECTION_TERMINATION,
    Side.REMOTE,
    503,
    "upstream_reset_after_response_started{connection_termination}",
)
PROTOCOL_ERROR: Final = Failure(
    Flag.UPSTREAM_PROTOCOL_ERROR, Side.REMOTE, 502, "upstream_reset_before_response_started{protocol_error}"
)
PROTOCOL_ERROR_MIDWAY: Final = Failure(
    Flag.UPSTREAM_PROTOCOL_ERROR, Side.REMOTE, 502, "upstream_reset_after_response_started{protocol_error}"
)
OVERFLOW: Final = Failure(
    Flag.UPSTREAM_OVERFLOW, Side.LOCAL, 503, "upstream_reset_before_response_started{overflow}", True
)
REQUEST_TIMEOUT: Final = Failure(Flag.UPSTREAM_REQUEST_TIMEOUT, Side.REMOTE, 504, "response_timeout")
PER_TRY_TIMEOUT: Final = Failure(Flag.UPSTREAM_REQUEST_TIMEOUT, Side.REMOTE, 504, "upstream_per_try_timeout")
STREAM_IDLE: Final = Failure(Flag.STREAM_IDLE_TIMEOUT, Side.LOCAL, 504, "stream_idle_timeout")
HEADERS_TIMEOUT: Final = Failure(Flag.DOWNSTREAM_PROTOCOL_ERROR, Side.REMOTE, 408, "request_header_timeout")
REQUEST_OVERALL_TIMEOUT: Final = Failure(Flag.DURATION_TIMEOUT, Side.REMOTE, 408, "request_overall_timeout")
DOWNSTREAM_GONE: Final = Failure(Flag.DOWNSTREAM_TERMINATION, Side.REMOTE, 0, "downstream_remote_disconnect")
HTTP2_UNSUPPORTED: Final = Failure(Flag.UPSTREAM_PROTOCOL_ERROR, Side.LOCAL, 503, "http2_upstream_not_supported", True)
TLS_NOT_READY: Final = Failure(
    Flag.UPSTREAM_CONNECT_FAILURE,
    Side.LOCAL,
    503,
    "upstream_reset_before_response_started{local_connection_failure}",
    True,
)
"""The cluster's certificate or roots have not come, or cannot be used."""


def reply_for(failure: Failure, reason: str = "", retried: bool = False) -> LocalReply:
    """What the client is told. reason: the operating system's or the codec's words, if there are any."""
    reply = reply_to(failure)
    body = reply.body
    if retried:
        body = body.replace(b"headers. reset", b"headers. retried and the latest reset")
    if reason and body.startswith(b"upstream connect error"):
        body += b", transport failure reason: " + reason.encode()
    elif not body:
        body = _BODIES.get(failure.details, b"")
    return replace(reply, body=body)


_BODIES: Final = {
    "request_header_timeout": b"request header timeout",
    "request_overall_timeout": b"request timeout",
}


class UpstreamFailed(Exception):
    """One attempt failed before the response's head was forwarded.

    reused: the connection had served before, so that its death may be the idle race.
    """

    def __init__(self, failure: Failure, reason: str = "", reused: bool = False) -> None:
        super().__init__(failure.details)
        self.failure = failure
        self.reason = reason
        self.reused = reused


class DownstreamGone(Exception):
    """The client went away, or cannot be answered any more."""
