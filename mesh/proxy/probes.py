"""Probes: the kubelet's probes and hooks, executed against the application on the kubelet's behalf.

The injector pointed the pod's probes at port 15020 and left the originals in TRIOMESH_APP_PROBERS. They are
executed here as the kubelet would: HTTP answers 200..399 succeed, TCP succeeds by connecting, gRPC by SERVING.
"""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import trio

from mesh.proxy.local_http import Answer, FetchError, fetch, text

# The address Istio's iptables rules let pass from the proxy to the application's own ports.
_SOURCE = {4: "127.0.0.6", 6: "::6"}
_MAX_BODY_BYTES = 10 << 10  # what the kubelet itself reads of a probe's answer


class BadProber(ValueError):
    """TRIOMESH_APP_PROBERS cannot be read; the message names the path and field."""


@dataclass(frozen=True, slots=True)
class HttpProber:
    port: int
    path: str
    is_https: bool
    host: str
    lines: bytes


@dataclass(frozen=True, slots=True)
class TcpProber:
    port: int


@dataclass(frozen=True, slots=True)
class GrpcProber:
    port: int
    service: str


@dataclass(frozen=True, slots=True)
class Prober:
    """One rewritten probe. timeout_seconds: Kubernetes' default is 1."""

    action: HttpProber | TcpProber | GrpcProber
    timeout_seconds: float = 1.0


def parse_probers(document: str) -> Mapping[str, Prober]:
    """`{"/app-health/reviews/readyz": {"httpGet": {...}, "timeoutSeconds": 1}, ...}`; "" is none. Raises: BadProber."""
    if not document:
        return {}
    try:
        value = json.loads(document)
    except ValueError as exc:
        raise BadProber(f"not JSON: {exc}") from exc
    if not isinstance(value, dict):
        raise BadProber("not a JSON object")
    return {path: _prober(path, spec) for path, spec in value.items()}


def _prober(path: str, spec: Any) -> Prober:
    if not isinstance(spec, dict):
        raise BadProber(f"{path}: not an object")
    timeout = spec.get("timeoutSeconds", 1)
    if not isinstance(timeout, int | float) or timeout <= 0:
        raise BadProber(f"{path}: timeoutSeconds {timeout!r} is not a positive number")
    kinds = [kind for kind in ("httpGet", "tcpSocket", "grpc") if spec.get(kind) is not None]
    if len(kinds) != 1 or not isinstance(spec[kinds[0]], dict):
        raise BadProber(f"{path}: needs exactly one of httpGet, tcpSocket and grpc")
    kind = kinds[0]
    action = spec[kind]
    port = action.get("port")
    if not isinstance(port, int) or isinstance(port, bool) or not 0 < port < 65536:
        raise BadProber(f"{path}: {kind}.port {port!r} is not a port number")
    if kind == "tcpSocket":
        return Prober(TcpProber(port), float(timeout))
    if kind == "grpc":
        return Prober(GrpcProber(port, str(action.get("service") or "")), float(timeout))
    return Prober(_http(path, action, port), float(timeout))


