"""KubeClient: JSON over HTTPS to the API server: list, watch, patch. The only user of the `kubernetes` package here.

Objects stay plain JSON: the typed models would cost most of the control plane's time and drop fields they do not know.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import urlencode

import aiohttp
from kubernetes.aio import client, config

JsonObject = dict[str, Any]

# Servers send a bookmark about once a minute; a watch that is silent for longer than this is taken for dead.
_WATCH_SECONDS = 300
_PAGE_ITEMS = 500
_MAX_EVENT_BYTES = 16 << 20


class KubeError(Exception):
    """The API server refused (status 400..599) or could not be reached (status 0)."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}" if status else message)
        self.status = status
        self.message = message


class KubeClient:
    """Closes: `close` ends the connections. Concurrency: any number of calls at once, on one loop."""

    def __init__(self, api: client.ApiClient) -> None:
        self._api = api

    @classmethod
    async def connect(cls, kubeconfig: str = "") -> KubeClient:
        """From a kubeconfig file, else the pod's service account. Raises KubeError when neither can be read."""
        settings = client.Configuration()
        try:
            if kubeconfig:
                await config.load_kube_config(config_file=kubeconfig, client_configuration=settings)
            else:
                config.load_incluster_config(client_configuration=settings)
        except (config.ConfigException, OSError) as error:
            raise KubeError(0, f"no usable Kubernetes configuration: {error}") from error
        # One connection per watch, and some for lists and patches.
        settings.connection_pool_maxsize = 100
        return cls(client.ApiClient(settings))

    async def close(self) -> None:
        await self._api.close()

    async def list(self, path: str, query: Mapping[str, str] | None = None) -> tuple[list[JsonObject], str]:
        """(items, resourceVersion of the list), all pages. Raises KubeError."""
        items: list[JsonObject] = []
        token = ""
        while True:
            page = dict(query or {}, limit=str(_PAGE_ITEMS))
            if token:
                page["continue"] = token
            body = await self.request("GET", path, page)
            items += body.get("items") or ()
            metadata = body.get("metadata") or {}
            token = metadata.get("continue") or ""
            if not token:
                return items, metadata.get("resourceVersion") or ""

    async def watch(
        self, path: str, resource_version: str, query: Mapping[str, str] | None = None
    ) -> AsyncIterator[JsonObject]:
        """Events `{type, object}` until the server ends the stream. Raises KubeError (410: list again)."""
        asked = dict(
            query or {},
            watch="true",
            allowWatchBookmarks="true",
            resourceVersion=resource_version,
            timeoutSeconds=str(_WATCH_SECONDS),
        )
        response = await self._send("GET", path, asked, timeout_seconds=_WATCH_SECONDS + 30)
        try:
            if response.status != 200:
                raise KubeError(response.status, _reason(await response.read()))
            async for line in _lines(response):
                event = json.loads(line)
                if event.get("type") == "ERROR":
                    status = event.get("object") or {}
                    raise KubeError(int(status.get("code") or 500), str(status.get("message") or "watch failed"))
                yield event
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise KubeError(0, f"watch of {path} broke: {error!r}") from error
        finally:
            response.close()

    async def request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: JsonObject | None = None,
        content_type: str = "application/json",
    ) -> JsonObject:
        """The response's JSON object. Raises KubeError."""
        response = await self._send(method, path, query, body, content_type)
        try:
            content = await response.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise KubeError(0, f"{method} {path}: {error!r}") from error
        finally:
            response.release()
        if response.status >= 400:
            raise KubeError(response.status, _reason(content))
        try:
            value = json.loads(content)
        except ValueError as error:
            raise KubeError(0, f"{method} {path}: the answer is no JSON") from error
        if not isinstance(value, dict):
            raise KubeError(0, f"{method} {path}: the answer is no JSON object")
        return value

    async def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: JsonObject | None = None,
        content_type: str = "application/json",
        timeout_seconds: float = 30,
    ) -> aiohttp.ClientResponse:
        headers = {"Accept": "application/json", "Content-Type": content_type, "User-Agent": "triomesh-control"}
        url = f"{self._api.configuration.host}{path}"
        if query:
            url += f"?{urlencode(query)}"
        await self._api.update_params_for_auth(headers, [], ["BearerToken"], path, method, body)
        try:
            answer = await self._api.rest_client.request(
                method, url, headers=headers, body=body, _request_timeout=timeout_seconds
            )
        except (aiohttp.ClientError, client.ApiException, OSError, TimeoutError) as error:
            raise KubeError(0, f"{method} {path}: {error or error!r}") from error
        response: aiohttp.ClientResponse = answer.response
        return response


async def _lines(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """Lines of any length up to the bound: aiohttp's own readline gives up at its buffer's size."""
    buffer = bytearray()
    async for chunk in response.content.iter_any():
        buffer += chunk
        while (end := buffer.find(b"\n")) >= 0:
            line = bytes(buffer[:end])
            del buffer[: end + 1]
            if line.strip():
                yield line
        if len(buffer) > _MAX_EVENT_BYTES:
            raise ValueError(f"a watch event is larger than {_MAX_EVENT_BYTES} bytes")


def _reason(content: bytes) -> str:
    with suppress(ValueError):
        value = json.loads(content)
        if isinstance(value, dict) and value.get("message"):
            return str(value["message"])
    return content[:200].decode(errors="replace") or "no reason given"
