"""Make probes and HTTP hooks, as the kubelet does: from the node, towards the pod's address.

Source: Kubernetes "Configure Liveness, Readiness and Startup Probes"; kubelet prober package for the messages.
"""

import ssl
from dataclasses import dataclass
from typing import Any

import grpc
import httpx
import trio

from mesh.sandbox.node.commands import run_command
from mesh.sandbox.node.probes import ProbeSpec, resolve_port
from mesh.sandbox.node.runtimeclient import RuntimeClient, RuntimeFailure

Json = dict[str, Any]
_USER_AGENT = "kube-probe/1.32"


@dataclass(frozen=True, slots=True)
class Target:
    """What is probed."""

    container: Json
    container_id: str
    pod_ip: str


class Prober:
    """Concurrency: any number of probes at once."""

    def __init__(self, runtime: RuntimeClient) -> None:
        self._runtime = runtime
        insecure = ssl.create_default_context()
        insecure.check_hostname = False
        insecure.verify_mode = ssl.CERT_NONE  # the kubelet does not verify the certificates of what it probes
        self._insecure = insecure

    async def probe(self, spec: ProbeSpec, target: Target) -> str | None:
        """None = good; otherwise why not, in kubelet's words."""
        with trio.move_on_after(spec.timeout) as scope:
            return await self._act(spec, target)
        if "exec" in spec.action:
            return f"command timed out: {' '.join(spec.action['exec'].get('command') or [])!r} after {spec.timeout:g}s"
        assert scope.cancelled_caught
        return "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"

    async def hook(self, action: Json, target: Target) -> str | None:
        """Run a postStart or preStop handler; None = good."""
        if "sleep" in action:
            await trio.sleep(float(action["sleep"]["seconds"]))
            return None
        return await self._act(ProbeSpec(action, 0, 0, 0, 1, 1, None), target)

    async def _act(self, spec: ProbeSpec, target: Target) -> str | None:
        action = spec.action
        if "exec" in action:
            return await self._exec(action["exec"], target)
        if "httpGet" in action:
            return await self._http_get(action["httpGet"], target)
        if "tcpSocket" in action:
            return await self._tcp(action["tcpSocket"], target)
        if "grpc" in action:
            return await self._grpc(action["grpc"], target, spec.timeout)
        return "missing probe handler"

    async def _exec(self, action: Json, target: Target) -> str | None:
        try:
            code, output = await run_command(self._runtime, target.container_id, list(action.get("command") or ()))
        except RuntimeFailure as exc:
            return str(exc)
        return None if code == 0 else (output.strip() or f"command exited with {code}")

    async def _http_get(self, action: Json, target: Target) -> str | None:
        try:
            port = resolve_port(action["port"], target.container)
        except ValueError as exc:
            return str(exc)
        scheme = (action.get("scheme") or "HTTP").lower()
        path = action.get("path") or "/"
        url = f"{scheme}://{action.get('host') or target.pod_ip}:{port}{path if path.startswith('/') else '/' + path}"
        headers = {"User-Agent": _USER_AGENT, "Accept": "*/*", "Connection": "close"}
        headers |= {item["name"]: item["value"] for item in action.get("httpHeaders") or ()}
        try:
            async with httpx.AsyncClient(verify=self._insecure, timeout=None, trust_env=False) as client:
                response = await client.get(url, headers=headers)
                if response.is_redirect and response.next_request and response.next_request.url.host == response.url.host:
                    response = await client.get(response.next_request.url, headers=headers, follow_redirects=True)
        except (httpx.HTTPError, OSError) as exc:
            return f'Get "{url}": {exc or type(exc).__name__}'
        if 200 <= response.status_code < 400:
            return None
        return f"HTTP probe failed with statuscode: {response.status_code}"

    async def _tcp(self, action: Json, target: Target) -> str | None:
        try:
            port = resolve_port(action["port"], target.container)
            stream = await trio.open_tcp_stream(action.get("host") or target.pod_ip, port)
        except (OSError, ValueError) as exc:
            return f"dial tcp {target.pod_ip}: {exc}"
        await stream.aclose()
        return None

    async def _grpc(self, action: Json, target: Target, seconds: float) -> str | None:
        address, service = f"{target.pod_ip}:{action['port']}", action.get("service") or ""
        return await trio.to_thread.run_sync(_grpc_health, address, service, seconds or 30.0)


def _grpc_health(address: str, service: str, seconds: float) -> str | None:
    """grpc.health.v1.Health/Check. The two messages are one string and one enum: encoded here by hand."""
    raw = service.encode()
    request = b"\x0a" + _varint(len(raw)) + raw if raw else b""
    with grpc.insecure_channel(address, options=[("grpc.primary_user_agent", _USER_AGENT)]) as channel:
        check = channel.unary_unary("/grpc.health.v1.Health/Check", request_serializer=bytes, response_deserializer=bytes)
        try:
            answer: bytes = check(request, timeout=seconds)
        except grpc.RpcError as exc:
            return f"error: health rpc failed: {exc}"
    serving = 1
    status = answer[1] if answer[:1] == b"\x08" else 0
    return None if status == serving else f"service unhealthy (responded with {status})"


def _varint(value: int) -> bytes:
    return bytes([value]) if value < 128 else bytes([value & 127 | 128]) + _varint(value >> 7)
