"""Httpbin's useful part: /get /post /put /patch /delete /anything /headers /user-agent /uuid /status /delay /bytes
/redirect-to /response-headers /health. Answers name the pod, so that a split of traffic shows.
"""

import json
import os
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from samples.bookinfo.web import Request, Response, serve

_MAX_BYTES = 1024 * 1024
_MAX_DELAY_SECONDS = 10.0
_METHOD_PATHS = {"get": ("GET", "HEAD"), "post": ("POST",), "put": ("PUT",), "patch": ("PATCH",), "delete": ("DELETE",)}


class HttpBin:
    """The service. Args: environment: HOSTNAME, SERVICE_VERSION. wait: sleeps that many seconds."""

    def __init__(self, environment: Mapping[str, str], wait: Callable[[float], None] = time.sleep) -> None:
        self._pod, self._version = environment.get("HOSTNAME", ""), environment.get("SERVICE_VERSION", "v1")
        self._wait = wait

    def handle(self, request: Request) -> Response:
        """Every path of the service."""
        word, _, rest = request.path.strip("/").partition("/")
        if word in _METHOD_PATHS and request.method not in _METHOD_PATHS[word]:
            return Response(405, b"method not allowed\n", "text/plain", (("allow", ", ".join(_METHOD_PATHS[word])),))
        match word:
            case "" | "anything" | "get" | "post" | "put" | "patch" | "delete":
                return self._tell(request)
            case "headers":
                return _json({"headers": dict(request.headers)})
            case "user-agent":
                return _json({"user-agent": request.headers.get("user-agent", "")})
            case "uuid":
                return _json({"uuid": str(uuid.uuid4())})
            case "health":
                return Response(200, b"ok\n", "text/plain")
            case "status":
                return _status(rest)
            case "delay":
                return self._delay(request, rest)
            case "bytes":
                return _bytes(rest)
            case "redirect-to":
                return _redirect(request)
            case "response-headers":
                return _response_headers(request)
        return Response(404, b"not found\n", "text/plain")

    def _tell(self, request: Request) -> Response:
        return _json(
            {
                "method": request.method,
                "path": request.path,
                "args": dict(request.query),
                "headers": dict(request.headers),
                "data": request.body.decode("utf-8", "replace"),
                "pod": self._pod,
                "version": self._version,
            }
        )

    def _delay(self, request: Request, text: str) -> Response:
        seconds = _number(text, _MAX_DELAY_SECONDS)
        if seconds is None:
            return _refused(f"delay: {text!r} is not a number of seconds from 0 to {_MAX_DELAY_SECONDS:g}")
        self._wait(seconds)
        return self._tell(request)


def _status(text: str) -> Response:
    code = _number(text, 599)
    if code is None or code < 200 or code != int(code):
        return _refused(f"status: {text!r} is not a status from 200 to 599")
    return Response(int(code))


def _bytes(text: str) -> Response:
    count = _number(text, _MAX_BYTES)
    if count is None or count != int(count):
        return _refused(f"bytes: {text!r} is not a count from 0 to {_MAX_BYTES}")
    return Response(200, bytes(index & 0xFF for index in range(int(count))), "application/octet-stream")


def _redirect(request: Request) -> Response:
    url, code = request.query.get("url", ""), request.query.get("status_code", "302")
    if not url or not url.isprintable() or not url.isascii() or code not in ("301", "302", "303", "307", "308"):
        return _refused("redirect-to: needs url, and status_code (if any) of 301, 302, 303, 307 or 308")
    return Response(int(code), headers=(("location", url),))


def _response_headers(request: Request) -> Response:
    if bad := [name for name, value in request.query.items() if not _is_header(name, value)]:
        return _refused(f"response-headers: {bad[0]!r} cannot be a header")
    return Response(200, b"{}", headers=tuple(request.query.items()))


def _is_header(name: str, value: str) -> bool:
    framing = ("content-length", "connection", "transfer-encoding", "date")
    plain = name.isascii() and name.replace("-", "").isalnum() and value.isascii() and (not value or value.isprintable())
    return plain and name.lower() not in framing


def _number(text: str, most: float) -> float | None:
    if not text.isascii() or not text.replace(".", "", 1).isdigit() or len(text) > 9:
        return None
    return float(text) if float(text) <= most else None


def _refused(message: str) -> Response:
    return Response(400, json.dumps({"error": message}).encode())


def _json(value: dict[str, Any]) -> Response:
    return Response(200, json.dumps(value, indent=2).encode() + b"\n")


if __name__ == "__main__":
    serve("httpbin", HttpBin(os.environ).handle)