def _http(path: str, action: Mapping[str, Any], port: int) -> HttpProber:
    target = str(action.get("path") or "/")
    if not target.startswith("/"):
        target = "/" + target
    if any(ord(char) <= 32 or ord(char) >= 127 for char in target):
        raise BadProber(f"{path}: httpGet.path {target!r} holds a character that must be percent-encoded")
    scheme = str(action.get("scheme") or "HTTP").upper()
    if scheme not in ("HTTP", "HTTPS"):
        raise BadProber(f"{path}: httpGet.scheme {scheme!r} is neither HTTP nor HTTPS")
    host, lines = "", b"user-agent: kube-probe/triomesh\r\naccept: */*\r\n"
    for header in action.get("httpHeaders") or []:
        name, value = str(header.get("name", "")), str(header.get("value", ""))
        if not re.fullmatch(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+", name) or re.search(r"[\x00-\x08\x0a-\x1f\x7f]", value):
            raise BadProber(f"{path}: httpGet.httpHeaders: {name!r} is not a header")
        if name.lower() == "host":
            host = value
        elif name.lower() != "connection":
            lines += f"{name}: {value}\r\n".encode()
    return HttpProber(port, target, scheme == "HTTPS", host, lines)


async def execute(prober: Prober, pod_ip: str) -> Answer:
    """The answer for the kubelet: what the application said, 503 (with the reason) when it said nothing in time."""
    action = prober.action
    with trio.move_on_after(prober.timeout_seconds):
        try:
            match action:
                case HttpProber():
                    return await _probe_http(action, pod_ip)
                case TcpProber():
                    stream = await connect(pod_ip, action.port)
                    await stream.aclose()
                    return text("ok\n")
                case GrpcProber():
                    return await trio.to_thread.run_sync(
                        _probe_grpc, pod_ip, action, prober.timeout_seconds, abandon_on_cancel=True
                    )
        except (OSError, trio.BrokenResourceError, FetchError) as exc:
            return text(f"probe of port {action.port} failed: {exc}\n", 503)
    return text(f"probe of port {action.port}: no answer within {prober.timeout_seconds:g} s\n", 503)


async def connect(host: str, port: int) -> trio.SocketStream:
    """To the application, from the source address that interception lets through. Raises: OSError."""
    version = 6 if ":" in host else 4
    family = trio.socket.AF_INET6 if version == 6 else trio.socket.AF_INET
    sock = trio.socket.socket(family, trio.socket.SOCK_STREAM)
    try:
        if host not in ("127.0.0.1", "::1"):
            await sock.bind((_SOURCE[version], 0))
        await sock.connect((host, port))
    except BaseException:
        sock.close()
        raise
    return trio.SocketStream(sock)


async def _probe_http(action: HttpProber, pod_ip: str) -> Answer:
    stream: trio.abc.Stream = await connect(pod_ip, action.port)
    if action.is_https:
        context = ssl.create_default_context()
        # As the kubelet: the probe asks whether the application answers, not who it is.
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        stream = trio.SSLStream(stream, context, server_hostname=action.host or None, https_compatible=True)
    host = action.host or (f"[{pod_ip}]:{action.port}" if ":" in pod_ip else f"{pod_ip}:{action.port}")
    async with stream:
        found = await fetch(stream, host, action.path, action.lines, _MAX_BODY_BYTES)
    # A redirect counts as success; passed on as such the kubelet would follow it to a place the proxy does not serve.
    status = 200 if 300 <= found.status < 400 else found.status
    return Answer(status, found.body, found.content_type or "text/plain")


def _probe_grpc(pod_ip: str, action: GrpcProber, timeout_seconds: float) -> Answer:
    import grpc  # a second of CPU on a cold start, for the few pods that have a gRPC probe

    target = f"[{pod_ip}]:{action.port}" if ":" in pod_ip else f"{pod_ip}:{action.port}"
    service = action.service.encode()
    # grpc.health.v1.HealthCheckRequest: field 1, string. The response's field 1 is the status, 1 = SERVING.
    request = b"\x0a" + _varint(len(service)) + service if service else b""
    with grpc.insecure_channel(target, options=[("grpc.enable_http_proxy", 0)]) as channel:
        call = channel.unary_unary("/grpc.health.v1.Health/Check", request_serializer=None, response_deserializer=None)
        try:
            response: bytes = call(request, timeout=timeout_seconds, wait_for_ready=True)
        except grpc.RpcError as exc:
            return text(f"gRPC health check of port {action.port}: {exc.code().name}: {exc.details()}\n", 503)
    if response == b"\x08\x01":
        return text("SERVING\n")
    return text(f"gRPC health check of port {action.port}: not SERVING\n", 503)


def _varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes((value & 0x7F | 0x80,))
        value >>= 7
    return out + bytes((value,))
