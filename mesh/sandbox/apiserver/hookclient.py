"""Calling a webhook over HTTPS, from inside the node namespace."""

from __future__ import annotations

import base64
import binascii
import json
import ssl
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

import trio

from mesh.sandbox.apiserver import status
from mesh.sandbox.apiserver.client import ExchangeError, connect, exchange
from mesh.sandbox.apiserver.network import Network
from mesh.sandbox.apiserver.storage import dump
from mesh.sandbox.apiserver.webhooks import Hook, HookError

MAX_ANSWER_BYTES = 3 * 1024 * 1024


class HookCaller:
    """Finds a webhook's address by its clientConfig and posts reviews to it."""

    def __init__(self, network: Network) -> None:
        self._network = network

    async def call(self, hook: Hook, review: dict[str, Any]) -> Any:
        """The answer's JSON. Raises: HookError: cannot be reached, trusted or understood. The caller sets the time limit."""
        try:
            host, port, name, target = self._where(hook)
            tls = trust(str(hook.client.get("caBundle") or ""))
            stream = await connect(host, port, tls, name)
            try:
                shown = name if port == 443 else f"{name}:{port}"
                headers = [("host", shown), ("content-type", "application/json"), ("accept", "application/json"), ("user-agent", "triomesh-apiserver")]
                answer = await exchange(stream, "POST", target, headers, dump(review))
                body = await answer.read(MAX_ANSWER_BYTES)
            finally:
                await trio.aclose_forcefully(stream)
        except (OSError, trio.BrokenResourceError, ExchangeError, status.ApiError) as exc:
            raise HookError(f'Post "{self._url(hook)}": {exc.__cause__ if isinstance(exc, trio.BrokenResourceError) and exc.__cause__ else exc}') from exc
        if not 200 <= answer.status < 300:
            raise HookError(f'Post "{self._url(hook)}": the webhook answered {answer.status}: {body[:200].decode("utf-8", "replace")}')
        try:
            return json.loads(body)
        except ValueError as exc:
            raise HookError(f"the webhook's answer is not JSON: {exc}") from exc

    def _where(self, hook: Hook) -> tuple[str, int, str, str]:
        """(host to connect to, port, name to verify, request target)."""
        service = hook.client.get("service")
        if service:
            address = self._network.service(service["namespace"], service["name"], int(service.get("port", 443)))
            return address.host, address.port, f"{service['name']}.{service['namespace']}.svc", "/" + str(service.get("path") or "").lstrip("/")
        url = urlsplit(str(hook.client["url"]))
        if not url.hostname:
            raise HookError(f"clientConfig.url {hook.client['url']!r} has no host")
        return url.hostname, url.port or 443, url.hostname, (url.path or "/") + (f"?{url.query}" if url.query else "")

    def _url(self, hook: Hook) -> str:
        service = hook.client.get("service")
        if not service:
            return str(hook.client["url"])
        return f"https://{service['name']}.{service['namespace']}.svc:{service.get('port', 443)}/{str(service.get('path') or '').lstrip('/')}"


@lru_cache(maxsize=64)
def trust(ca_bundle: str) -> ssl.SSLContext:
    """A context that trusts `ca_bundle` (base64 of PEM), or the system's roots if it is empty. Raises: HookError."""
    if not ca_bundle:
        return ssl.create_default_context(ssl.Purpose.SERVER_AUTH)
    try:
        return ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cadata=base64.b64decode(ca_bundle, validate=True).decode("ascii"))
    except (binascii.Error, UnicodeDecodeError, ssl.SSLError) as exc:
        raise HookError(f"caBundle is not base64 of PEM certificates: {exc}") from exc
