"""CORS: preflights answered by the proxy, and the response headers other origins need (Envoy `CorsPolicy`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mesh.model.match import StringKind, StringMatch
from mesh.model.route import CorsPolicy
from mesh.proxy.head import Head
from mesh.proxy.match import CompileError, string_test
from mesh.proxy.reply import LocalReply

# On responses to allowed origins the app's own CORS headers are replaced, as the policy is the operator's word.
RESPONSE_NAMES = (
    b"access-control-allow-origin",
    b"access-control-allow-credentials",
    b"access-control-expose-headers",
)

_ANY_ORIGIN = StringMatch(StringKind.EXACT, "*")


@dataclass(frozen=True, slots=True)
class CompiledCors:
    """`preflight_lines` follow the allow-origin line of a preflight's answer, `response_lines` that of a response."""

    _origins: tuple[Callable[[bytes], bool], ...]
    _preflight_lines: bytes
    _response_lines: bytes
    _forward_unmatched: bool

    def _allows(self, origin: bytes) -> bool:
        return any(test(origin) for test in self._origins)

    def preflight(self, head: Head) -> LocalReply | None:
        """The answer to a preflight request; None when the request is not one, or goes on to the app.

        A preflight is OPTIONS with Origin and Access-Control-Request-Method (Fetch standard, 3.2.3).
        """
        if head.method != b"OPTIONS":
            return None
        origin = head.get(b"origin")
        if origin is None or head.get(b"access-control-request-method") is None:
            return None
        if not self._allows(origin):
            return None if self._forward_unmatched else LocalReply(200, details="cors_response")
        lines = b"access-control-allow-origin: %b\r\n%b" % (origin, self._preflight_lines)
        return LocalReply(200, headers=lines, details="cors_response")

    def response_lines(self, head: Head) -> bytes:
        """Lines for the response to this request; b"" when it has no Origin or one that is not allowed."""
        origin = head.get(b"origin")
        if origin is None or not self._allows(origin):
            return b""
        return b"access-control-allow-origin: %b\r\n%b" % (origin, self._response_lines)


def compile_cors(policy: CorsPolicy, field: str) -> CompiledCors:
    """Raises CompileError."""
    for name in ("allow_methods", "allow_headers", "expose_headers", "max_age"):
        if any(ord(char) < 32 for char in getattr(policy, name)):
            raise CompileError(f"{field} {name}: holds a control character")
    credentials = b"access-control-allow-credentials: true\r\n" if policy.allow_credentials else b""
    preflight = credentials
    for header, value in (("methods", policy.allow_methods), ("headers", policy.allow_headers)):
        if value:
            preflight += f"access-control-allow-{header}: {value}\r\n".encode()
    exposed = f"access-control-expose-headers: {policy.expose_headers}\r\n".encode() if policy.expose_headers else b""
    if policy.max_age:
        preflight += f"access-control-max-age: {policy.max_age}\r\n".encode()
    # The answer differs by origin, which caches must know; Envoy leaves that to the app.
    response = credentials + exposed + b"vary: origin\r\n"
    origins = tuple(_origin_test(origin, f"{field} allow_origins") for origin in policy.allow_origins)
    return CompiledCors(origins, preflight + exposed, response, policy.forward_unmatched)


def _origin_test(match: StringMatch, field: str) -> Callable[[bytes], bool]:
    # Envoy: exactly "*" stands for every origin.
    return (lambda _: True) if match == _ANY_ORIGIN else string_test(match, field)
