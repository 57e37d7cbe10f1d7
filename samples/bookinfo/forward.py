"""Forward: which headers of an incoming request a service hands on, and the calls that carry them.

A proxy sees requests, not which of them caused which: only the application can join the hops of a trace.
Source: the headers that Istio's bookinfo services forward (reference features 2.3).
"""

import http.client
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

# Of every service.
_COMMON = (
    "x-request-id",
    "x-ot-span-context",
    "x-datadog-trace-id",
    "x-datadog-parent-id",
    "x-datadog-sampling-priority",
    "traceparent",
    "tracestate",
    "x-cloud-trace-context",
    "grpc-trace-bin",
    "sw8",
    "user-agent",
    "cookie",
    "authorization",
    "jwt",
)
_B3 = ("x-b3-traceid", "x-b3-spanid", "x-b3-sampled")
# details and reviews pass on all they know; end-user comes from productpage's session only.
BACKEND_HEADERS = (*_COMMON, "end-user", *_B3, "x-b3-parentspanid", "x-b3-flags")


class Unreachable(Exception):
    """No answer: no connection, none in time, or nothing that is HTTP."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What the other service said."""

    status: int
    body: bytes


def backend_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """What details and reviews forward."""
    return {name: headers[name] for name in BACKEND_HEADERS if name in headers}


def page_headers(headers: Mapping[str, str], user: str) -> dict[str, str]:
    """What productpage forwards: `end-user` is the session's, never the client's.

    The B3 context is passed on only if whole, as a tracing library does that reads and writes it.
    """
    result = {name: headers[name] for name in _COMMON if name in headers}
    if headers.get("x-b3-traceid") and headers.get("x-b3-spanid"):
        result |= {name: headers[name] for name in _B3 if name in headers}
    if user:
        result["end-user"] = user
    return result


def get(url: str, headers: Mapping[str, str], timeout_seconds: float) -> Reply:
    """GET over a connection of its own, as the original does: what a connection costs in a mesh should be visible.

    Args: timeout_seconds: for connecting and for every wait for bytes.
    Raises: Unreachable.
    """
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 80, timeout=timeout_seconds)
    try:
        connection.request("GET", parts.path + (f"?{parts.query}" if parts.query else ""), headers=dict(headers))
        answer = connection.getresponse()
        return Reply(answer.status, answer.read())
    except (OSError, http.client.HTTPException) as exc:
        raise Unreachable(f"{url}: {exc!r}") from exc
    finally:
        connection.close()


def base_url(environment: Mapping[str, str], service: str) -> str:
    """Where a service is, by SERVICES_DOMAIN, <SERVICE>_HOSTNAME and <SERVICE>_SERVICE_PORT."""
    domain = environment.get("SERVICES_DOMAIN", "")
    host = environment.get(f"{service.upper()}_HOSTNAME", service)
    port = environment.get(f"{service.upper()}_SERVICE_PORT", "9080")
    # Docker-style links set REVIEWS_SERVICE_PORT; Kubernetes' service links too, as a plain number.
    return f"http://{host}{'.' + domain if domain else ''}:{port}"
